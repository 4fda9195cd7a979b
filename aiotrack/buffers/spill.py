"""A buffer in memory that spills to a file: as fast as memory while that lasts, and nothing lost at a close."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence

import attrs

from aiotrack.model.errors import BufferFailed, BufferFull
from aiotrack.model.identity import Identity
from aiotrack.model.log import logger

from .base import MIB, BufferListener, Claim, Depth, LaneBuffer
from .dead_letters import Cause, DeadLetter
from .fallback import with_fallback
from .file import FileBuffer, FileLaneBuffer
from .memory import MemoryBuffer, MemoryLaneBuffer

__all__ = ["SpillBuffer", "SpillLaneBuffer"]

EPOCH = 1 << 40  # numbers of one epoch


class SpillBuffer:
    """Events wait in memory; what does not fit there, and at a close what is still there, goes to a file buffer.

    An event in memory is lost if the process is killed; `FileBuffer` alone keeps those, too, and makes each call wait
    for the disk. Dead letters are in the file. Raises ConfigError.
    """

    def __init__(self, file: FileBuffer, max_bytes: int = 64 * MIB) -> None:
        self._file = file
        self._memory = MemoryBuffer(max_bytes)

    def __repr__(self) -> str:
        return f"SpillBuffer({self._file!r}, max_bytes={self._memory.max_bytes})"

    def for_lane(self, name: str, identity: Identity | None = None) -> LaneBuffer:
        """Return a buffer of these sizes, with files of its own."""
        lane = SpillLaneBuffer(self._file.lane(name, identity), self._memory.for_lane(name))
        return lane if self._file.fallback is None else with_fallback(lane, self._memory.max_bytes)


class SpillLaneBuffer:
    """One destination's entries, in memory and in files."""

    # Memory and file take turns, an epoch each, and one ends only when it is empty; so all of an epoch's entries are
    # older than those of the next. An entry's number is its epoch's, times EPOCH, and its number there.

    durable = True
    lease: float | None = None

    def __init__(self, file: FileLaneBuffer, memory: MemoryLaneBuffer) -> None:
        self._file = file
        self._memory = memory
        self._epoch = 0  # even: new entries go to memory; odd: to the file
        self.listener: BufferListener | None = None  # None once closing: what moves to the file then is no news
        self._unstored = 0  # entries that the file has not written yet

    @property
    def max_bytes(self) -> int:
        """The most bytes that an entry may have."""
        return self._file.max_bytes

    @property
    def half_full(self) -> bool:
        """Whether bulk producers have to wait."""
        return self._file.half_full

    @property
    def unsaved(self) -> int:
        """How many entries would be lost if the process ended now."""
        return self._memory.depth().events

    async def open(self, listener: BufferListener) -> None:
        """Open the file; what is in it goes first."""
        self.listener = listener
        await self._file.open(_FileListener(self, listener.time))

    async def recover(self) -> None:
        """Take over the files of processes that are dead."""
        await self._file.recover()

    def append(self, entry: bytes, batch_header: bytes) -> int | asyncio.Future[int]:
        """Store an entry: in memory if it fits and the file is empty, else in the file."""
        if self._epoch % 2 and not (self._unstored or self._file.depth().events or self._memory.depth().events):
            self._epoch += 1
        if self._epoch % 2 == 0:
            try:
                return self._epoch * EPOCH + self._memory.append(entry, batch_header)
            except BufferFull:
                self._epoch += 1
        number = self._file.append(entry, batch_header)
        self._unstored += 1
        return _offset(number, self._epoch * EPOCH)

    def ended(self, events: int) -> None:
        """Note that the file has written entries, or can't."""
        self._unstored -= events

    def outer(self, which: int, number: int) -> int:
        """Return the number here of an entry's number in memory (0) or in the file (1)."""
        if which == 1 and self._epoch % 2 == 0:
            self._epoch += 1  # a dead process's entries: they go before what comes now
        epoch = self._epoch if self._epoch % 2 == which else self._epoch - 1
        return epoch * EPOCH + number

    def make_room(self, size: int) -> Sequence[int]:
        """Drop the oldest entries of the file."""
        return [self.outer(1, number) for number in self._file.make_room(size)]

    async def claim(self, max_events: int, max_bytes: int) -> Claim | None:
        """Claim the oldest."""
        both: tuple[LaneBuffer, LaneBuffer] = (self._memory, self._file)
        for which, buffer in enumerate(both):
            claim = await buffer.claim(max_events, max_bytes)
            if claim is not None:
                return attrs.evolve(claim, numbers=[self.outer(which, number) for number in claim.numbers])
        return None

    async def renew(self, claim: Claim) -> None:
        """Nothing to do: no other process sees a claim."""

    async def ack(self, claim: Claim) -> None:
        """Let go of what is delivered."""
        await self._holder(claim).ack(_inner(claim))

    async def release(self, claim: Claim) -> None:
        """Put back what was not sent."""
        await self._holder(claim).release(_inner(claim))

    async def bury(self, claim: Claim, cause: Cause) -> None:
        """Keep what is dead apart, in the file."""
        self._file.add_dead_letters(claim, cause)
        await self.ack(claim)

    def _holder(self, claim: Claim) -> LaneBuffer:
        return self._file if claim.numbers[0] // EPOCH % 2 else self._memory

    async def dead_letters(self) -> Sequence[DeadLetter]:
        """Return those in the file."""
        return await self._file.dead_letters()

    async def forget(self, ids: Collection[int]) -> None:
        """Delete some."""
        await self._file.forget(ids)

    def depth(self) -> Depth:
        """Count what both hold."""
        memory, file = self._memory.depth(), self._file.depth()
        return Depth(memory.events + file.events, memory.bytes + file.bytes)

    async def close(self) -> int:
        """Move to the file what is in memory; return how many entries there was no room for."""
        lost = 0
        try:
            await self._file.written()  # what was promised
            self.listener = None
            while (claim := await self._memory.claim(1000, MIB)) is not None:
                lost += await self._move(claim)
        finally:
            await self._file.close()
            left = self._memory.depth().events
            if lost + left:
                logger.error("%s: %d events could not be moved to the file and are lost", self._file.path, lost + left)
        return lost

    async def _move(self, claim: Claim) -> int:
        """Write a claim of memory to the file; return how many entries there was no room for."""
        writing: list[asyncio.Future[int]] = []
        with contextlib.suppress(BufferFull, BufferFailed):
            writing.extend(self._file.append(entry, claim.batch_header) for entry in claim.entries)
        await self._file.written()
        written = await asyncio.gather(*writing, return_exceptions=True)
        await self._memory.ack(claim)
        return len(claim) - sum(isinstance(one, int) for one in written)


