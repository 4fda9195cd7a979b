"""One segment file: made, appended to, noted in, read, deleted. Everything here blocks, and belongs to one thread."""

from __future__ import annotations

import copy
import errno
import itertools
import os
import secrets
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

import attrs

from .folder import FileName, Folder, Home, Replaced
from .format import (
    BATCH_HEADER,
    BLOCK,
    HEAD,
    MOST_RECORDS,
    RECORDS,
    SECTOR,
    SECTORS,
    Foreign,
    Header,
    Salt,
    newer_version,
    packed_sector,
    unpacked_sector,
)
from .index import Index
from .notes import Notes, Sector
from .scan import WINDOW, known_as, read_at, reserve, scan, write_at

__all__ = ["SMALLEST", "Appended", "SegmentFile"]

SMALLEST = 1 << 16  # bytes of a segment
MOST_AT_ONCE = 512  # records that are told of at once


@attrs.frozen
class Appended:
    """Records that follow each other, with one batch header, and are in a file now."""

    file: SegmentFile
    first: int
    """The index of the first of them."""
    batch_header: bytes
    starts: array[int]
    """Where each begins."""
    sizes: array[int]
    """The size of each payload in bytes."""
    size: int
    """The size of all of them."""

    def __len__(self) -> int:
        return len(self.sizes)


