"""The buffer in memory."""

from __future__ import annotations

import bisect
import itertools
from collections import deque
from collections.abc import Collection, Sequence

from .buffer import MIB, Claim, Depth, Outcome, Released, Taker
from .dead import Cause, DeadLetter, DeadLetters
from .errors import BufferFull, ConfigError

__all__ = ["MemoryBuffer"]


class MemoryBuffer:
    """Entries in memory, bounded by their encoded size in bytes. What it holds is lost with the process."""

    durable = False

    def __init__(self, max_bytes: int = 64 * MIB) -> None:
        if type(max_bytes) is not int or max_bytes < 1:
            raise ConfigError(f"max_bytes: expected an integer >= 1, got {max_bytes!r}")
        self.max_bytes = max_bytes
        self._entries: deque[bytes] = deque()
        self._runs: deque[tuple[bytes, int]] = deque()  # (envelope, number of its first entry)
        self._envelope: bytes | None = None  # the newest run's
        self._released = Released()
        self._dead = DeadLetters()
        self._first = 1  # number of the oldest entry in _entries
        self._next = 1
        self._claimed = self._claimed_bytes = 0
        self._bytes = 0

    def __repr__(self) -> str:
        return f"MemoryBuffer(max_bytes={self.max_bytes})"

    def for_lane(self, name: str) -> MemoryBuffer:
        """Return a new buffer of the same size."""
        return MemoryBuffer(self.max_bytes)

    async def open(self, taker: Taker) -> None:
        """Nothing to do: an entry is in as soon as it is appended."""

    async def recover(self) -> None:
        """Nothing outlives a process."""

    def append(self, entry: bytes, envelope: bytes) -> int:
        """Take an entry if it fits."""
        size = self._bytes + len(entry)
        if size > self.max_bytes:
            raise BufferFull(f"{self._bytes} of {self.max_bytes} bytes are taken")
        self._bytes = size
        number = self._next
        self._next = number + 1
        if envelope is not self._envelope and envelope != self._envelope:
            self._envelope = envelope
            self._runs.append((envelope, number))
        # A copy of its own size: orjson (3.13) gives bytes that hold on to 4 KiB, whatever their length.
        self._entries.append(b"".join((entry, b"")))
        return number

    def make_room(self, size: int) -> Sequence[int]:
        """Drop the oldest."""
        dropped: list[int] = []
        if self._claimed_bytes + size > self.max_bytes:
            return dropped
        while self._bytes + size > self.max_bytes:
            oldest = self._take(1, self.max_bytes)
            if oldest is None:
                break
            dropped += oldest.seqs
            self._unclaim(oldest)
            self._bytes -= oldest.size
        return dropped

    async def claim(self, max_events: int, max_bytes: int) -> Claim | None:
        """Take the oldest."""
        return self._take(max_events, max_bytes)

    def _take(self, max_events: int, max_bytes: int) -> Claim | None:
        released = self._released.take(max_events, max_bytes)
        if released is not None:
            return self._claim(released)
        if not self._entries:
            return None
        while len(self._runs) > 1 and self._runs[1][1] <= self._first:
            self._runs.popleft()
        envelope = self._runs[0][0]
        end = self._runs[1][1] if len(self._runs) > 1 else self._next
        most = min(max_events, end - self._first)
        pop = self._entries.popleft
        taken = [pop() for _ in range(most)]
        if sum(map(len, taken)) > max_bytes:
            fit = max(bisect.bisect_right(list(itertools.accumulate(map(len, taken))), max_bytes), 1)
            self._entries.extendleft(reversed(taken[fit:]))
            del taken[fit:]
        seqs = range(self._first, self._first + len(taken))
        self._first = seqs.stop
        return self._claim(Claim(seqs, taken, envelope))

    def _claim(self, claim: Claim) -> Claim:
        self._claimed += len(claim)
        self._claimed_bytes += claim.size
        return claim

    async def settle(self, claim: Claim, outcome: Outcome, cause: Cause | None = None) -> None:
        """End a claim."""
        if outcome is Outcome.DEAD:
            self._dead.add(claim.entries, claim.envelope, cause or Cause("dead"))
        self._unclaim(claim)
        if outcome is Outcome.RELEASED:
            self._released.add(claim)
        else:
            self._bytes -= claim.size

    async def dead_letters(self) -> Sequence[DeadLetter]:
        """Return them."""
        return list(self._dead)

    async def forget(self, ids: Collection[int]) -> None:
        """Delete some."""
        self._dead.forget(ids)

    def _unclaim(self, claim: Claim) -> None:
        self._claimed -= len(claim)
        self._claimed_bytes -= claim.size

    def depth(self) -> Depth:
        """Count what is held."""
        return Depth(len(self._entries) + len(self._released) + self._claimed, self._bytes)

    async def close(self) -> int:
        """Let go of what is left; return how many entries that was."""
        lost = self.depth().events
        self._entries.clear()
        self._runs.clear()
        self._envelope = None
        self._released.clear()
        self._claimed = self._claimed_bytes = self._bytes = 0
        return lost
