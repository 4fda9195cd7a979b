"""Dead letters in segments of their own; the oldest segments make way. Everything here blocks, on one thread."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator

import orjson

from aiotrack.buffers.dead_letters import MOST, MOST_BYTES, Cause, DeadLetter

from .entries import waiting_in
from .folder import Home
from .segment_file import SMALLEST, SegmentFile

__all__ = ["Letters"]

SEGMENTS = 8  # so many hold all that are kept
LENGTHS = struct.Struct("<QIII")  # id; size of reason, status and time, of the answer, of the batch header; then these


class Letters:
    """The dead letters of one lane."""

    def __init__(self, *, sync: bool) -> None:
        self._sync = sync
        self._files: list[SegmentFile] = []
        self._last: SegmentFile | None = None  # the one that is appended to

    def found(self, file: SegmentFile) -> None:
        """Take over a segment that another process has left."""
        self.seal()
        self._files.append(file)

    def add(self, home: Home, letters: list[DeadLetter], at: float) -> None:
        """Write letters, and remove those from the list that are safe. Raises OSError."""
        while letters:
            staged = self._stage(letters, at)
            if self._last is None or not staged:
                size = min(2 * self._last.room, MOST_BYTES // SEGMENTS) if self._last else SMALLEST
                self.seal()
                first = len(_packed(letters[0]))
                self._last = SegmentFile.create(home, "dead", size, first, sync=self._sync)
                self._files.append(self._last)
                continue
            try:
                self._last.flush(sync=self._sync)
            except OSError:
                self.seal()
                raise
            del letters[:staged]
        self._make_way()

    def _stage(self, letters: list[DeadLetter], at: float) -> int:
        last = self._last
        if last is None:
            return 0
        most = MOST // SEGMENTS - last.header.count
        appended = last.stage([_packed(letter) for letter in letters[:most]], b"", at) if most > 0 else None
        return 0 if appended is None else len(appended)

    def _make_way(self) -> None:
        count, size = (sum(getattr(file.header, what) for file in self._files) for what in ("count", "size"))
        while len(self._files) > 1 and (count > MOST or size > MOST_BYTES):
            oldest = self._files.pop(0)
            count, size = count - oldest.header.count, size - oldest.header.size
            oldest.delete()

    def all(self) -> list[DeadLetter]:
        """Return those that can be read, oldest first. Raises OSError."""
        return [letter for _, _, letter in self._read()]

    def _read(self) -> Iterator[tuple[SegmentFile, int, DeadLetter]]:
        for file in tuple(self._files):
            for at, payload, _ in waiting_in(file):
                yield file, at, _unpacked(payload)

    def forget(self, ids: Collection[int]) -> None:
        """Delete some. Raises OSError."""
        for file, at, letter in self._read() if ids else ():
            if letter.id in ids:
                file.notes.end([at], [0])
        for file in tuple(self._files):
            if not file.left:
                self._files.remove(file)
                self._last = None if file is self._last else self._last
                file.delete()
            else:
                file.note(file.notes.changed())

    def seal(self) -> None:
        """Append no more to the last segment."""
        if self._last is not None:
            self._last.seal()
            self._last = None

    def drop_gone(self) -> int:
        """Let go of segments that somebody has deleted; return how many letters they had."""
        self.seal()
        gone = [file for file in self._files if not file.home.exists(file.name)]
        self._files = [file for file in self._files if file not in gone]
        return sum(file.left for file in gone)


def _packed(letter: DeadLetter) -> bytes:
    cause = letter.cause
    why = orjson.dumps([cause.reason, cause.status, cause.at])
    lengths = LENGTHS.pack(letter.id, len(why), len(cause.answer), len(letter.batch_header))
    return b"".join((lengths, why, cause.answer, letter.batch_header, letter.entry))


def _unpacked(payload: bytes) -> DeadLetter:
    number, *lengths = LENGTHS.unpack_from(payload)
    parts, at = list[bytes](), LENGTHS.size
    for length in lengths:
        parts.append(payload[at : at + length])
        at += length
    reason, status, when = orjson.loads(parts[0])
    return DeadLetter(number, Cause(reason, status, parts[1], when), payload[at:], parts[2])
