"""A buffer on disk: what it has taken outlives the process, however that ends."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import time
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from aiotrack.buffers.base import MIB, BufferListener, Claim, Depth
from aiotrack.buffers.dead_letters import Cause, DeadLetter
from aiotrack.model.errors import BufferFailed, BufferFull
from aiotrack.model.log import logger
from aiotrack.model.worker import Worker

from .backlog import Segment
from .endings import begin_close, opened
from .holdings import Holdings
from .log import SegmentLog
from .writer import Buried, Writer

__all__ = ["FileLaneBuffer"]

T = TypeVar("T")

MOST_UNSAFE = 16 * MIB  # bytes that wait for the disk
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
        self._holdings = Holdings(self._in_thread, self._touch)
        self._letter_ids = itertools.count(time.time_ns())  # unlike those of processes before

    # -- open and close -----------------------------------------------------------------------------

    async def open(self, listener: BufferListener) -> None:
        """Make the folder, and take over what dead processes left, or begin to."""
        self._process = os.getpid()
        self._worker = worker = Worker("file buffer")
        found = await worker.run(functools.partial(self._log.open, AT_START))
        self._writer = Writer(worker, self._log, listener, self._holdings)
        await self._writer.tell(found)
        if self._holdings.events:
            logger.info("%s: %d events of an earlier process are here", self.path, self._holdings.events)
        opened(self)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._worker is None:
            raise BufferFailed("the buffer is not open")
        return await self._worker.run(work)

    def _touch(self, segment: Segment) -> None:
        if self._writer is not None:
            self._writer.touch(segment)

    async def close(self) -> int:
        """Write what is left to write, and give the files up; one with nothing in it is deleted."""
        worker, self._worker = self._worker, None
        writer, self._writer = self._writer, None
        if worker is not None:
            closed = begin_close(self)
            closing = worker.run(functools.partial(self._log.close, {})) if writer is None else writer.close()
            worker.submit(closed)
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
                self._holdings.gone((await self._in_thread(self._log.watch)).gone)
                while self._writer is not None and await self._in_thread(
                    functools.partial(self._writer.take_over, AT_ONCE)
                ):
                    pass
                await self._in_thread(self._look)
            except OSError as exc:
                logger.error("%s can't be looked after now: %s", self.path, exc)

    @property
    def half_full(self) -> bool:
        """Whether bulk producers have to wait, for the sender or for the disk."""
        unsafe = 0 if self._writer is None else self._writer.unsafe
        return 2 * (self._holdings.bytes + unsafe) > self.max_bytes or 2 * unsafe > MOST_UNSAFE

    # -- entries ------------------------------------------------------------------------------------

    def append(self, entry: bytes, batch_header: bytes) -> asyncio.Future[int]:
        """Store an entry if it fits; it is safe when the future is done."""
        writer = self._writer
        if writer is None:
            raise BufferFailed("the buffer is not open")
        size, unsafe = len(entry), writer.unsafe
        if self._holdings.bytes + unsafe + size > self.max_bytes:
            raise BufferFull(f"{self._holdings.bytes + unsafe} of {self.max_bytes} bytes are taken")
        if unsafe and unsafe + size > MOST_UNSAFE:
            raise BufferFull("the disk does not keep up")
        return writer.append(entry, batch_header)

    async def written(self) -> None:
        """Wait until all that was appended is on disk, or can't be."""
        if self._writer is not None:
            await self._writer.written()

    async def claim(self, max_events: int, max_bytes: int) -> Claim | None:
        """Claim the oldest."""
        return await self._holdings.claim(max_events, max_bytes)

    def make_room(self, size: int) -> Sequence[int]:
        """Drop the oldest."""
        most = self.max_bytes - size - (self._writer.unsafe if self._writer is not None else 0)
        return self._holdings.drop(most) if self._holdings.claimed_bytes <= most else []

    async def renew(self, claim: Claim) -> None:
        """Nothing to do: no other process sees a claim."""

    async def ack(self, claim: Claim) -> None:
        """Let go of what is delivered. It is noted with the next group: after a crash it may come back."""
        self._holdings.end(claim)

    async def release(self, claim: Claim) -> None:
        """Put back what was not sent."""
        self._holdings.release(claim)

    async def bury(self, claim: Claim, cause: Cause) -> None:
        """Keep what is dead apart. It ends on disk only when its dead letter is there."""
        letters = self._letters(claim, cause)
        buried = [Buried(letters[place], segment, index) for segment, index, place in self._holdings.bury(claim)]
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
        return Depth(self._holdings.events, self._holdings.bytes)
