"""Opening a store that may be damaged: then it is set aside, and what is sound of it goes into a new one."""

from __future__ import annotations

import itertools
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import cast

from aiotrack.buffers.dead_letters import DeadLetter
from aiotrack.model.log import logger

from .backlog import Range
from .ownership import Lock, sync_folder
from .pages import Log, Pages
from .rows import Row, is_sound, is_sound_letter, is_sound_range, letter_of
from .store import EventStore

__all__ = ["open_store"]

ENVIRONMENT = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}


def open_store(path: Path, lock: Lock, sync: str) -> EventStore:
    """Open a store and check it; a damaged one is replaced first. Raises sqlite3.Error and OSError."""
    _finish(path)
    why = _damage_of_log(path)
    if why is None:
        try:
            return _checked(path, lock, sync)
        except (sqlite3.Error, LookupError, ValueError, TypeError) as exc:
            if not _is_damage(exc):
                raise
            why = str(exc)
    _replace(path, lock, why)
    return _checked(path, lock, sync)


def _checked(path: Path, lock: Lock, sync: str) -> EventStore:
    store = EventStore(path, lock, sync)
    try:
        store.check()
    except BaseException:
        store.close()
        raise
    return store


def _is_damage(exc: Exception) -> bool:
    """Tell a damaged file from a full disk, a missing right, and the like."""
    code = getattr(exc, "sqlite_errorcode", None)
    return code is None or code == sqlite3.SQLITE_IOERR_SHORT_READ or code & 0xFF not in ENVIRONMENT


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return b""


def _damage_of_log(path: Path) -> str | None:
    """Say what SQLite would not: it takes the first damage in its log for the end."""
    content = _read(f"{path}-wal")
    if not content:
        return None
    if path.stat().st_size == 0:
        return "the file is empty and its log is not"
    return "its log" if Log.read(content).damaged else None


def _replace(path: Path, lock: Lock, why: str) -> None:
    """Build a new file beside the damaged one. A crash leaves the one or the other, whole."""
    new = path.with_suffix(".new")
    for suffix in ("", "-wal", "-journal"):
        Path(f"{new}{suffix}").unlink(missing_ok=True)
    pages = Pages(_read(path), Log.read(_read(f"{path}-wal")))
    store = EventStore(new, lock, "full")
    try:
        kept = _restore(store, pages)
        store.checkpoint()  # closing would try to, and say nothing if it can't
    finally:
        store.close()
    os.replace(new, _ready(path))
    aside = _finish(path)
    logger.error("%s was damaged (%s) and is set aside as %s; %d events of it are sound", path, why, aside, kept)


def _restore(store: EventStore, pages: Pages) -> int:
    """Take over what is sound; return how many entries that is."""
    rows: dict[int, Row] = {}
    settled: set[Range] = set()
    letters: dict[int, DeadLetter] = {}
    for row_id, columns in pages.records():
        match columns:
            case [None, *rest] if is_sound((row_id, *rest)):
                rows.setdefault(row_id, cast(Row, (row_id, *rest)))
            case [None, int(last), int(checksum)] if is_sound_range((row_id, last, checksum)):
                settled.add((row_id, last))
            case [None, *rest] if is_sound_letter(tuple(rest)):
                letters.setdefault(row_id, letter_of(row_id, tuple(rest)))
            case _:
                pass
    sound: list[Row] = []
    end = 0
    for first, row in sorted(rows.items()):
        if first > end:  # else it is of a transaction that failed, and its numbers were used again
            sound.append(row)
            end = row[1]
    store.restore(sound, _merged(settled), [letter for _, letter in sorted(letters.items())])
    return sum(len(run) for run, _ in store.found())


def _merged(ranges: set[Range]) -> list[Range]:
    """Join ranges that overlap: they come from several states of the file."""
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _ready(path: Path) -> Path:
    return path.with_suffix(".ready")


def _finish(path: Path) -> str:
    """Put a new file that is ready into the place of the damaged one, which is set aside; return its name then."""
    ready = _ready(path)
    if not ready.exists():
        return ""
    names = (path.with_suffix(f".damaged-{number}") for number in itertools.count(1))
    aside = next(name for name in names if not name.exists() and not Path(f"{name}-wal").exists())
    for suffix in ("-wal", ""):
        with suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    os.replace(ready, path)
    sync_folder(path.parent)
    return aside.name
