"""The bytes of a segment file, version 1: what its header, notes and records look like. No I/O.

Four blocks of 4 KiB, then records. Header and notes are there twice, a block apart, so no damaged block costs both:

    0      header, copy A: 512 bytes         4096   notes, copy A: 8 sectors of 512 bytes
    8192   header, copy B                    12288  notes, copy B
    16384  records: mark u32 | index u16 | batch header u16 | length u32 | CRC-32 u32, then the payload

The header says how far records are committed; what is behind was being written when the process ended, and nobody was
told that it is safe. It and each sector of the notes go to their older copy in turn, in place, so that noting an end
needs no new space. The notes have a bit for each record: 1, it has ended. A record's mark and the start of its checksum
come from the salt in the file's name, so no payload can look like a record to who searches for the next sound one.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Sequence
from itertools import repeat

import attrs

__all__ = [
    "BATCH_HEADER",
    "BITS",
    "BLOCK",
    "HEAD",
    "MOST_RECORDS",
    "RECORDS",
    "SECTOR",
    "SECTORS",
    "Foreign",
    "Header",
    "Salt",
    "newer_version",
    "packed_sector",
    "unpacked_sector",
]

VERSION = 1
MAGIC = b"aiotrack"
BLOCK = 4096
RECORDS = 4 * BLOCK  # where they begin
SECTOR, SECTORS = 512, 8
SECTOR_HEAD = struct.Struct("<IIQ")  # CRC-32, generation, size in bytes of the entries in it that have ended
BITS = (SECTOR - SECTOR_HEAD.size) * 8  # records in a sector
MOST_RECORDS = SECTORS * BITS
HEAD = struct.Struct("<IHHII")
BATCH_HEADER = 0  # in place of a batch header's number: this record is one, and its index is the number
FILE_HEAD = struct.Struct("<8sHHIQQQd")  # magic, version, times, count, size, end, generation, newest
TIME = struct.Struct("<Id")
MOST_TIMES = (SECTOR - FILE_HEAD.size - 4) // TIME.size
WORD = 0xFFFFFFFF


class Foreign(Exception):
    """A file is none that this version can read; the text says why."""


@attrs.define
class Header:
    """What is committed to a segment file."""

    count: int = 0
    """Records but for batch headers."""
    size: int = 0
    """The size of their payloads in bytes."""
    end: int = RECORDS
    """Where the next record goes."""
    generation: int = 0
    """Grows with each writing; its parity says which copy it went to."""
    newest: float = 0.0
    """When the last record came, in Unix seconds."""
    times: tuple[tuple[int, float], ...] = ()
    """From which record on which time holds, until the next: a few dozen, however long a segment is written to."""
    rest: bytes = attrs.field(default=bytes(SECTOR - 4 - FILE_HEAD.size), repr=False)
    """The times as they are written."""

    def date(self, at: float) -> None:
        """Note when the next records come."""
        self.newest = at
        span = at - self.times[0][1] if self.times else 0.0
        if not self.times or at - self.times[-1][1] >= max(1.0, span * 2 / MOST_TIMES):
            kept = self.times if len(self.times) < MOST_TIMES else self.times[::2]
            self.times = (*kept, (self.count, at))
            self.rest = b"".join(TIME.pack(*time) for time in self.times).ljust(len(self.rest), b"\0")


@attrs.frozen
class Salt:
    """A random number that a file's name tells: what does not fit to it was not written as a record of that file."""

    mark: int
    seed: int

    @classmethod
    def of(cls, text: str) -> Salt:
        """Take it from 16 hexadecimal digits."""
        return cls(int(text[:8], 16), int(text[8:], 16))

    def packed(self, entries: Sequence[bytes], batch_header: int, first: int) -> list[bytes]:
        """Return the heads and payloads of entries, the first with that index, to be joined."""
        indices, sums_from = range(first, first + len(entries)), self._sums_from(batch_header)
        sums = map(zlib.crc32, entries, range(sums_from + first, sums_from + indices.stop))
        heads = map(HEAD.pack, repeat(self.mark), indices, repeat(batch_header), map(len, entries), sums)
        return list(itertools.chain.from_iterable(zip(heads, entries, strict=False)))  # no frame for each entry

    def _sums_from(self, batch_header: int) -> int:
        """Return what a record's checksum starts from, its index added."""
        return (self.seed ^ batch_header << 16) & 0xFFFF0000

    def unpacked(self, data: bytes, at: int) -> tuple[int, int, int] | None:
        """Return index, batch header and length of the record there; None unless it is whole and sound."""
        start = at + HEAD.size
        if start > len(data):
            return None
        mark, index, batch_header, length, checksum = HEAD.unpack_from(data, at)
        if mark != self.mark or start + length > len(data):
            return None
        sums_from = self._sums_from(batch_header)
        sound = zlib.crc32(memoryview(data)[start : start + length], sums_from + index) == checksum
        return (index, batch_header, length) if sound else None

    def packed_header(self, header: Header) -> bytes:
        """Return a copy of the header."""
        fields = (header.count, header.size, header.end, header.generation, header.newest)
        packed = FILE_HEAD.pack(MAGIC, VERSION, len(header.times), *fields) + header.rest
        return packed + zlib.crc32(packed, self.seed).to_bytes(4, "little")

    def unpacked_header(self, data: bytes) -> Header | None:
        """Return what a copy says; None for a damaged one."""
        if len(data) < SECTOR or zlib.crc32(data[:-4], self.seed).to_bytes(4, "little") != data[-4:]:
            return None
        _, _, times, count, size, end, generation, newest = FILE_HEAD.unpack_from(data)
        places = range(FILE_HEAD.size, FILE_HEAD.size + times * TIME.size, TIME.size)
        known = tuple((index, at) for index, at in (TIME.unpack_from(data, place) for place in places))
        return Header(count, size, end, generation, newest, known, data[FILE_HEAD.size : -4])


def newer_version(*copies: bytes) -> int | None:
    """Return the version of a file that a later aiotrack has written, whatever else is in it; else None."""
    versions = {int.from_bytes(copy[8:10], "little") for copy in copies if copy[:8] == MAGIC}
    return versions.pop() if len(versions) == 1 and min(versions) > VERSION else None


def packed_sector(salt: Salt, number: int, generation: int, ended: int, bits: bytes) -> bytes:
    """Return a sector of the notes: `bits` of its records, and the size in bytes of those that have ended."""
    rest = SECTOR_HEAD.pack(0, generation, ended)[4:] + bits
    return zlib.crc32(rest, (salt.seed + number) & WORD).to_bytes(4, "little") + rest


def unpacked_sector(salt: Salt, number: int, data: bytes) -> tuple[int, int, bytes] | None:
    """Return generation, size of what has ended and bits of a sector; None for a damaged one."""
    if len(data) < SECTOR:
        return None
    checksum, generation, ended = SECTOR_HEAD.unpack_from(data)
    sound = zlib.crc32(data[4:], (salt.seed + number) & WORD) == checksum
    return (generation, ended, data[SECTOR_HEAD.size :]) if sound else None
