"""What is in the pages of a SQLite file and its log, read without SQLite, which stops where they are damaged.

Formats: https://www.sqlite.org/fileformat2.html, sections 1.6 (b-tree pages), 2.1 (records) and 4 (the log).
"""

from __future__ import annotations

import struct
import sys
from collections import Counter
from collections.abc import Iterator

import attrs

__all__ = ["PAGE", "Log", "Pages"]

PAGE = 4096  # bytes
TABLE_LEAF = 13
MOST_LOCAL = PAGE - 35  # bytes of a record that stays on its page
LEAST_LOCAL = (PAGE - 12) * 32 // 255 - 23
HEAD, FRAME_HEAD = 32, 24  # bytes before the log's first frame, and before each frame's page
FRAME = FRAME_HEAD + PAGE
MAGIC = b"\x37\x7f\x06"  # the first bytes of a log
WORDS = "<2I" if sys.byteorder == "little" else ">2I"

Value = int | float | bytes | str | None
Sums = tuple[int, int]


@attrs.frozen
class Log:
    """The frames of a write-ahead log that belong to its last run, in order, each a page number and its image."""

    frames: list[tuple[int, bytes]]
    sound: int
    """How many of them, from the first, are as they were written and committed."""
    damaged: bool
    """Whether a transaction was committed and is not sound, so that SQLite would leave it out, and what follows."""

    @classmethod
    def read(cls, content: bytes) -> Log:
        """Read a log. Its frames are chained by checksums; each is judged by the one before it, as that was written."""
        starts = range(HEAD, len(content) - FRAME + 1, FRAME)
        head = content[:HEAD].ljust(HEAD, b"\0")
        head_is_sound = head[:3] == MAGIC and struct.unpack(">2I", head[24:]) == _sum(head[:24], (0, 0))
        salts = content[16:24]
        if not head_is_sound and starts:
            # What is left of earlier runs has smaller salts: the first grows by one with each.
            counts = Counter(content[at + 8 : at + 16] for at in starts)
            salts = max((salts for salts in counts if counts[salts] > 1), default=content[HEAD + 8 : HEAD + 16])
        ours = [index for index, at in enumerate(starts) if content[at + 8 : at + 16] == salts]
        starts = starts[: ours[-1] + 1 if ours else 0]
        frames: list[tuple[int, bytes]] = []
        sound, whole, damaged = 0, head_is_sound, False
        sums: Sums = struct.unpack(">2I", content[24:32]) if starts else (0, 0)
        for index, at in enumerate(starts):
            number, committed = struct.unpack(">2I", content[at : at + 8])
            page = content[at + FRAME_HEAD : at + FRAME]
            frames.append((number, page))
            stored: Sums = struct.unpack(">2I", content[at + 16 : at + 24])
            whole = whole and index in ours and _sum(page, _sum(content[at : at + 8], sums)) == stored
            if committed and whole:
                sound = index + 1
            damaged = damaged or (bool(committed) and not whole)
            sums = stored
        return cls(frames, sound, damaged)


def _sum(data: bytes, sums: Sums) -> Sums:
    one, two = sums
    for x, y in struct.iter_unpack(WORDS, data):
        one = (one + x + two) & 0xFFFFFFFF
        two = (two + y + one) & 0xFFFFFFFF
    return one, two


class Pages:
    """All images of all pages; those that are likely to be right come first."""

    def __init__(self, file: bytes, log: Log) -> None:
        pages = [(at // PAGE + 1, file[at : at + PAGE]) for at in range(0, len(file), PAGE)]
        sound, others = log.frames[: log.sound], log.frames[log.sound :]
        self._images = [*reversed(sound), *pages, *others]
        self._newest = dict([*pages, *sound])
        for number, page in others:
            self._newest.setdefault(number, page)
        self._others = dict(others)

    def records(self) -> Iterator[tuple[int, list[Value]]]:
        """Yield the row id and the columns of everything that looks like a row of a table."""
        for number, page in self._images:
            start = 100 if number == 1 else 0
            if len(page) < PAGE or page[start] != TABLE_LEAF:
                continue
            (cells,) = struct.unpack_from(">H", page, start + 3)
            for place in range(start + 8, min(start + 8 + 2 * cells, PAGE - 1), 2):
                (at,) = struct.unpack_from(">H", page, place)
                for newest in (self._newest, {**self._newest, **self._others}) if self._others else (self._newest,):
                    try:
                        yield _record(page, at, newest)
                    except (IndexError, KeyError, ValueError, struct.error):
                        continue


def _record(page: bytes, at: int, pages: dict[int, bytes]) -> tuple[int, list[Value]]:
    size, at = _varint(page, at)
    row_id, at = _varint(page, at)
    if size <= MOST_LOCAL:
        return row_id, _columns(page[at : at + size])
    local = LEAST_LOCAL + (size - LEAST_LOCAL) % (PAGE - 4)
    local = local if local <= MOST_LOCAL else LEAST_LOCAL
    pieces = [page[at : at + local]]
    (number,) = struct.unpack_from(">I", page, at + local)
    left = size - local
    while left > 0:
        piece = pages[number]
        (number,) = struct.unpack_from(">I", piece)
        pieces.append(piece[4 : 4 + left])
        left -= PAGE - 4
    return row_id, _columns(b"".join(pieces))


def _columns(record: bytes) -> list[Value]:
    end, at = _varint(record, 0)
    kinds: list[int] = []
    while at < end:
        kind, at = _varint(record, at)
        kinds.append(kind)
    columns: list[Value] = []
    for kind in kinds:
        value, end = _value(record, end, kind)
        columns.append(value)
    if end != len(record):
        raise ValueError("a record of another size")
    return columns


def _value(record: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind >= 12:
        size = (kind - 12) // 2
        raw = record[at : at + size]
        return (raw.decode() if kind % 2 else raw), at + size
    if kind in {0, 8, 9}:
        return {0: None, 8: 0, 9: 1}[kind], at
    if kind == 7:
        return struct.unpack_from(">d", record, at)[0], at + 8
    size = [0, 1, 2, 3, 4, 6, 8][kind]
    return int.from_bytes(record[at : at + size], signed=True), at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count in range(9):
        byte = data[at + count]
        if count == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + count + 1
    raise AssertionError("nine bytes at most")