class _FileListener:
    """Tells the lane what the file tells, in the numbers of memory and file together."""

    def __init__(self, buffer: SpillLaneBuffer, time: Callable[[], float]) -> None:
        self._buffer = buffer
        self.time = time

    def recovered(self, last: int, events: int, since: float | None = None) -> None:
        if self._buffer.listener is not None:
            self._buffer.listener.recovered(self._buffer.outer(1, last), events, since)

    def stored(self, last: int, events: int, size: int) -> None:
        self._buffer.ended(events)
        if self._buffer.listener is not None:
            self._buffer.listener.stored(self._buffer.outer(1, last), events, size)

    def not_stored(self, exc: Exception, events: int, unawaited: int) -> None:
        self._buffer.ended(events)
        if self._buffer.listener is not None:
            self._buffer.listener.not_stored(exc, events, unawaited)

    def handed_over(self, numbers: Sequence[int]) -> None:
        raise NotImplementedError("no other process claims from a file that has an owner")


def _inner(claim: Claim) -> Claim:
    """Return a claim in the numbers of the buffer that holds it."""
    return attrs.evolve(claim, numbers=[number % EPOCH for number in claim.numbers])


def _offset(number: asyncio.Future[int], offset: int) -> asyncio.Future[int]:
    answer: asyncio.Future[int] = number.get_loop().create_future()

    def done(number: asyncio.Future[int]) -> None:
        if number.cancelled():
            answer.cancel()
        elif (exc := number.exception()) is not None and not answer.done():
            answer.set_exception(exc)
        elif not answer.done():
            answer.set_result(offset + number.result())

    number.add_done_callback(done)
    answer.add_done_callback(lambda answer: number.cancel() if answer.cancelled() else None)  # the caller has left
    return answer
