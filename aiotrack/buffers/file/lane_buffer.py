"""A buffer on disk: what it has taken outlives the process, however that ends."""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from aiotrack.buffers.base import MIB, BufferListener, Claim, Depth, Requeued
from aiotrack.buffers.dead_letters import Cause, DeadLetter
from aiotrack.model.errors import BufferFailed, BufferFull, EntriesLost
from aiotrack.model.log import logger
from aiotrack.model.worker import Worker

from .backlog import Backlog, Pick, Segment
from .log import SegmentLog
from .segment_file import Appended, SegmentFile
from .writer import LONGEST_WAIT, Buried, Writer

__all__ = ["FileLaneBuffer"]

T = TypeVar("T")

MOST_UNSAFE = 16 * MIB  # bytes that wait for the disk
DAMAGED = "damaged on disk"
AT_START = 0.5  # seconds that a start takes over what dead processes left; the rest is, beside new events
AT_ONCE = 0.02  # seconds that taking over holds up the thread


class FileLaneBuffer:
    """One destination's entries, in segments of its own."""

    durable = True
    lease: float | None = None

    def __init__(self, log: SegmentLog, max_bytes: int, look: Callable[[], None]) -> None:
        self.path = log.path
        self.max_bytes = max_bytes
        self._log = log
        self._look = look  # around in the folder, and says what is strange
        self._worker: Worker | None = None
        self._process = 0
        self._writer: Writer | None = None
        self._recovering = asyncio.Lock()
        self._backlog = Backlog()
        self._requeued = Requeued()
        self._lost: list[EntriesLost] = []  # and not told yet
        self._letter_ids = itertools.count(time.time_ns())  # unlike those of processes before
        self._events = self._bytes = self._claimed_bytes = 0

    # -- open and close -----------------------------------------------------------------------------

    async def open(self, listener: BufferListener) -> None:
        """Make the folder, and take over what dead processes left, or begin to."""
        self._process = os.getpid()
        self._worker = worker = Worker("file buffer")
        found = await worker.run(functools.partial(self._log.open, AT_START))
        self._writer = Writer(worker, self._log, listener, self._stored, self._ended, self._gone)
        await self._writer.tell(found)
        if self._events:
            logger.info("%s: %d events of an earlier process are here", self.path, self._events)
        _opened.add(self)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._worker is None:
            raise BufferFailed("the buffer is not open")
        return await self._worker.run(work)

    async def close(self) -> int:
        """Write what is left to write, and give the files up; one with nothing in it is deleted."""
        _opened.discard(self)
        worker, self._worker = self._worker, None
        writer, self._writer = self._writer, None
        if worker is not None:
            done = threading.Event()
            _closing[done] = self._process  # until it is, however short the wait for it is cut
            if writer is None:
                closing = worker.run(functools.partial(self._log.close, {}))
            else:
                closing = writer.close(self._backlog.newest)
            worker.submit(functools.partial(_closed, done))
            worker.stop()
            await closing
        return 0

    def rescue(self) -> None:
        """At the interpreter's end: write what was accepted without waiting and has not been written."""
        if self._writer is not None and os.getpid() == self._process:
            self._writer.rescue()

    async def recover(self) -> None:
        """Look whether the folder is still there, and take over the files of processes that are dead."""
        async with self._recovering:
            try:
                self._gone((await self._in_thread(self._log.watch)).gone)
                while self._writer is not None and await self._in_thread(
                    functools.partial(self._writer.take_over, AT_ONCE)
                ):
                    pass
                await self._in_thread(self._look)
            except OSError as exc:
                logger.error("%s can't be looked after now: %s", self.path, exc)

    # -- what the thread has done -------------------------------------------------------------------

    def _stored(self, stored: Appended | SegmentFile) -> Segment:
        """Take in records that are in a file, or a file with all that is in it."""
        newest = self._backlog.newest
        file = stored if isinstance(stored, SegmentFile) else stored.file
        if newest is not None and newest.open and newest.file is not file:
            self._backlog.seal(newest)
            self._ended(newest)
        if isinstance(stored, SegmentFile):
            segment = self._backlog.found(stored)
            events, size = segment.left, segment.size
        else:
            segment = self._backlog.appended(stored)
            events, size = len(stored), stored.size
        self._events += events
        self._bytes += size
        return segment

    def _ended(self, segment: Segment) -> None:
        """Have it noted on disk that something has ended in a segment, or that all has."""
        if segment.is_over and segment in self._backlog.segments:
            self._backlog.segments.remove(segment)
        elif not segment.open and not segment.unclaimed:
            segment.index = None
        if self._writer is not None:
            self._writer.touch(segment)

    def _gone(self, files: Collection[SegmentFile]) -> None:
        """Let go of what was in files that somebody has deleted, but for what is claimed."""
        gone = [segment for segment in self._backlog.segments if segment.file in files]
        lost = sum(self._lose(segment, *segment.waiting(), "their file was deleted") for segment in gone)
        if lost:
            logger.error("%s: %d events are lost: their files were deleted", self.path, lost)

    def _lose(self, segment: Segment, indices: Sequence[int], size: int, why: str) -> int:
        """Let go of unclaimed records that can't be read any more; return how many."""
        if indices:
            self._drop(segment, indices, size)
            self._lost.append(EntriesLost(segment.numbers(indices), why))
        return len(indices)

    def _drop(self, segment: Segment, indices: Sequence[int], size: int) -> None:
        """End unclaimed records of that size together."""
        segment.drop(indices, size)
        self._events -= len(indices)
        self._bytes -= size
        self._ended(segment)

    @property
    def half_full(self) -> bool:
        """Whether bulk producers have to wait, for the sender or for the disk."""
        unsafe = 0 if self._writer is None else self._writer.unsafe
        return 2 * (self._bytes + unsafe) > self.max_bytes or 2 * unsafe > MOST_UNSAFE

    # -- entries ------------------------------------------------------------------------------------

    def append(self, entry: bytes, batch_header: bytes) -> asyncio.Future[int]:
        """Store an entry if it fits; it is safe when the future is done."""
        writer = self._writer
        if writer is None:
            raise BufferFailed("the buffer is not open")
        size, unsafe = len(entry), writer.unsafe
        if self._bytes + unsafe + size > self.max_bytes:
            raise BufferFull(f"{self._bytes + unsafe} of {self.max_bytes} bytes are taken")
        if unsafe and unsafe + size > MOST_UNSAFE:
            raise BufferFull("the disk does not keep up")
        return writer.append(entry, batch_header)

    async def written(self) -> None:
        """Wait until all that was appended is on disk, or can't be."""
        if self._writer is not None:
            await self._writer.written()

    async def claim(self, max_events: int, max_bytes: int) -> Claim | None:
        """Claim the oldest."""
        requeued = self._requeued.claim(max_events, max_bytes)
        if requeued is not None:
            self._claimed_bytes += requeued.size
            return requeued
        while not self._lost and (segment := self._backlog.oldest()) is not None:
            if segment.index is None:
                await self._load(segment)
            else:
                pick = segment.pop(segment.index, max_events, lambda size, one: size + one > max_bytes)
                return await self._read(pick)
        if self._lost:
            raise self._lost.pop(0)
        return None

    async def _load(self, segment: Segment) -> None:
        """Look up where a segment's records are."""
        file = segment.file
        try:
            index, damage = await self._in_thread(file.load)
        except FileNotFoundError:
            self._gone([file])
            return
        if not segment.unclaimed:  # somebody has dropped them meanwhile
            return
        missing, size = segment.found(index)
        self._bytes += size
        if damage:
            await self._in_thread(functools.partial(file.set_aside, damage))
        if self._lose(segment, missing, 0, DAMAGED):
            logger.error("%s: %d events are lost: %s", file.path, len(missing), DAMAGED)

    async def _read(self, pick: Pick) -> Claim:
        segment = pick.segment
        self._claimed_bytes += pick.size
        try:
            payloads = await self._in_thread(
                functools.partial(segment.file.read, pick.starts, pick.sizes, pick.indices)
            )
        except BaseException as exc:
            self._claimed_bytes -= pick.size
            segment.put_back(pick)
            if isinstance(exc, FileNotFoundError):
                self._gone([segment.file])
                raise self._lost.pop(0) from exc
            raise
        claim = Claim(pick.numbers, [payload or b"" for payload in payloads], pick.batch_header)
        lost = [place for place, payload in enumerate(payloads) if payload is None]
        if not lost:
            return claim
        self._claimed_bytes -= pick.size
        if sound := [place for place, payload in enumerate(payloads) if payload is not None]:
            self._requeued.add(claim.only(sound))
        numbers = claim.only(lost).numbers
        self._end(numbers, [pick.sizes[place] for place in lost])
        logger.error("%s: %d events are lost: %s", segment.file.path, len(lost), DAMAGED)
        raise EntriesLost(numbers, DAMAGED)

    def make_room(self, size: int) -> Sequence[int]:
        """Drop the oldest; where they are in a segment that nothing was read of yet, all that are in it."""
        dropped: list[int] = []
        unsafe = self._writer.unsafe if self._writer is not None else 0
        if self._claimed_bytes + unsafe + size > self.max_bytes:
            return dropped
        while (wanted := self._bytes + unsafe + size - self.max_bytes) > 0:
            requeued = self._requeued.claim(1, 1)
            segment = self._backlog.oldest()
            if requeued is not None:
                dropped += requeued.numbers
                self._end(requeued.numbers, [requeued.size])
            elif segment is None:
                break
            elif segment.index is None:
                indices, waiting = segment.waiting()
                dropped += segment.numbers(indices)
                self._drop(segment, indices, waiting)
            else:
                pick = segment.pop(segment.index, self._events, lambda size, _: size >= wanted)
                dropped += pick.numbers
                self._end(pick.numbers, pick.sizes)
        return dropped

    async def renew(self, claim: Claim) -> None:
        """Nothing to do: no other process sees a claim."""

    async def ack(self, claim: Claim) -> None:
        """Let go of what is delivered. It is noted with the next group: after a crash it may come back."""
        self._claimed_bytes -= claim.size
        self._end(claim.numbers, list(map(len, claim.entries)))

    async def release(self, claim: Claim) -> None:
        """Put back what was not sent."""
        self._claimed_bytes -= claim.size
        self._requeued.add(claim)

    def _end(self, numbers: Sequence[int], sizes: Sequence[int]) -> None:
        self._events -= len(numbers)
        self._bytes -= sum(sizes)
        for segment, indices, its_sizes in self._backlog.by_segment(numbers, sizes):
            segment.end(indices, its_sizes)
            self._ended(segment)

    async def bury(self, claim: Claim, cause: Cause) -> None:
        """Keep what is dead apart. It ends on disk only when its dead letter is there."""
        self._claimed_bytes -= claim.size
        self._events -= len(claim)
        self._bytes -= claim.size
        buried = [
            Buried(letter, segment, index)
            for segment, indices, places in self._backlog.by_segment(claim.numbers, range(len(claim)))
            for letter, index in zip(self._letters(claim.only(places), cause), indices, strict=True)
        ]
        if self._writer is not None:
            self._writer.bury(buried)

    def add_dead_letters(self, claim: Claim, cause: Cause) -> None:
        """Add dead letters, of whatever buffer."""
        if self._writer is not None:
            self._writer.bury(map(Buried, self._letters(claim, cause)))

    def _letters(self, claim: Claim, cause: Cause) -> list[DeadLetter]:
        return [DeadLetter(next(self._letter_ids), cause, entry, claim.batch_header) for entry in claim.entries]

    async def dead_letters(self) -> Sequence[DeadLetter]:
        """Return those on disk, and those that can't be written."""
        if self._writer is None:
            return []
        await self._writer.written()
        letters = await self._in_thread(self._log.letters.all)
        return [*letters, *(one.letter for one in self._writer.held.values())]

    async def forget(self, ids: Collection[int]) -> None:
        """Delete some."""
        if self._writer is not None:
            self._writer.forget(ids)
            await self._writer.written()

    def depth(self) -> Depth:
        """Count what is committed."""
        return Depth(self._events, self._bytes)


_opened: weakref.WeakSet[FileLaneBuffer] = weakref.WeakSet()
_closing: dict[threading.Event, int] = {}  # closes that the disk has not finished, and their processes


def _closed(done: threading.Event) -> None:
    done.set()
    _closing.pop(done, None)


@atexit.register
def _rescue() -> None:
    """Write what is not written: the threads that would do it end with the interpreter."""
    for buffer in tuple(_opened):
        buffer.rescue()
    for done, process in tuple(_closing.items()):
        if process == os.getpid() and not done.wait(LONGEST_WAIT):
            logger.error("the disk does not answer; a file buffer is not closed, and what it was to write may be lost")
