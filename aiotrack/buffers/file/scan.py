"""Reading and writing a segment file at places: whole, past blocks that can't be read, and past damage."""

from __future__ import annotations

import errno
import os

from .format import BATCH_HEADER, BLOCK, HEAD, RECORDS, Salt
from .index import Index

__all__ = ["WINDOW", "known_as", "read_at", "reserve", "scan", "write_at"]

WINDOW = 1 << 18  # bytes that are read at once


def write_at(fd: int, data: bytes, at: int) -> None:
    """Write all of it there. Raises OSError."""
    done = os.pwrite(fd, data, at)
    while done < len(data):
        done += os.pwrite(fd, memoryview(data)[done:], at + done)


def known_as(fd: int) -> str | None:
    """Return the path that an open file has now, marked if it was deleted; None where the system does not tell.

    To ask for its times as well, as `stat` does, would have the next write change them, and the next sync write them.
    """
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None


def reserve(fd: int, size: int) -> None:
    """Have the disk keep so many bytes for a file. Raises OSError where it has not so many."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    for at in range(0, size, WINDOW):
        write_at(fd, bytes(min(WINDOW, size - at)), at)


def read_at(fd: int, size: int, at: int) -> bytes:
    """Read what is there; blocks that the disk can't read are zeros, which no checksum passes."""
    try:
        return os.pread(fd, size, at)
    except OSError as exc:
        if exc.errno != errno.EIO:
            raise
    data = b""
    while len(data) < size:
        start = at + len(data)
        most = min(BLOCK - start % BLOCK, size - len(data))
        try:
            piece = os.pread(fd, most, start)
        except OSError:
            piece = bytes(most)
        if not piece:
            break
        data += piece
    return data


def scan(salt: Salt, fd: int, end: int) -> tuple[Index, list[tuple[int, int]]]:
    """Find the records up to a place; return them, and where damage begins and ends. Raises OSError."""
    index, damage, batch_headers = Index(), list[tuple[int, int]](), dict[int, bytes]()
    window, base, at = b"", 0, RECORDS
    mark = salt.mark.to_bytes(4, "little")
    while at < end:
        if at < base or at + HEAD.size > base + len(window):
            window, base = read_at(fd, min(WINDOW, end - at), at), at
        length = HEAD.unpack_from(window, at - base)[3] if at + HEAD.size <= base + len(window) else 0
        if at + HEAD.size + length > base + len(window) and at + HEAD.size + length <= end:
            window, base = read_at(fd, max(HEAD.size + length, min(WINDOW, end - at)), at), at
        record = salt.unpacked(window, at - base)
        if record is None:
            start, at = at, _next_mark(fd, mark, at + 1, end)
            if damage and damage[-1][1] == start:
                start = damage.pop()[0]
            damage.append((start, at))
            continue
        number, batch_header, length = record
        if batch_header == BATCH_HEADER:
            batch_headers[number] = window[at - base + HEAD.size : at - base + HEAD.size + length]
        else:
            index.add(number, at, length, batch_header)
        at += HEAD.size + length
    index.name(batch_headers)
    return index, damage


def _next_mark(fd: int, mark: bytes, at: int, end: int) -> int:
    """Return where the next record may begin."""
    while at < end:
        window = read_at(fd, min(WINDOW, end - at), at)
        found = window.find(mark)
        if found >= 0:
            return at + found
        if len(window) <= len(mark):
            break
        at += len(window) - len(mark) + 1
    return end
