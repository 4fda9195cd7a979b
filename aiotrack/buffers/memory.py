"""The buffer in memory."""

from __future__ import annotations

import bisect
import itertools
from collections import deque
from collections.abc import Collection, Sequence

from aiotrack.model.errors import BufferFull
from aiotrack.model.settings import at_least

from .base import MIB, BufferListener, Claim, Depth, Requeued
from .dead_letters import Cause, DeadLetter, DeadLetters

__all__ = ["MemoryBuffer", "MemoryLaneBuffer"]


class MemoryBuffer:
    """Events wait in memory, bounded by their encoded size in bytes, for each destination. They end with the process.

    Raises ConfigError.
    """

    def __init__(self, max_bytes: int = 64 * MIB) -> None:
        self.max_bytes = at_least(1, "max_bytes", max_bytes)

    def __repr__(self) -> str:
        return f"MemoryBuffer(max_bytes={self.max_bytes})"

    def for_lane(self, name: str) -> MemoryLaneBuffer:
        """Return a new buffer of this size."""
        return MemoryLaneBuffer(self.max_bytes)


class MemoryLaneBuffer:
    """One destination's entries in memory."""

    durable = False
    lease: float | None = None

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._entries: deque[bytes] = deque()
        self._runs: deque[tuple[bytes, int]] = deque()  # (batch header, number of its first entry)
        self._batch_header: bytes | None = None  # the newest run's
        self._requeued = Requeued()
        self._dead = DeadLetters()
        self._first = 1  # number of the oldest entry in _entries
        self._next = 1
        self._claimed = self._claimed_bytes = 0
        self._bytes = 0

    @property
    def half_full(self) -> bool:
        """Whether bulk producers have to wait."""
        return 2 * self._bytes > self.max_bytes

    async def open(self, listener: BufferListener) -> None:
        """Nothing to do: an entry is stored as soon as it is appended."""

    async def recover(self) -> None:
        """Nothing outlives a process."""

    def append(self, entry: bytes, batch_header: bytes) -> int:
        """Store an entry if it fits."""
        size = self._bytes + len(entry)
        if size > self.max_bytes:
            raise BufferFull(f"{self._bytes} of {self.max_bytes} bytes are taken")
        self._bytes = size
        number = self._next
        self._next = number + 1
        if batch_header is not self._batch_header and batch_header != self._batch_header:
            self._batch_header = batch_header
            self._runs.append((batch_header, number))
        # A copy of its own size: orjson (3.13) gives bytes that hold on to 4 KiB, whatever their length.
        self._entries.append(b"".join((entry, b"")))
        return number

    def make_room(self, size: int) -> Sequence[int]:
        """Drop the oldest."""
        dropped: list[int] = []
        if self._claimed_bytes + size > self.max_bytes:
            return dropped
        while self._bytes + size > self.max_bytes:
            oldest = self._claim(1, self.max_bytes)
            if oldest is None:
                break
            dropped += oldest.numbers
            self._end(oldest)
        return dropped

    async def claim(self, max_events: int, max_bytes: int) -> Claim | None:
        """Claim the oldest."""
        return self._claim(max_events, max_bytes)

    def _claim(self, max_events: int, max_bytes: int) -> Claim | None:
        claim = self._requeued.claim(max_events, max_bytes) or self._claim_new(max_events, max_bytes)
        if claim is not None:
            self._claimed += len(claim)
            self._claimed_bytes += claim.size
        return claim

    def _claim_new(self, max_events: int, max_bytes: int) -> Claim | None:
        if not self._entries:
            return None
        while len(self._runs) > 1 and self._runs[1][1] <= self._first:
            self._runs.popleft()
        batch_header = self._runs[0][0]
        end = self._runs[1][1] if len(self._runs) > 1 else self._next
        most = min(max_events, end - self._first)
        pop = self._entries.popleft
        claimed = [pop() for _ in range(most)]
        if sum(map(len, claimed)) > max_bytes:
            fit = max(bisect.bisect_right(list(itertools.accumulate(map(len, claimed))), max_bytes), 1)
            self._entries.extendleft(reversed(claimed[fit:]))
            del claimed[fit:]
        numbers = range(self._first, self._first + len(claimed))
        self._first = numbers.stop
        return Claim(numbers, claimed, batch_header)

    async def renew(self, claim: Claim) -> None:
        """Nothing to do: no other process sees a claim."""

    async def ack(self, claim: Claim) -> None:
        """Let go of what is delivered."""
        self._end(claim)

    async def release(self, claim: Claim) -> None:
        """Put back what was not sent."""
        self._unclaim(claim)
        self._requeued.add(claim)

    async def bury(self, claim: Claim, cause: Cause) -> None:
        """Keep what is dead apart."""
        self._dead.add(claim.entries, claim.batch_header, cause)
        self._end(claim)

    async def dead_letters(self) -> Sequence[DeadLetter]:
        """Return them."""
        return list(self._dead)

    async def forget(self, ids: Collection[int]) -> None:
        """Delete some."""
        self._dead.forget(ids)

    def _unclaim(self, claim: Claim) -> None:
        self._claimed -= len(claim)
        self._claimed_bytes -= claim.size

    def _end(self, claim: Claim) -> None:
        self._unclaim(claim)
        self._bytes -= claim.size

    def depth(self) -> Depth:
        """Count what is held."""
        return Depth(len(self._entries) + len(self._requeued) + self._claimed, self._bytes)

    async def close(self) -> int:
        """Let go of what is left; return how many entries that was."""
        lost = self.depth().events
        self._entries.clear()
        self._runs.clear()
        self._batch_header = None
        self._requeued.clear()
        self._claimed = self._claimed_bytes = self._bytes = 0
        return lost
