"""Making SQLite read its write-ahead log to the end, where damage inside would hide all that follows.

The frames of a log are chained by checksums, and SQLite takes the first that is wrong for the end
(https://www.sqlite.org/fileformat2.html#the_write_ahead_log). If whole transactions follow it is not the end: then
the chain is made anew, and what the damage has spoilt is left to the spool's own checksums.
"""

from __future__ import annotations

import itertools
import logging
import os
import struct
import sys
from pathlib import Path

from .log import logger

__all__ = ["PAGE", "free_name", "mend_log"]

PAGE = 4096  # bytes of a page of SQLite's
HEAD = 24  # bytes before each page in the log
FRAME = HEAD + PAGE
LOG_HEAD = 32
MAGIC = 0x377F0682 | (sys.byteorder == "big")
VERSION = 3007000
WORDS = "<2I" if sys.byteorder == "little" else ">2I"

Sums = tuple[int, int]


def free_name(path: Path) -> Path:
    """Return a name beside a damaged file that nothing has yet."""
    names = (path.with_suffix(f".damaged-{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists() and not Path(f"{name}-wal").exists())


def mend_log(path: Path) -> None:
    """Mend the log of a database, which nobody has open; the damaged one is set aside."""
    log = Path(f"{path}-wal")
    try:
        content = log.read_bytes()
    except FileNotFoundError:
        return
    mended = _mended(content)
    if mended is not None:
        aside = Path(f"{free_name(path)}-wal")
        os.rename(log, aside)
        descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(mended)
        logger.log(logging.ERROR, "%s was damaged and is set aside as %s: it is read past the damage", log, aside.name)


def _mended(content: bytes) -> bytes | None:
    """Return the log with a whole chain; None where there is nothing to mend."""
    frames = range(LOG_HEAD, len(content) - FRAME + 1, FRAME)
    if not frames:
        return None
    head, salts, is_sound = _head(content)
    frames = frames[: max((i + 1 for i, at in enumerate(frames) if content[at + 8 : at + 16] == salts), default=0)]
    first_bad, last_commit, sums = None, -1, struct.unpack(">2I", head[24:32])
    for index, at in enumerate(frames):
        stored = struct.unpack(">2I", content[at + 16 : at + 24])
        if content[at + 8 : at + 16] == salts and _summed(content, at, sums) == stored:
            last_commit = index if any(content[at + 4 : at + 8]) else last_commit
        elif first_bad is None:
            first_bad = index
        sums = stored  # of what was written: the next frame is judged by itself
    if is_sound and (first_bad is None or last_commit < first_bad):
        if first_bad is not None and any(any(content[at + 4 : at + 8]) for at in frames[first_bad:]):
            # Either it was being written when the power went, and nobody was told that it is safe, or it is damaged.
            logger.warning("the last transaction of a log is damaged or unfinished, and is left out")
        return None
    mended = bytearray(head)
    sums = struct.unpack(">2I", head[24:32])
    for at in frames[: last_commit + 1]:
        sums = _summed(content, at, sums)
        mended += content[at : at + 8] + salts + struct.pack(">2I", *sums) + content[at + HEAD : at + FRAME]
    return bytes(mended)


def _head(content: bytes) -> tuple[bytes, bytes, bool]:
    """Return the log's head, made anew if need be, its salts, and whether it was sound."""
    head = content[:LOG_HEAD]
    if struct.unpack(">2I", head[24:]) == _sum(head[:24], (0, 0)):
        return head, head[16:24], True
    salts = content[LOG_HEAD + 8 : LOG_HEAD + 16]
    head = struct.pack(">4I", MAGIC, VERSION, PAGE, 0) + salts
    return head + struct.pack(">2I", *_sum(head, (0, 0))), salts, False


def _summed(content: bytes, at: int, sums: Sums) -> Sums:
    """Go on with the checksum over one frame."""
    return _sum(content[at + HEAD : at + FRAME], _sum(content[at : at + 8], sums))


def _sum(data: bytes, sums: Sums) -> Sums:
    one, two = sums
    for x, y in struct.iter_unpack(WORDS, data):
        one = (one + x + two) & 0xFFFFFFFF
        two = (two + y + one) & 0xFFFFFFFF
    return one, two
