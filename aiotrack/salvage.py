"""What can still be read of a damaged spool: the file is set aside, and its sound rows go to a new one."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from .log import logger
from .mending import PAGE, free_name, mend_log
from .ownership import Lock
from .rows import Row, is_sound
from .spool import Spool

__all__ = ["is_damage", "opened"]

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


def is_damage(exc: Exception) -> bool:
    """Tell a damaged file from a full disk, a missing right, and the like."""
    if isinstance(exc, LookupError):
        return True
    code = getattr(exc, "sqlite_errorcode", None)
    if not isinstance(exc, sqlite3.Error) or code is None:
        return isinstance(exc, sqlite3.DatabaseError) and type(exc) is sqlite3.DatabaseError
    return code == sqlite3.SQLITE_IOERR_SHORT_READ or code & 0xFF not in ENVIRONMENT


def opened(path: Path, lock: Lock, sync: str) -> Spool:
    """Open a spool and check it; a damaged one is set aside and what is sound of it goes into a new one."""
    mend_log(path)
    try:
        spool = Spool(path, lock, sync)
        try:
            spool.check()
        except BaseException:
            spool.close()
            raise
    except (sqlite3.Error, LookupError) as exc:
        if not is_damage(exc):
            raise
        return _salvaged(path, lock, sync, str(exc))
    return spool


def _salvaged(path: Path, lock: Lock, sync: str, why: str) -> Spool:
    aside = free_name(path)
    for suffix in ("-wal", ""):
        with suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    spool = Spool(path, lock, sync)
    rows = list(_rows(aside))
    sound = [row for row in rows if is_sound(row)]
    spool.restore(sound, _settled(aside))
    kept = sum(row[1] - row[0] + 1 for row in sound)
    logger.error(
        "%s was damaged (%s) and is set aside as %s: %d events in %d sound rows are kept, %d rows are not sound",
        *(path, why, aside.name, kept, len(sound), len(rows) - len(sound)),
    )
    return spool


def _rows(path: Path) -> Iterator[Row]:
    """Read what can be read, from both ends towards the damage, on a copy."""
    copy = path.with_suffix(f"{path.suffix}-copy")
    seen: set[int] = set()
    try:
        for head in (None, _sound_head(path)):
            _copied(path, copy, head)
            for order in ("ASC", "DESC"):
                with suppress(sqlite3.Error), closing(sqlite3.connect(copy)) as db:
                    for row in db.execute(f"SELECT * FROM entries ORDER BY first {order}"):  # noqa: S608 - ours
                        if row[0] not in seen:
                            seen.add(row[0])
                            yield row
            if seen:
                return
    finally:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{copy}{suffix}").unlink(missing_ok=True)


def _copied(path: Path, copy: Path, head: bytes | None) -> None:
    for suffix in ("", "-wal"):
        if Path(f"{path}{suffix}").exists():
            descriptor = os.open(f"{copy}{suffix}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as target, open(f"{path}{suffix}", "rb") as source:
                shutil.copyfileobj(source, target)
    if head is not None:
        with copy.open("r+b") as file:
            file.write(head)


def _sound_head(path: Path) -> bytes:
    """Return the first page of a new spool: it says the same in all, but for the freelist and the sizes."""
    empty = path.with_suffix(f"{path.suffix}-empty")
    lock = Lock.take(empty.with_suffix(f"{empty.suffix}.lock"))
    assert lock is not None  # noqa: S101 - nobody else knows the name
    spool = Spool(empty, lock, "normal")
    spool.close()
    try:
        head = bytearray(empty.read_bytes()[:PAGE])
        head[28:32] = (path.stat().st_size // PAGE).to_bytes(4)  # the file's size in pages
        return bytes(head)
    finally:
        spool.release(delete=True)


def _settled(path: Path) -> list[tuple[int, int]]:
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as db:
        return list(db.execute("SELECT first, last FROM settled WHERE typeof(first) = 'integer' AND first <= last"))
    return []
