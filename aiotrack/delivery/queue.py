"""What a sender asks of the lane that it empties."""

from __future__ import annotations

from typing import Protocol

from aiotrack.buffers.base import Claim
from aiotrack.buffers.dead_letters import Cause
from aiotrack.destinations.base import Destination
from aiotrack.model.stats import LaneState

__all__ = ["Queue"]


class Queue(Protocol):
    """One destination's events, as its senders see them."""

    @property
    def name(self) -> str:
        """The destination's name."""
        ...

    @property
    def destination(self) -> Destination:
        """Where the events go."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the lane is closed, and whoever still sends is too late."""
        ...

    async def claim(self, most: int | None = None, *, ahead: bool = False) -> Claim | None:
        """Claim the next batch of what is due, of at most so many events; `ahead`: of all that is here."""
        ...

    async def encode(self, claim: Claim) -> Claim | None:
        """Encode what was tracked before the first catalog, at least in part; None where none of it can be sent."""
        ...

    async def wait(self, seconds: float | None) -> None:
        """Wait until more is due, at most so many seconds."""
        ...

    def time_left(self) -> float:
        """Return how many seconds those who wait for a flush or a close still have; infinite where nobody waits."""
        ...

    def wake(self) -> None:
        """Have all who wait look again."""
        ...

    def set_aside(self, part: Claim, *, aside: bool) -> None:
        """Note that no flush waits for these entries, since they are tried only now and then; or that it does again."""
        ...

    def replace(self, part: Claim, *pieces: Claim) -> None:
        """Go on with a claim as several, or as one that failed once more."""
        ...

    async def ack(self, part: Claim) -> None:
        """End a claim, or a part of one: it is delivered."""
        ...

    async def bury(self, part: Claim, cause: Cause) -> None:
        """End a claim, or a part of one: it is dead."""
        ...

    async def release(self, claim: Claim | None = None) -> None:
        """Put back what is left of a claim, or of all, to be claimed again."""
        ...

    @property
    def max_bytes(self) -> int:
        """How large a batch may be now."""
        ...

    @property
    def slow_from(self) -> float:
        """From which size on what had timed out was too slow, as the last request that passed has shown."""
        ...

    def too_large(self, size: int) -> None:
        """Make batches smaller from now on: one of `size` bytes was too large."""
        ...

    def timed_out(self, size: int) -> None:
        """Note that a batch of `size` bytes was not taken in time: perhaps they should be smaller."""
        ...

    def is_old(self, part: Claim) -> bool:
        """Tell whether these entries have been here longer than they are worth keeping."""
        ...

    def begin_request(self) -> float:
        """Note that a request begins; return when, for `end_request`."""
        ...

    def end_request(self, began: float, *, passed: bool) -> None:
        """Note that a request has ended; `passed`: its events are delivered."""
        ...

    def mark_up(self, size: int) -> None:
        """Note that the destination has taken a batch of `size` bytes."""
        ...

    def mark_down(self, state: LaneState, why: str, delay: float) -> None:
        """Note that the destination takes no events now; the next try is in `delay` seconds."""
        ...

    async def sleep(self, delay: float, *, interruptible: bool) -> None:
        """Wait `delay` seconds; a flush or a close cuts it short where it is `interruptible`."""
        ...
