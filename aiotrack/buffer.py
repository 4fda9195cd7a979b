"""Where encoded events wait: the protocol, and the buffer in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

import attrs

from .errors import BufferFull, ConfigError

__all__ = ["Buffer", "Claim", "Depth", "MemoryBuffer", "Outcome"]

MIB = 1024 * 1024


@attrs.frozen
class Claim:
    """Entries taken out to be sent, oldest first, all with the same envelope; they stay pending until settled.

    `seqs` are their numbers in the buffer, ascending, one for each entry.
    """

    seqs: Sequence[int]
    entries: Sequence[bytes] = attrs.field(repr=False)
    envelope: bytes = attrs.field(default=b"", repr=False)

    def __len__(self) -> int:
        return len(self.entries)

    def halves(self) -> tuple[Claim, Claim]:
        """Return the older and the newer half."""
        middle = len(self) // 2
        return (
            Claim(self.seqs[:middle], self.entries[:middle], self.envelope),
            Claim(self.seqs[middle:], self.entries[middle:], self.envelope),
        )


class Outcome(StrEnum):
    """How a claim, or a part of one, ended."""

    DELIVERED = "delivered"
    DEAD = "dead"
    RELEASED = "released"
    """Not sent, or not answered: it goes back and is the next to be claimed."""


@attrs.frozen
class Depth:
    """What a buffer holds, claimed entries included."""

    events: int
    bytes: int


@runtime_checkable
class Buffer(Protocol):
    """Holds one lane's encoded events between the caller and the sender.

    The object given as `Client(buffer=...)` is asked for one buffer per lane, by `for_lane`.
    """

    durable: bool
    """Whether entries outlive the process."""

    def for_lane(self, name: str) -> Buffer:
        """Return the buffer for the lane of that name, not opened yet."""
        ...

    async def open(self) -> None:
        """Make ready. Raises StartError."""
        ...

    def append(self, entry: bytes, envelope: bytes) -> int | asyncio.Future[int]:
        """Take an entry; return its number, or a future of it that is done once the entry is safe.

        Numbers grow. Raises BufferFull, and EventRefused for what could never fit.
        """
        ...

    def make_room(self, size: int) -> Sequence[int]:
        """Drop the oldest unclaimed entries until `size` bytes fit; return their numbers.

        Drops none where even all of them would not make room.
        """
        ...

    async def claim(self, max_events: int, max_bytes: int) -> Claim | None:
        """Take the oldest unclaimed entries, at least one where there is any; None where there is none."""
        ...

    async def settle(self, claim: Claim, outcome: Outcome) -> None:
        """End a claim, or a part of one."""
        ...

    def depth(self) -> Depth:
        """Return what is held now."""
        ...

    async def close(self) -> None:
        """Give up resources. A durable buffer keeps its entries."""
        ...


class MemoryBuffer:
    """Entries in memory, bounded by their encoded size in bytes. What it holds is lost with the process."""

    durable = False

    def __init__(self, max_bytes: int = 64 * MIB) -> None:
        if type(max_bytes) is not int or max_bytes < 1:
            raise ConfigError(f"max_bytes: expected an integer >= 1, got {max_bytes!r}")
        self.max_bytes = max_bytes
        self._entries: deque[bytes] = deque()
        self._runs: deque[tuple[bytes, int]] = deque()  # (envelope, number of its first entry)
        self._released: deque[Claim] = deque()
        self._first = 1  # number of the oldest entry in _entries
        self._next = 1
        self._claimed = self._claimed_bytes = 0
        self._bytes = 0

    def __repr__(self) -> str:
        return f"MemoryBuffer(max_bytes={self.max_bytes})"

    def for_lane(self, name: str) -> MemoryBuffer:
        """Return a new buffer of the same size."""
        return MemoryBuffer(self.max_bytes)

    async def open(self) -> None:
        """Nothing to do."""

    def append(self, entry: bytes, envelope: bytes) -> int:
        """Take an entry if it fits."""
        size = self._bytes + len(entry)
        if size > self.max_bytes:
            raise BufferFull(f"{self._bytes} of {self.max_bytes} bytes are taken")
        self._bytes = size
        number = self._next
        self._next = number + 1
        if not self._runs or self._runs[-1][0] != envelope:
            self._runs.append((envelope, number))
        self._entries.append(entry)
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
            self._bytes -= _size(oldest)
        return dropped

    async def claim(self, max_events: int, max_bytes: int) -> Claim | None:
        """Take the oldest."""
        return self._take(max_events, max_bytes)

    def _take(self, max_events: int, max_bytes: int) -> Claim | None:
        if self._released:
            return self._claim(self._released.popleft())
        if not self._entries:
            return None
        while len(self._runs) > 1 and self._runs[1][1] <= self._first:
            self._runs.popleft()
        envelope = self._runs[0][0]
        end = self._runs[1][1] if len(self._runs) > 1 else self._next
        most = min(max_events, end - self._first)
        taken: list[bytes] = []
        size = 0
        while len(taken) < most and (not taken or size + len(self._entries[0]) <= max_bytes):
            entry = self._entries.popleft()
            size += len(entry)
            taken.append(entry)
        seqs = range(self._first, self._first + len(taken))
        self._first = seqs.stop
        return self._claim(Claim(seqs, taken, envelope))

    def _claim(self, claim: Claim) -> Claim:
        self._claimed += len(claim)
        self._claimed_bytes += _size(claim)
        return claim

    async def settle(self, claim: Claim, outcome: Outcome) -> None:
        """End a claim."""
        self._unclaim(claim)
        if outcome is Outcome.RELEASED:
            self._released.append(claim)
        else:
            self._bytes -= _size(claim)

    def _unclaim(self, claim: Claim) -> None:
        self._claimed -= len(claim)
        self._claimed_bytes -= _size(claim)

    def depth(self) -> Depth:
        """Count what is held."""
        waiting = len(self._entries) + sum(map(len, self._released))
        return Depth(waiting + self._claimed, self._bytes)

    async def close(self) -> None:
        """Let go of what is left."""
        self._entries.clear()
        self._runs.clear()
        self._released.clear()
        self._claimed = self._claimed_bytes = self._bytes = 0


def _size(claim: Claim) -> int:
    return sum(map(len, claim.entries))
