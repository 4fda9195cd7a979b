"""Where encoded events wait: the protocol of buffers, and the claims on what they hold."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

import attrs

from .dead import Cause, DeadLetter

__all__ = ["MIB", "Buffer", "Claim", "Depth", "Outcome", "Released", "Taker"]

MIB = 1024 * 1024


@attrs.frozen
class Claim:
    """Entries taken out to be sent, oldest first, all with the same envelope; they stay pending until settled.

    `seqs` are their numbers in the buffer, ascending, one for each entry. `failures` counts the requests with
    them that failed.
    """

    seqs: Sequence[int]
    entries: Sequence[bytes] = attrs.field(repr=False)
    envelope: bytes = attrs.field(default=b"", repr=False)
    failures: int = 0

    def __len__(self) -> int:
        return len(self.entries)

    @functools.cached_property
    def size(self) -> int:
        """The entries' size in bytes."""
        return sum(map(len, self.entries))

    def split(self, most: int) -> tuple[Claim, Claim]:
        """Return the oldest so many, and the others."""
        return (
            Claim(self.seqs[:most], self.entries[:most], self.envelope, self.failures),
            Claim(self.seqs[most:], self.entries[most:], self.envelope, self.failures),
        )

    def only(self, places: Sequence[int]) -> Claim:
        """Return those at these places, 0 being the oldest."""
        return Claim(
            [self.seqs[place] for place in places],
            [self.entries[place] for place in places],
            self.envelope,
            self.failures,
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


class Taker(Protocol):
    """Who hears, on the loop, what a buffer holds and what has become of appended entries."""

    def recovered(self, last: int, events: int) -> None:
        """Count entries of an earlier or dead process that can be claimed now, up to the one with that number."""
        ...

    def taken(self, last: int, events: int, size: int) -> None:
        """Count entries that are safe now, up to the one with that number; `size` is theirs in bytes.

        Called just before the futures that `append` gave are done; an entry that got its number at once is
        counted by who appended it.
        """
        ...

    def failed(self, exc: Exception, events: int, unheard: int) -> None:
        """Count entries that could not be stored; for so many of them nobody waits any more."""
        ...


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

    async def open(self, taker: Taker) -> None:
        """Make ready. `taker` is told what is there, and of what is promised from now on, in order.

        Raises StartError.
        """
        ...

    async def recover(self) -> None:
        """Take over what processes have left that died meanwhile. Called now and then, and before a flush."""
        ...

    def append(self, entry: bytes, envelope: bytes) -> int | asyncio.Future[int]:
        """Take an entry; return its number if it is safe now, else a future of it that is done once it is.

        Numbers grow, and futures end in their order. A future is its caller's, who may cancel it: the entry is
        taken all the same. Raises BufferFull, and EventRefused for what could never fit. The future may end in
        BufferFailed: then the entry was not taken.
        """
        ...

    def make_room(self, size: int) -> Sequence[int]:
        """Drop the oldest unclaimed entries until `size` bytes fit; return their numbers.

        Drops none where even all of them would not make room.
        """
        ...

    async def claim(self, max_events: int, max_bytes: int) -> Claim | None:
        """Take the oldest unclaimed entries, at least one where there is any; None where there is none.

        Raises EntriesLost for entries that can't be read any more; they are gone then.
        """
        ...

    async def settle(self, claim: Claim, outcome: Outcome, cause: Cause | None = None) -> None:
        """End a claim, or a part of one; dead entries become dead letters with their cause."""
        ...

    async def dead_letters(self) -> Sequence[DeadLetter]:
        """Return the dead letters, oldest first. Their number and size are bounded: the oldest make way."""
        ...

    async def forget(self, ids: Collection[int]) -> None:
        """Delete dead letters."""
        ...

    def depth(self) -> Depth:
        """Return what is held now."""
        ...

    async def close(self) -> int:
        """Give up resources; return how many entries are lost with it. A durable buffer keeps them."""
        ...


class Released:
    """Entries that were put back, to be claimed again before all others, in the order of their numbers."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, bytes, bytes, int]] = []  # number, entry, envelope, failures

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, claim: Claim) -> None:
        """Put a claim back."""
        self._entries += [
            (number, entry, claim.envelope, claim.failures)
            for number, entry in zip(claim.seqs, claim.entries, strict=True)
        ]
        self._entries.sort(key=lambda entry: entry[0])

    def take(self, max_events: int, max_bytes: int) -> Claim | None:
        """Take the oldest, as far as they have envelope and failures in common."""
        if not self._entries:
            return None
        _, _, envelope, failures = self._entries[0]
        most = size = 0
        for _, entry, other, failed in self._entries[:max_events]:
            size += len(entry)
            if (other, failed) != (envelope, failures) or (most and size > max_bytes):
                break
            most += 1
        taken, self._entries = self._entries[:most], self._entries[most:]
        return Claim([one[0] for one in taken], [one[1] for one in taken], envelope, failures)

    def clear(self) -> None:
        """Let go of all."""
        self._entries.clear()
