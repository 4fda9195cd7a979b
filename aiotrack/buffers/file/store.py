"""A lane's events in a SQLite file that one process owns. Everything here blocks, and belongs to one thread.

Entries that were committed together share a row, so that a transaction costs a few statements however many
entries it holds. A row has a checksum of its own; SQLite's cover only its log.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import sqlite3
import time
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from aiotrack.buffers.dead_letters import DeadLetter

from . import sql
from .backlog import Backlog, Range, Run
from .letters import Letters
from .ownership import Lock
from .rows import (
    Row,
    cut,
    is_sound,
    is_sound_range,
    packed,
    packed_range,
    packed_time,
    time_of,
    unpacked,
    without,
)

__all__ = ["EventStore", "Work"]

ADOPTED_AT_ONCE = 16  # rows
SECOND = 1.0  # how exactly it is noted when entries were stored

Entry = tuple[bytes, bytes]
"""An entry and its batch header."""


@attrs.define(kw_only=True)
class Work:
    """What goes into one transaction."""

    entries: Sequence[Entry] = ()
    settled: Sequence[Range] = ()  # all there are
    dead: Sequence[DeadLetter] = ()
    forgotten: Collection[int] = ()
    at: float = 0.0  # Unix seconds


class EventStore:
    """The file, with its owner's lock. Raises sqlite3.Error and OSError."""

    def __init__(self, path: Path, lock: Lock, sync: str) -> None:
        self.path = path
        self._lock = lock
        self._sync = sync
        self._db = self._open()
        lock.keep(self._db)
        self._dubious = False  # whether the log may hold a transaction that failed
        self._next = 1
        self._time = -math.inf  # of the newest entry, to a second
        self.letters = Letters(self._db)
        self.backlog = Backlog()
        self.recovered: list[tuple[int, int, float | None]] = []
        """What `check` found: the newest of so many entries, and when they were stored first."""
        self.copied: int | None = None  # up to which row another file has a copy

    def _open(self) -> sqlite3.Connection:
        # SQLite would create it with the process's umask; the log copies this file's mode.
        descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.close(descriptor)
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=1.0)
        try:
            db.execute("PRAGMA locking_mode=EXCLUSIVE")  # and no shared memory
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA secure_delete=ON")  # what was delivered does not stay, nor come back after damage
            db.execute(f"PRAGMA synchronous={sql.SYNC[self._sync]}")
            db.executescript(sql.SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    # -- writing ------------------------------------------------------------------------------------

    def write(self, work: Work) -> list[Run]:
        """Do it all, or nothing; return the new entries as numbered, a run for each row."""
        runs: list[Run] = []
        is_new = bool(work.entries) and not 0 <= work.at - self._time < SECOND

        def write(db: sqlite3.Connection) -> None:
            if work.settled:  # first, for what frees room makes room
                db.execute("DELETE FROM settled")
                db.executemany(sql.SETTLE, map(packed_range, work.settled))
                for first, last in work.settled:
                    db.execute("DELETE FROM entries WHERE first BETWEEN ? AND ? AND last <= ?", (first, last, last))
            db.executemany("DELETE FROM dead WHERE id = ?", [(letter,) for letter in work.forgotten])
            number = self._next
            if is_new:
                self._date(db, number, work.at)
            for entries, batch_header in cut(work.entries):
                runs.append(Run(number, array("I", map(len, entries)), batch_header))
                db.execute(sql.INSERT, packed(runs[-1], b"".join(entries)))
                number += len(entries)
            self.letters.bury(work.dead)

        self._in_transaction(write)
        self._next += len(work.entries)
        if is_new:
            self._time = work.at
        return runs

    @staticmethod
    def _date(db: sqlite3.Connection, number: int, at: float) -> None:
        """Note when the entries from this one on were stored first; what is gone needs no note."""
        db.execute(sql.FORGET_TIMES, {"next": number})
        db.execute(sql.DATE, packed_time(number, at))

    def _in_transaction(self, change: Callable[[sqlite3.Connection], None]) -> None:
        db = self._db
        if self._dubious:
            with suppress(sqlite3.Error):
                self.checkpoint()
        db.execute("BEGIN IMMEDIATE")
        try:
            change(db)
            db.execute("COMMIT")
        except BaseException:
            self._dubious = True
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def checkpoint(self) -> None:
        """Move all that is in the log to the file, and empty the log: what a failed commit left there goes, too."""
        (busy, *_) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("the log is in use")
        self._dubious = False

    # -- reading ------------------------------------------------------------------------------------

    def read(self, first: int, last: int) -> list[bytes]:
        """Return the entries of these numbers, which must be there. Raises LookupError for a damaged row."""
        entries: list[bytes] = []
        for row in self._db.execute(sql.READ, {"first": first, "last": last}):
            number, sizes, _, joined = unpacked(row)
            ends = itertools.accumulate(sizes)
            entries += [
                joined[end - size : end]
                for number, size, end in zip(itertools.count(number), sizes, ends)
                if first <= number <= last
            ]
        if len(entries) != last - first + 1:
            raise LookupError("entries are missing")
        return entries

    def readable(self, first: int, last: int) -> list[Range]:
        """Return the ranges of these numbers whose rows are sound."""
        rows = self._db.execute(sql.READ, {"first": first, "last": last})
        return [(max(row[0], first), min(row[1], last)) for row in rows if is_sound(row)]

    def check(self) -> None:
        """Learn what is in the file. Raises sqlite3.DatabaseError or LookupError unless it is sound."""
        (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        if not sql.has_schema(self._db):
            raise LookupError("its schema")
        self.backlog, self.recovered = Backlog(), []
        for run, _ in self.found():
            self.backlog.add(run)
            same = bool(self.recovered) and self.recovered[-1][2] == run.since
            events = self.recovered.pop()[1] if same else 0
            self.recovered.append((run.last, events + len(run), run.since))
        self._time = (self._times() or [(0, -math.inf)])[-1][1]
        self.letters.load()
        self._next = self._last() + 1

    def found(self, most: int = -1) -> Iterator[tuple[Run, bytes]]:
        """Yield what is not settled, with its bytes, of so many rows. Raises LookupError for damage."""
        settled, times = self.settled(), self._times()
        since: float | None = None
        for row in self._db.execute("SELECT * FROM entries ORDER BY first LIMIT ?", (most,)):
            first, sizes, batch_header, joined = unpacked(row)
            while times and times[0][0] <= first:
                since = times.popleft()[1]
            for start, stop in without(first, first + len(sizes), settled):
                skipped = sum(sizes[: start - first])
                run = Run(start, sizes[start - first : stop - first], batch_header, since)
                yield run, joined[skipped : skipped + run.size]

    def _times(self) -> deque[tuple[int, float]]:
        """Return from which entry on which time holds. Raises LookupError for damage."""
        return deque((row[0], time_of(row)) for row in self._db.execute("SELECT * FROM times ORDER BY first"))

    def _last(self) -> int:
        query = "SELECT max(coalesce((SELECT max(last) FROM entries), 0), coalesce((SELECT max(last) FROM settled), 0))"
        (last,) = self._db.execute(query).fetchone()
        return int(last)

    def settled(self) -> list[Range]:
        """Return the ranges that are settled. Raises LookupError for damage."""
        rows = list(self._db.execute("SELECT * FROM settled ORDER BY first"))
        if not all(map(is_sound_range, rows)):
            raise LookupError("a row is damaged")
        return [row[:2] for row in rows]

    # -- another file -------------------------------------------------------------------------------

    def adopt(self, source: EventStore) -> list[Run]:
        """Copy some entries of another file, and its dead letters, to the end of this one; none is left when none came.

        They are deleted there at the next call: a crash between leaves them in both files, to be delivered twice.
        """
        moved: list[Run] = []
        while not moved:
            source.remove_copied()
            found, letters = list(source.found(ADOPTED_AT_ONCE)), source.letters.all()
            last = source.first_of_row(ADOPTED_AT_ONCE)
            if last is None and not letters:
                break

            def copy(db: sqlite3.Connection, found: list[tuple[Run, bytes]], letters: list[DeadLetter]) -> None:
                number, at = self._next, self._time
                for run, joined in found:
                    since = time.time() if run.since is None else run.since
                    if since != at:
                        self._date(db, number, at := since)
                    moved.append(Run(number, run.sizes, run.batch_header, since))
                    db.execute(sql.INSERT, packed(moved[-1], joined))
                    number += len(run)
                self.letters.bury(letters)

            self._in_transaction(functools.partial(copy, found=found, letters=letters))
            self._next += sum(map(len, moved))
            self._time = (self._times() or [(0, -math.inf)])[-1][1]
            source.copied = last or 0
        return moved

    def first_of_row(self, count: int) -> int | None:
        """Return the first number of the last of the oldest so many rows."""
        query = "SELECT max(first) FROM (SELECT first FROM entries ORDER BY first LIMIT ?)"
        (first,) = self._db.execute(query, (count,)).fetchone()
        return None if first is None else int(first)

    def remove_copied(self) -> None:
        """Delete what another file has taken over."""
        copied = self.copied

        def remove(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM entries WHERE first <= ?", (copied,))
            db.execute("DELETE FROM dead")

        if copied is not None:
            self._in_transaction(remove)
            self.copied = None

    def restore(self, rows: Iterable[Row], settled: Iterable[Range], letters: Iterable[DeadLetter]) -> None:
        """Take over what was sound in a file that was damaged."""

        def restore(db: sqlite3.Connection) -> None:
            db.executemany(sql.INSERT, rows)
            self._date(db, 1, time.time())  # for want of what it was
            db.executemany(sql.SETTLE, map(packed_range, settled))
            self.letters.bury(letters)

        self._in_transaction(restore)
        self._next = self._last() + 1

    # -- the end ------------------------------------------------------------------------------------

    def is_empty(self) -> bool:
        """Tell whether nothing is in it that anybody could want."""
        (used,) = self._db.execute("SELECT EXISTS (SELECT 1 FROM entries) OR EXISTS (SELECT 1 FROM dead)").fetchone()
        return not used

    def close(self) -> None:
        """Close the file; its owner keeps it."""
        self._db.close()

    def release(self, *, delete: bool = False) -> None:
        """Close the file, and give it up or delete it."""
        self._db.close()
        if delete:
            for suffix in ("", "-wal", "-journal"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        self._lock.release(delete=delete)
