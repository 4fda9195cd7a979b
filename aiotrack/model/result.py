"""The answer to a tracked event, and the receipt that it can be asked for later."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Literal, NoReturn, Protocol

import attrs

from .refusal import Reason, Refusal

__all__ = [
    "BulkFailure",
    "BulkResult",
    "Delivered",
    "Receipt",
    "Rejected",
    "SequenceNumber",
    "TrackResult",
    "Unknown",
]


@attrs.frozen
class Delivered:
    """Every destination that accepted the event has confirmed it. The only receipt that is truthy."""

    def __bool__(self) -> Literal[True]:
        return True


@attrs.frozen
class Rejected:
    """The event won't be delivered; `reason` says why. Falsy."""

    reason: str

    def __bool__(self) -> Literal[False]:
        return False


@attrs.frozen
class Unknown:
    """Not known yet, or no longer: the time was up, the client was closed, or it was too long ago. Falsy."""

    def __bool__(self) -> Literal[False]:
        return False


SequenceNumber = int | asyncio.Future[int]
"""An entry's sequence number in its buffer, or a future of it while a durable buffer writes."""
Receipt = Delivered | Rejected | Unknown
"""What `TrackResult.delivered` returns; truthy only when the event is known to be delivered."""


@attrs.frozen
class BulkFailure:
    """An event of `Client.track_many` that at least one destination did not accept.

    `place` says how many events came before it; `refused` is that of its `TrackResult`.
    """

    place: int
    event_id: str
    refused: Mapping[str, Refusal]


@attrs.frozen
class BulkResult:
    """What became of the events of `Client.track_many`. Truthy when every destination accepted every event.

    `accepted` counts the events that at least one destination accepted, `refused` those that at least one did not;
    `failures` lists the latter by their place, no more than 1,000 of them.
    """

    accepted: int
    refused: int
    failures: tuple[BulkFailure, ...] = attrs.field(repr=False)

    def __bool__(self) -> bool:
        return not self.refused


class AcceptingLane(Protocol):
    """The lane that accepted an event, as far as a result needs it."""

    @property
    def name(self) -> str: ...

    def receipt(self, number: SequenceNumber) -> Coroutine[Any, Any, Receipt]: ...


class TrackResult:
    """What became of one call. Truthy when at least one destination accepted the event.

    `refused` maps a destination's name to its `Refusal`; an event that is refused as a whole has one
    under every destination ("client" where the client has none yet).
    """

    __slots__ = ("_entries", "event_id", "key", "refused")

    def __init__(
        self,
        key: str,
        event_id: str,
        accepted: Sequence[tuple[AcceptingLane, SequenceNumber]],
        refused: Mapping[str, Refusal],
    ) -> None:
        self.key = key
        self.event_id = event_id
        self.refused = refused
        self._entries = accepted

    def __copy__(self) -> TrackResult:
        """Return the result itself: it does not change."""
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> TrackResult:
        """Return the result itself: it does not change."""
        return self

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: the receipt is to be had from the client, in this process."""
        raise TypeError("a TrackResult belongs to a client and can't be pickled: send its event_id")

    @property
    def accepted(self) -> tuple[str, ...]:
        """The names of the destinations that accepted the event."""
        return tuple(lane.name for lane, _ in self._entries)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __repr__(self) -> str:
        # Of a refused event they may be anything, and anything may raise.
        key, event_id = (one if type(one) is str else type(one).__name__ for one in (self.key, self.event_id))
        words = [repr(key), event_id]
        if self._entries:
            words.append(f"accepted by {', '.join(self.accepted)}")
        for name, refusal in self.refused.items():
            where = f" at {refusal.path}" if refusal.path else ""
            words.append(f"refused by {name}: {refusal.reason}{where}")
        return f"<TrackResult {', '.join(words)}>"

    async def delivered(self, timeout: float | None = None) -> Receipt:
        """Wait until the event is delivered or given up on, at most `timeout` seconds.

        With several destinations: Delivered when all that accepted it confirmed it, Rejected as soon as
        one is known to have failed. None and `inf` wait until it has ended, or the client is closed. The receipt is
        truthy only when the event is delivered; falsy means that it is not known to be. To send it again, give the same
        id, so that nobody counts it twice: `track_event(key, tags, event_id=result.event_id)`.
        """
        if not self._entries:
            if self._is_not_known:
                return Unknown()
            return Rejected(next((str(refusal.reason) for refusal in self.refused.values()), "routed nowhere"))
        try:
            async with asyncio.timeout(None if timeout == math.inf else timeout):
                receipt = await _first_failure([lane.receipt(number) for lane, number in self._entries])
        except TimeoutError:
            return Unknown()
        return Unknown() if receipt and self._is_not_known else receipt

    @property
    def _is_not_known(self) -> bool:
        """Whether a destination may yet accept it."""
        return any(refusal.reason == Reason.NOT_KNOWN for refusal in self.refused.values())


async def _first_failure(waiting: list[Coroutine[Any, Any, Receipt]]) -> Receipt:
    """Wait for all to be Delivered, or for the first to be Rejected."""
    if len(waiting) == 1:
        return await waiting[0]
    receipts = [asyncio.ensure_future(one) for one in waiting]
    worst: Receipt = Delivered()
    try:
        for receipt in asyncio.as_completed(receipts):
            one = await receipt
            if isinstance(one, Rejected):
                return one
            if isinstance(one, Unknown):
                worst = one
    finally:
        for receipt in receipts:
            receipt.cancel()
    return worst
