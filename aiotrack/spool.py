"""A lane's events in a SQLite file that one process owns. Everything here blocks, and belongs to one thread.

Entries that were committed together share a row, so that a transaction costs a few statements however many
entries it holds. A row has a checksum of its own; SQLite's cover only its log.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import attrs

from .backlog import Range, Run
from .dead import MOST, MOST_BYTES, Cause, DeadLetter
from .ownership import Lock
from .rows import Row, cut, is_sound, packed, unpacked, without

__all__ = ["Spool", "Work"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    first    INTEGER PRIMARY KEY,  -- number of the row's first entry; the others follow
    last     INTEGER NOT NULL,
    sizes    BLOB NOT NULL,        -- of the entries, in bytes: 32 bits each, little-endian
    envelope BLOB NOT NULL,
    checksum INTEGER NOT NULL,     -- CRC-32 of sizes, envelope and entries
    joined   BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS settled (first INTEGER PRIMARY KEY, last INTEGER NOT NULL);  -- and still in a row
CREATE TABLE IF NOT EXISTS dead (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    entry    BLOB NOT NULL,
    envelope BLOB NOT NULL,
    reason   TEXT NOT NULL,
    status   INTEGER,
    answer   BLOB NOT NULL,
    at       REAL NOT NULL         -- Unix seconds
);
"""
INSERT = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)"
READ = """
SELECT * FROM entries
WHERE first BETWEEN coalesce((SELECT max(first) FROM entries WHERE first <= ?1), ?1) AND ?2 ORDER BY first
"""
ADOPTED_AT_ONCE = 16  # rows
SYNC = {"full": "FULL", "normal": "NORMAL"}

Entry = tuple[bytes, bytes]
"""An entry and its envelope."""


@attrs.define(kw_only=True)
class Work:
    """What goes into one transaction."""

    entries: Sequence[Entry] = ()
    settled: Sequence[Range] = ()  # all there are
    dead: Sequence[Sequence[DeadLetter]] = ()
    forgotten: Collection[int] = ()


