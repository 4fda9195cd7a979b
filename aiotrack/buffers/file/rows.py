"""The rows of a spool: entries that were committed together, with a checksum of their own."""

from __future__ import annotations

import itertools
import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, cast

from aiotrack.buffers.dead_letters import Cause, DeadLetter

from .backlog import Range, Run

__all__ = [
    "Row",
    "cut",
    "is_sound",
    "is_sound_letter",
    "is_sound_range",
    "letter_of",
    "packed",
    "packed_letter",
    "packed_range",
    "packed_time",
    "time_of",
    "unpacked",
    "without",
]

ROW_ENTRIES = 256
ROW_BYTES = 256 * 1024

Row = tuple[int, int, bytes, bytes, int, bytes]
"""Number of the first and of the last entry, sizes, batch_header, checksum, and the entries joined."""


def cut(entries: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[list[bytes], bytes]]:
    """Cut entries, each with its batch_header, into rows: of one batch_header, and not too large."""
    for batch_header, group in itertools.groupby(entries, lambda entry: entry[1]):
        row: list[bytes] = []
        size = 0
        for entry, _ in group:
            if row and (len(row) >= ROW_ENTRIES or size + len(entry) > ROW_BYTES):
                yield row, batch_header
                row, size = [], 0
            row.append(entry)
            size += len(entry)
        yield row, batch_header


def packed(run: Run, joined: bytes) -> Row:
    """Return the row."""
    sizes = run.sizes
    if sys.byteorder == "big":
        sizes = array("I", sizes)
        sizes.byteswap()
    stored = sizes.tobytes()
    return run.first, run.last, stored, run.batch_header, _checksum(stored, run.batch_header, joined), joined


def _checksum(sizes: bytes, batch_header: bytes, joined: bytes) -> int:
    return zlib.crc32(joined, zlib.crc32(batch_header, zlib.crc32(sizes)))


def is_sound(row: tuple[object, ...]) -> bool:
    """Tell whether a row is as it was written."""
    if len(row) != 6:
        return False
    first, last, sizes, batch_header, checksum, joined = cast(Row, row)
    try:
        return checksum == _checksum(sizes, batch_header, joined) and len(sizes) == 4 * (last - first + 1)
    except TypeError:  # a damaged column may be of any type
        return False


def unpacked(row: Row) -> tuple[int, array[int], bytes, bytes]:
    """Return first number, sizes, batch_header and joined entries. Raises LookupError for a damaged row."""
    if not is_sound(row):
        raise LookupError("a row is damaged")
    sizes = array("I", row[2])
    if sys.byteorder == "big":
        sizes.byteswap()
    return row[0], sizes, row[3], row[5]


def packed_range(numbers: Range) -> tuple[int, int, int]:
    """Return a row of settled numbers, with a checksum: a flipped bit in it could cost any number of entries."""
    return *numbers, zlib.crc32(b"%d %d" % numbers)


def is_sound_range(row: tuple[object, ...]) -> bool:
    """Tell whether a row of settled numbers is as it was written."""
    return all(isinstance(value, int) for value in row) and row == packed_range(cast(Range, row[:2]))


def packed_time(first: int, at: float) -> tuple[int, float, int]:
    """Return a row that says when entries were stored first."""
    return first, at, zlib.crc32(b"%d at %r" % (first, at))


def time_of(row: tuple[Any, ...]) -> float:
    """Return the time of such a row. Raises LookupError for a damaged one."""
    if not isinstance(row[1], int | float) or row != packed_time(row[0], float(row[1])):
        raise LookupError("a time is damaged")
    return float(row[1])


Letter = tuple[bytes, bytes, str, int | None, bytes, float, int]
"""Entry, batch_header, reason, status, answer, time and checksum."""


def packed_letter(letter: DeadLetter) -> Letter:
    """Return the row of a dead letter."""
    cause = letter.cause
    columns = (letter.entry, letter.batch_header, cause.reason, cause.status, cause.answer, float(cause.at))
    return *columns, zlib.crc32(repr(columns).encode())


def is_sound_letter(row: tuple[object, ...]) -> bool:
    """Tell whether the row of a dead letter is as it was written."""
    if len(row) != 7 or not isinstance(row[5], int | float):
        return False
    columns = (*row[:5], float(row[5]))  # SQLite writes 1.0 as an integer
    return row[6] == zlib.crc32(repr(columns).encode())


def letter_of(number: int, row: tuple[Any, ...]) -> DeadLetter:
    """Return the dead letter of a row."""
    return DeadLetter(number, Cause(*row[2:6]), row[0], row[1])


def without(start: int, stop: int, settled: Iterable[Range]) -> Iterator[Range]:
    """Yield what is left of the numbers from start up to, not including, stop."""
    for first, last in settled:
        if last < start or first >= stop:
            continue
        if first > start:
            yield start, first
        start = last + 1
    if start < stop:
        yield start, stop
