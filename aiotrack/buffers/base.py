"""Where encoded events wait: what a buffer must do, and the claims on what it holds."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Collection, Sequence
from typing import Any, Protocol, runtime_checkable

import attrs

from aiotrack.model.errors import ConfigError, StartError
from aiotrack.model.identity import Identity

from .dead_letters import Cause, DeadLetter

__all__ = [
    "METHODS",
    "MIB",
    "Buffer",
    "BufferListener",
    "Claim",
    "Depth",
    "LaneBuffer",
    "Requeued",
    "lane_buffer",
    "takes_identity",
    "usable",
]

MIB = 1024 * 1024


@attrs.frozen
class Claim:
    """Entries taken out to be sent, oldest first, all with the same batch header; they stay pending until they end.

    `numbers` are their sequence numbers in the buffer, ascending, one for each entry. `failures` counts the requests
    with them that failed.
    """

    numbers: Sequence[int]
    entries: Sequence[bytes] = attrs.field(repr=False)
    batch_header: bytes = attrs.field(default=b"", repr=False)
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
            Claim(self.numbers[:most], self.entries[:most], self.batch_header, self.failures),
            Claim(self.numbers[most:], self.entries[most:], self.batch_header, self.failures),
        )

    def only(self, indices: Sequence[int]) -> Claim:
        """Return those at these indices, 0 being the oldest."""
        return Claim(
            [self.numbers[index] for index in indices],
            [self.entries[index] for index in indices],
            self.batch_header,
            self.failures,
        )


@attrs.frozen
class Depth:
    """What a buffer holds, claimed entries included."""

    events: int
    bytes: int


class BufferListener(Protocol):
    """What a buffer tells its lane, on the event loop, of entries that come and go without the lane's doing."""

    def time(self) -> float:
        """Return the time in Unix seconds, by the client's clock; from any thread."""
        ...

    def recovered(self, last: int, events: int, since: float | None = None) -> None:
        """Count entries of another process that can be claimed here now, up to the one with that sequence number.

        An earlier or dead process left them; or, in an engine that several processes share, a living one appended them.
        `since` is when the newest of them was stored first, in Unix seconds; None where that is not known.
        """
        ...

    def stored(self, last: int, events: int, size: int) -> None:
        """Count entries that are safe now, up to the one with that sequence number; `size` is theirs in bytes.

        Called just before the futures that `append` gave are done; an entry that got its number at once is
        counted by who appended it.
        """
        ...

    def not_stored(self, exc: Exception, events: int, unawaited: int) -> None:
        """Count entries that could not be stored; for so many of them nobody waits any more."""
        ...

    def handed_over(self, numbers: Sequence[int]) -> None:
        """Count entries that another process has claimed from a shared engine: they are safe, and no longer ours.

        They are unclaimed here: an entry that is claimed here is counted by how this process ends it, even if its
        lease ran out and another process has claimed it, too.
        """
        ...


@runtime_checkable
class LaneBuffer(Protocol):
    """Holds one lane's encoded events between the caller and the sender.

    Every method is called on the client's event loop. What is `async` may wait for a disk or a server.
    """

    durable: bool
    """Whether entries outlive the process."""
    lease: float | None
    """In an engine that several processes share: the seconds that a claim is held unless it is renewed. None, or not
    there: no other process can claim what this one has claimed.

    A buffer may have three more: `max_bytes`, how large an entry may be; `half_full`, whether bulk producers have to
    wait; and `unsaved`, how many entries of a durable one would be lost if the process ended now."""

    async def open(self, listener: BufferListener) -> None:
        """Make ready. `listener` is told what is there, and of what is promised from now on, in order.

        Raises StartError.
        """
        ...

    async def recover(self) -> None:
        """Take over what processes have left that died meanwhile. Called now and then, and before a flush."""
        ...

    def append(self, entry: bytes, batch_header: bytes) -> int | asyncio.Future[int]:
        """Store an entry; return its sequence number if it is safe now, else a future of it that is done once it is.

        Numbers grow, and futures end in their order. A future is its caller's, who may cancel it: the entry is
        stored all the same. Raises BufferFull, and EventRefused for what could never fit. The future may end in
        BufferFailed: then the entry was not stored.
        """
        ...

    def make_room(self, size: int) -> Sequence[int]:
        """Drop the oldest unclaimed entries until `size` bytes fit; return their sequence numbers.

        Drops none where even all of them would not make room.
        """
        ...

    async def claim(self, max_events: int, max_bytes: int) -> Claim | None:
        """Claim the oldest unclaimed entries, at least one where there is any; None where there is none.

        Raises EntriesLost for entries that can't be read any more; they are gone then.
        """
        ...

    async def renew(self, claim: Claim) -> None:
        """Hold a claim for another `lease`. Does nothing where claims have no lease."""
        ...

    async def ack(self, claim: Claim) -> None:
        """End a claim, or a part of one: its entries are delivered."""
        ...

    async def release(self, claim: Claim) -> None:
        """Put a claim, or a part of one, back: it is the next to be claimed.

        Nobody renews what was put back. In a shared engine another process may claim it when its lease runs out, so
        `claim` hands it out here only while it is still this process's, and tells the listener what was handed over.
        """
        ...

    async def bury(self, claim: Claim, cause: Cause) -> None:
        """End a claim, or a part of one: its entries become dead letters."""
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