class Spool:
    """The file, with its owner's lock. Raises sqlite3.Error and OSError."""

    def __init__(self, path: Path, lock: Lock, sync: str) -> None:
        self.path = path
        self._lock = lock
        self._sync = sync
        self._db = self._open()
        lock.keep(self._db)
        self._next = self._last() + 1

    def _open(self) -> sqlite3.Connection:
        # SQLite would create it with the process's umask; the log copies this file's mode.
        descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.close(descriptor)
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=1.0)
        try:
            db.execute("PRAGMA locking_mode=EXCLUSIVE")  # and no shared memory
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(f"PRAGMA synchronous={SYNC[self._sync]}")
            db.executescript(SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    # -- writing ------------------------------------------------------------------------------------

    def write(self, work: Work) -> list[Run]:
        """Do it all, or nothing; return the new entries as numbered, a run for each row."""
        runs: list[Run] = []
        self._in_transaction(lambda db: runs.extend(_write(db, work, self._next)))
        self._next += len(work.entries)
        return runs

    def _in_transaction(self, change: Callable[[sqlite3.Connection], None]) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            change(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    # -- reading ------------------------------------------------------------------------------------

    def read(self, first: int, last: int) -> list[bytes]:
        """Return the entries of these numbers, which must be there. Raises LookupError for a damaged row."""
        entries: list[bytes] = []
        for row in self._db.execute(READ, (first, last)):
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
        rows = self._db.execute(READ, (first, last))
        return [(max(row[0], first), min(row[1], last)) for row in rows if is_sound(row)]

    def check(self) -> None:
        """Raise sqlite3.DatabaseError or LookupError unless the file is sound."""
        (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        for row in self._db.execute("SELECT * FROM entries"):
            unpacked(row)

    def found(self, most: int = -1) -> Iterator[tuple[Run, bytes]]:
        """Yield what is not settled, with its bytes, of so many rows. Raises LookupError for damage."""
        settled = self.settled()
        for row in self._db.execute("SELECT * FROM entries ORDER BY first LIMIT ?", (most,)):
            first, sizes, envelope, joined = unpacked(row)
            for start, stop in without(first, first + len(sizes), settled):
                skipped = sum(sizes[: start - first])
                run = Run(start, sizes[start - first : stop - first], envelope)
                yield run, joined[skipped : skipped + run.size]

    def _last(self) -> int:
        query = "SELECT max(coalesce((SELECT max(last) FROM entries), 0), coalesce((SELECT max(last) FROM settled), 0))"
        (last,) = self._db.execute(query).fetchone()
        return int(last)

    def settled(self) -> list[Range]:
        """Return the ranges that are settled and still in a row."""
        return list(self._db.execute("SELECT first, last FROM settled ORDER BY first"))

    def dead(self) -> list[DeadLetter]:
        """Return the dead letters."""
        rows = self._db.execute("SELECT id, reason, status, answer, at, entry, envelope FROM dead ORDER BY id")
        return [DeadLetter(row[0], Cause(*row[1:5]), row[5], row[6]) for row in rows]

    # -- another file -------------------------------------------------------------------------------

    def adopt(self, source: Spool) -> list[Run]:
        """Move some entries of another file, and its dead letters, to the end of this one; none is left when none came.

        A crash between the two transactions leaves those entries in both files: delivered twice, and not lost.
        """
        last = source.first_of_row(ADOPTED_AT_ONCE)
        found = list(source.found(ADOPTED_AT_ONCE))
        letters = source.dead()
        moved: list[Run] = []
        while last is not None and not found:
            source.remove(last)
            last, found = source.first_of_row(ADOPTED_AT_ONCE), list(source.found(ADOPTED_AT_ONCE))

        def move(db: sqlite3.Connection) -> None:
            number = self._next
            for run, joined in found:
                moved.append(Run(number, run.sizes, run.envelope))
                db.execute(INSERT, packed(moved[-1], joined))
                number += len(run)
            _bury(db, letters)

        if found or letters:
            self._in_transaction(move)
            self._next += sum(map(len, moved))
            source.remove(last)
        return moved

    def first_of_row(self, count: int) -> int | None:
        """Return the first number of the last of the oldest so many rows."""
        query = "SELECT max(first) FROM (SELECT first FROM entries ORDER BY first LIMIT ?)"
        (first,) = self._db.execute(query, (count,)).fetchone()
        return None if first is None else int(first)

    def remove(self, first: int | None) -> None:
        """Delete the rows up to one, and all dead letters."""

        def remove(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM entries WHERE first <= ?", (first,))
            db.execute("DELETE FROM dead")

        self._in_transaction(remove)

    def restore(self, rows: Iterable[Row], settled: Iterable[Range]) -> None:
        """Take over the rows of a file that was damaged, and what is known to be settled of them."""

        def restore(db: sqlite3.Connection) -> None:
            db.executemany(INSERT, rows)
            db.executemany("REPLACE INTO settled VALUES (?, ?)", settled)

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


def _write(db: sqlite3.Connection, work: Work, number: int) -> Iterator[Run]:
    if work.settled:  # first, for what frees room makes room
        db.execute("DELETE FROM settled")
        db.executemany("INSERT INTO settled VALUES (?, ?)", work.settled)
        for first, last in work.settled:
            db.execute("DELETE FROM entries WHERE first BETWEEN ? AND ? AND last <= ?", (first, last, last))
    db.executemany("DELETE FROM dead WHERE id = ?", [(letter,) for letter in work.forgotten])
    for entries, envelope in cut(work.entries):
        run = Run(number, array("I", map(len, entries)), envelope)
        db.execute(INSERT, packed(run, b"".join(entries)))
        number += len(entries)
        yield run
    for letters in work.dead:
        _bury(db, letters)


def _bury(db: sqlite3.Connection, letters: Iterable[DeadLetter]) -> None:
    db.executemany(
        "INSERT INTO dead (entry, envelope, reason, status, answer, at) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (letter.entry, letter.envelope, cause.reason, cause.status, cause.answer, cause.at)
            for letter in letters
            for cause in (letter.cause,)
        ],
    )
    newest_first = "SELECT id, length(entry) + length(answer) FROM dead ORDER BY id DESC"
    size = 0
    for count, (number, length) in enumerate(db.execute(newest_first).fetchall(), 1):
        size += length
        if count > MOST or size > MOST_BYTES:
            db.execute("DELETE FROM dead WHERE id <= ?", (number,))
            break