class SegmentFile:
    """A segment on disk. It is open while it is appended to; what else is done with it opens it for that."""

    def __init__(self, home: Home, name: FileName) -> None:
        self._named(home, name)
        self.salt = Salt.of(name.salt)
        self.header = Header()
        self.notes = Notes()  # as they were found; who holds the segment goes on with them
        self.damage = ""  # of header and notes, when it was found
        self._batch_headers: dict[bytes, int] = {}
        self._numbers = itertools.count(1)  # of batch headers
        self._again: list[tuple[int, bytes, int]] = []  # from where on a batch header is written a second time
        self.room = 0  # bytes that are reserved for it
        self._fd = -1
        self._next = Header()  # what the header will be
        self._file = (0, 0)  # inode and device, while it is open
        self._known_as: str | None = None  # the system's name for it, while it is open
        self._parts: list[bytes] = []

    def _named(self, home: Home, name: FileName) -> None:
        self.home = home
        self.name = name
        self.path = f"{home.path}/{name}"

    def _opened(self, fd: int) -> None:
        found = os.fstat(fd)
        self._fd, self._file, self._known_as = fd, (found.st_ino, found.st_dev), known_as(fd)

    # -- writing ------------------------------------------------------------------------------------

    @classmethod
    def create(cls, home: Home, kind: str, size: int, first: int, *, sync: bool) -> SegmentFile:
        """Make an empty one of that size, or less where the disk has little room, for a first payload of `first` bytes.

        Its room is reserved: a full disk shows here and never later. Raises OSError.
        """
        file = cls(home, home.new_name(secrets.token_hex(8), kind))
        size = max(min(size, home.room // 16), SMALLEST, RECORDS + first + 4 * HEAD.size)
        file._opened(home.create(file.name))
        try:
            reserve(file._fd, size)
            sectors = [packed_sector(file.salt, number, 0, 0, bytes(SECTOR - 16)) for number in range(SECTORS)]
            block = file.salt.packed_header(file.header).ljust(BLOCK, b"\0") + b"".join(sectors)
            write_at(file._fd, block * 2, 0)
            if sync:
                os.fsync(file._fd)
                home.sync()
        except BaseException:
            file.delete()
            raise
        file.room = size
        return file

    def stage(self, entries: Sequence[bytes], batch_header: bytes, at: float) -> Appended | None:
        """Take as many entries into the next write as there is room for; None for none."""
        header = self._next
        start = header.end
        number = self._batch_headers.get(batch_header)
        if number is None or (self._again and start >= self._again[0][0]):
            number, start = self._stage_batch_header(batch_header, start)
        most = min(MOST_AT_ONCE, MOST_RECORDS - header.count)
        if len(entries) > most:
            entries = entries[:most]
        sizes = array("I", map(len, entries))
        starts = array("I", itertools.accumulate(map(HEAD.size.__add__, sizes), initial=start))
        if starts[-1] > self.room:
            fit = max(bisect_right(starts, self.room) - 1, 0)
            entries, sizes, starts = entries[:fit], sizes[:fit], starts[: fit + 1]
        if not entries:
            return None
        if at - header.newest >= 1.0 or not header.times:
            header.date(at)
        self._parts += self.salt.packed(entries, number, header.count)
        appended = Appended(self, header.count, batch_header, starts, sizes, sum(sizes))
        header.end = starts.pop()
        header.count += len(entries)
        header.size += appended.size
        return appended

    def _stage_batch_header(self, batch_header: bytes, end: int) -> tuple[int, int]:
        """Return a batch header's number, and where the records end that have to be before an entry under it."""
        parts: list[bytes] = []
        number = self._batch_headers.get(batch_header)
        if number is None:
            number = self._batch_headers[batch_header] = next(self._numbers)
            self._again.append((end + BLOCK, batch_header, number))
            parts += self.salt.packed([batch_header], BATCH_HEADER, number)
        while self._again and end >= self._again[0][0]:
            _, earlier, its_number = self._again.pop(0)
            parts += self.salt.packed([earlier], BATCH_HEADER, its_number)
        self._parts += parts
        return number, end + sum(map(len, parts))

    def flush(self, *, sync: bool) -> None:
        """Write what was staged, in one piece. Raises OSError; then nothing of it is in the file."""
        try:
            write_at(self._fd, b"".join(self._parts), self.header.end)
            if not self.is_there:
                raise Replaced(errno.ENOENT, "the folder or this file was deleted or replaced", self.path)
            self._write_header(self._next)
            if sync:
                os.fdatasync(self._fd)
        except BaseException:
            with suppress(OSError):  # what was written is not to count, whatever part of it is on the disk
                self.header.generation = self._next.generation
                self._write_header(self.header)
            self._next = copy.copy(self.header)
            self._batch_headers.clear()  # perhaps they were not written
            self._again.clear()
            raise
        finally:
            self._parts = []
        self.header = copy.copy(self._next)

    @property
    def is_there(self) -> bool:
        """Whether the open file is what its path says, and so would be found after a restart. Raises OSError."""
        if self._known_as == known_as(self._fd) is not None and os.access(self.home.path, os.W_OK | os.X_OK):
            return True
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        return (there.st_ino, there.st_dev) == self._file

    def _write_header(self, header: Header) -> None:
        header.generation += 1
        write_at(self._fd, self.salt.packed_header(header), (header.generation & 1) * 2 * BLOCK)

    def note(self, sectors: Sequence[Sector]) -> None:
        """Write sectors of the notes, each over its older copy."""
        with self.home.opened(self.name, self._fd, os.O_RDWR) as fd:
            for one in sectors:
                packed = packed_sector(self.salt, one.number, one.generation, one.ended, one.bits)
                write_at(fd, packed, BLOCK + (one.generation & 1) * 2 * BLOCK + one.number * SECTOR)

    def seal(self) -> None:
        """Append no more: close it, and give back the room that it does not need."""
        if self._fd >= 0:
            with suppress(OSError):
                os.ftruncate(self._fd, self.header.end)
            self.home.close(self._fd)
            self._fd = -1

    def move(self, home: Home) -> None:
        """Write it anew, while it is open, perhaps in another folder: it or its own is gone."""
        name = home.new_name(self.name.salt, self.name.kind)
        fd = home.create(name)
        try:
            for at in range(0, self.room, WINDOW):
                write_at(fd, os.pread(self._fd, min(WINDOW, self.room - at), at), at)
            os.fsync(fd)
            home.sync()
        except BaseException:
            home.close(fd)
            home.unlink(name)
            raise
        self.delete()
        self._named(home, name)
        self._opened(fd)

    def take(self) -> None:
        """Make it ours, after another process, with no more room than it needs. Raises OSError."""
        self._named(self.home, self.home.take(self.name))
        if not self.damage:
            with suppress(OSError), self.home.opened(self.name, flags=os.O_RDWR) as fd:
                os.ftruncate(fd, self.header.end)

    @property
    def left(self) -> int:
        """How many records had not ended when it was found."""
        return max(self.header.count - self.notes.ended, 0)

    def delete(self) -> None:
        """Delete the file."""
        if self._fd >= 0:
            self.home.close(self._fd)
            self._fd = -1
        self.home.unlink(self.name)

    # -- reading ------------------------------------------------------------------------------------

    @classmethod
    def found(cls, home: Folder, name: FileName) -> SegmentFile:
        """Learn what is in a file, which only who has locked its owner's may write to. Raises OSError, and Foreign."""
        file = cls(cast(Home, home), name)
        with home.opened(name) as fd:
            head = read_at(fd, RECORDS, 0)
            copies = [head[at : at + SECTOR] for at in (0, 2 * BLOCK)]
            if (version := newer_version(*copies)) is not None:
                raise Foreign(f"it is of version {version}, which a later aiotrack has written")
            headers = [header for copy in copies if (header := file.salt.unpacked_header(copy)) is not None]
            file.header = max(headers, key=lambda header: header.generation, default=Header())
            file.notes = file._found_notes(head)
            if len(headers) < len(copies):  # the damaged one may have told of more
                file.damage = "its header"
                index, _ = scan(file.salt, fd, os.fstat(fd).st_size)
                file._learn(index, os.fstat(fd).st_mtime)
        return file

    def _found_notes(self, head: bytes) -> Notes:
        sectors: list[Sector] = []
        for number in range(SECTORS):
            places = (BLOCK + number * SECTOR, 3 * BLOCK + number * SECTOR)
            copies = [unpacked_sector(self.salt, number, head[at : at + SECTOR]) for at in places]
            sound = [copy for copy in copies if copy is not None]
            if sound:
                generation, ended, bits = max(sound, key=lambda copy: copy[0])
                sectors.append(Sector(number, generation, ended, bits))
            else:
                self.damage = "its notes: what had ended there may be sent again"
        return Notes(sectors)

    def _learn(self, index: Index, at: float) -> None:
        """Make up a header from what a scan has found."""
        if not index.starts and not self.header.count:
            raise Foreign("it is no segment, or nothing of it can be read")
        header = self.header
        header.count = max(len(index.starts), header.count)
        header.size, header.end = index.size, max(index.end, header.end)
        header.times, header.newest = header.times or ((0, at),), header.newest or at

    def load(self) -> tuple[Index, list[tuple[int, int]]]:
        """Find its records; return them, and where damage begins and ends. Raises OSError."""
        with self.home.opened(self.name, self._fd) as fd:
            return scan(self.salt, fd, self.header.end)

    def read(self, starts: Sequence[int], sizes: Sequence[int], indices: Sequence[int]) -> list[bytes | None]:
        """Return payloads, ascending; None for those that are damaged. Raises OSError."""
        first, last = starts[0], starts[-1] + HEAD.size + sizes[-1]
        with self.home.opened(self.name, self._fd) as fd:
            data = read_at(fd, last - first, first)
        payloads: list[bytes | None] = []
        for start, size, index in zip(starts, sizes, indices, strict=True):
            at, record = start - first + HEAD.size, self.salt.unpacked(data, start - first)
            sound = record is not None and (record[0], record[2]) == (index, size)
            payloads.append(data[at : at + size] if sound else None)
        return payloads
