"""A buffer in memory that spills to a file: as fast as memory while that lasts, and nothing lost at a close."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import attrs

from .buffer import MIB, Buffer, Claim, Depth, Outcome, Taker
from .dead import Cause, DeadLetter
from .errors import BufferFailed, BufferFull
from .file_buffer import FileBuffer
from .log import logger
from .memory_buffer import MemoryBuffer

__all__ = ["SpillBuffer"]

EPOCH = 1 << 40  # numbers of one epoch


class SpillBuffer:
    """Entries in memory; what does not fit there, and at a close what is still there, goes to a file buffer.

    An entry in memory is lost if the process is killed; `FileBuffer` alone keeps those, too, and makes each call wait
    for the disk. Dead letters are in the file. Raises ConfigError.
    """

    # Memory and file take turns, an epoch each, and one ends only when it is empty; so all of an epoch's entries are
    # older than those of the next. An entry's number is its epoch's, times EPOCH, and its number there.

    durable = True

    def __init__(self, file: FileBuffer, max_bytes: int = 64 * MIB) -> None:
        self._file = file
        self._memory = MemoryBuffer(max_bytes)
        self._epoch = 0  # even: new entries go to memory; odd: to the file
        self.taker: Taker | None = None  # None once closing: what moves to the file then is no news
        self._unsafe = 0  # entries that the file has not written yet

    def __repr__(self) -> str:
        return f"SpillBuffer({self._file!r}, max_bytes={self._memory.max_bytes})"

    @property
    def max_bytes(self) -> int:
        """The most bytes that an entry may have."""
        return self._file.max_bytes

    def for_lane(self, name: str) -> SpillBuffer:
        """Return a buffer of the same sizes, with files of its own."""
        return SpillBuffer(self._file.for_lane(name), self._memory.max_bytes)

    async def open(self, taker: Taker) -> None:
        """Open the file; what is in it goes first."""
        self.taker = taker
        await self._file.open(_InTheFile(self))

    async def recover(self) -> None:
        """Take over the files of processes that are dead."""
        await self._file.recover()

    def append(self, entry: bytes, envelope: bytes) -> int | asyncio.Future[int]:
        """Take an entry: in memory if it fits and the file is empty, else in the file."""
        if self._epoch % 2 and not (self._unsafe or self._file.depth().events or self._memory.depth().events):
            self._epoch += 1
        if self._epoch % 2 == 0:
            try:
                return self._epoch * EPOCH + self._memory.append(entry, envelope)
            except BufferFull:
                self._epoch += 1
        number = self._file.append(entry, envelope)
        self._unsafe += 1
        return _translated(number, self._epoch * EPOCH)

    def ended(self, events: int) -> None:
        """Note that the file has written entries, or can't."""
        self._unsafe -= events

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
        """Take the oldest."""
        both: tuple[Buffer, Buffer] = (self._memory, self._file)
        for which, buffer in enumerate(both):
            claim = await buffer.claim(max_events, max_bytes)
            if claim is not None:
                return attrs.evolve(claim, seqs=[self.outer(which, number) for number in claim.seqs])
        return None

    async def settle(self, claim: Claim, outcome: Outcome, cause: Cause | None = None) -> None:
        """End a claim."""
        buffer: Buffer = self._file if claim.seqs[0] // EPOCH % 2 else self._memory
        if outcome is Outcome.DEAD and buffer is self._memory:
            self._file.bury(claim, cause)
            outcome = Outcome.DELIVERED
        inner = attrs.evolve(claim, seqs=[number % EPOCH for number in claim.seqs])
        await buffer.settle(inner, outcome, cause)

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
        writing: list[asyncio.Future[int]] = []
        lost = 0
        self.taker = None
        while (claim := await self._memory.claim(1000, MIB)) is not None:
            for entry in claim.entries:
                try:
                    writing.append(self._file.append(entry, claim.envelope))
                except (BufferFull, BufferFailed):
                    lost += 1
            await self._memory.settle(claim, Outcome.DELIVERED)
        await self._file.close()
        lost += sum(isinstance(one, BaseException) for one in await asyncio.gather(*writing, return_exceptions=True))
        if lost:
            logger.error("%s: %d events did not fit in the file and are lost", self._file.path, lost)
        return lost


class _InTheFile:
    """Tells the lane what the file tells, in the numbers of memory and file together."""

    def __init__(self, buffer: SpillBuffer) -> None:
        self._buffer = buffer

    def recovered(self, last: int, events: int) -> None:
        if self._buffer.taker is not None:
            self._buffer.taker.recovered(self._buffer.outer(1, last), events)

    def taken(self, last: int, events: int, size: int) -> None:
        self._buffer.ended(events)
        if self._buffer.taker is not None:
            self._buffer.taker.taken(self._buffer.outer(1, last), events, size)

    def failed(self, exc: Exception, events: int, unheard: int) -> None:
        self._buffer.ended(events)
        if self._buffer.taker is not None:
            self._buffer.taker.failed(exc, events, unheard)


def _translated(number: asyncio.Future[int], offset: int) -> asyncio.Future[int]:
    answer: asyncio.Future[int] = number.get_loop().create_future()

    def done(number: asyncio.Future[int]) -> None:
        if answer.done():
            return
        if (exc := number.exception()) is not None:
            answer.set_exception(exc)
        else:
            answer.set_result(offset + number.result())

    number.add_done_callback(done)
    return answer