@runtime_checkable
class Buffer(Protocol):
    """What `Client(buffer=...)` takes: it makes one `LaneBuffer` for each destination."""

    def for_lane(self, name: str) -> LaneBuffer:
        """Return the buffer of the destination of that name, not opened yet.

        A durable buffer takes `identity: Identity | None`, too: what the destination's events are for. It keeps
        those of another identity apart, and never hands them out here.
        """
        ...


METHODS = [name for name in vars(LaneBuffer) if not name.startswith("_")]


def usable(buffer: object) -> Buffer:
    """Return what was given as `buffer=`. Raises ConfigError for what is none."""
    if hasattr(type(buffer), "settle") and not hasattr(type(buffer), "ack"):
        old = f"{type(buffer).__name__} is of the old kind"
        raise ConfigError(f"buffer: {old}: settle() has become ack(), release() and bury()")
    if isinstance(buffer, type) or not isinstance(buffer, Buffer):
        got = f"the class {buffer.__name__}: give an instance" if isinstance(buffer, type) else type(buffer).__name__
        raise ConfigError(f"buffer: expected a Buffer, got {got}")
    return buffer


def takes_identity(buffer: Buffer) -> bool:
    """Tell whether a buffer keeps apart what is for different accounts."""
    return "identity" in inspect.signature(buffer.for_lane).parameters


def lane_buffer(buffer: Buffer, name: str, identity: Identity | None = None) -> LaneBuffer:
    """Ask a buffer for that of one lane. Raises StartError for what is none, and names what it lacks."""
    given: dict[str, Any] = {"identity": identity} if takes_identity(buffer) else {}
    found = buffer.for_lane(name, **given)
    lacking = sorted(part for part in METHODS if not hasattr(found, part))
    if lacking:
        why = f"for_lane() must return a LaneBuffer, and {type(found).__name__} has no {', '.join(lacking)}"
        raise StartError(f"the buffer {type(buffer).__name__} can't be used: {why}")
    return found


class Requeued:
    """Entries that were put back, to be claimed again before all others, in the order of their sequence numbers."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, bytes, bytes, int]] = []  # number, entry, batch header, failures

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, claim: Claim) -> None:
        """Put a claim back."""
        self._entries += [
            (number, entry, claim.batch_header, claim.failures)
            for number, entry in zip(claim.numbers, claim.entries, strict=True)
        ]
        self._entries.sort(key=lambda entry: entry[0])

    def claim(self, max_events: int, max_bytes: int) -> Claim | None:
        """Claim the oldest, as far as they have batch header and failures in common."""
        if not self._entries:
            return None
        _, _, batch_header, failures = self._entries[0]
        most = size = 0
        for _, entry, other, failed in self._entries[:max_events]:
            size += len(entry)
            if (other, failed) != (batch_header, failures) or (most and size > max_bytes):
                break
            most += 1
        claimed, self._entries = self._entries[:most], self._entries[most:]
        return Claim([one[0] for one in claimed], [one[1] for one in claimed], batch_header, failures)

    def clear(self) -> None:
        """Let go of all."""
        self._entries.clear()
