"""The answer to a tracked event, and the receipt that it can be asked for later."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Protocol

import attrs

from .event import Refusal

__all__ = ["Delivered", "Outcomes", "Rejected", "TrackResult", "Unknown"]


@attrs.frozen
class Delivered:
    """Every destination that accepted the event has confirmed it."""


@attrs.frozen
class Rejected:
    """The event won't be delivered; `reason` says why."""

    reason: str


@attrs.frozen
class Unknown:
    """Not known yet, or no longer: the time was up, the client was closed, or it was too long ago."""


Number = int | asyncio.Future[int]
"""An entry's number in its buffer, or a future of it while a durable buffer writes."""
Receipt = Delivered | Rejected | Unknown


class Accepting(Protocol):
    """The lane that took an event, as far as a result needs it."""

    @property
    def name(self) -> str: ...

    def outcome(self, number: Number) -> Coroutine[Any, Any, Receipt]: ...


class TrackResult:
    """What became of one call. Truthy when at least one destination accepted the event.

    `refused` maps a destination's name to its `Refusal`; an event that is refused as a whole has one
    under every destination.
    """

    __slots__ = ("entries", "event_id", "key", "refused")

    def __init__(
        self,
        key: str,
        event_id: str,
        accepted: Sequence[tuple[Accepting, Number]],
        refused: Mapping[str, Refusal],
    ) -> None:
        self.key = key
        self.event_id = event_id
        self.refused = refused
        self.entries = accepted

    @property
    def accepted(self) -> tuple[str, ...]:
        """The names of the destinations that accepted the event."""
        return tuple(lane.name for lane, _ in self.entries)

    def __bool__(self) -> bool:
        return bool(self.entries)

    def __repr__(self) -> str:
        refused = {name: refusal.reason for name, refusal in self.refused.items()}
        return f"TrackResult({self.key!r}, {self.event_id}, accepted={self.accepted}, refused={refused})"

    async def delivered(self, timeout: float | None = None) -> Receipt:
        """Wait until the event is delivered or given up on, at most `timeout` seconds.

        With several destinations: Delivered when all that accepted it confirmed it, Rejected as soon as
        one is known to have failed. Without a timeout the wait ends at the latest when the client closes.
        """
        if not self.entries:
            return Rejected(next((str(refusal.reason) for refusal in self.refused.values()), "refused"))
        try:
            async with asyncio.timeout(timeout):
                return await _first_failure([lane.outcome(number) for lane, number in self.entries])
        except TimeoutError:
            return Unknown()


async def _first_failure(asked: list[Coroutine[Any, Any, Receipt]]) -> Receipt:
    """Wait for all to say Delivered, or for the first to say Rejected."""
    if len(asked) == 1:
        return await asked[0]
    answers = [asyncio.ensure_future(one) for one in asked]
    receipt: Receipt = Delivered()
    try:
        for answer in asyncio.as_completed(answers):
            one = await answer
            if isinstance(one, Rejected):
                return one
            if isinstance(one, Unknown):
                receipt = one
    finally:
        for open_answer in answers:
            open_answer.cancel()
    return receipt


class Outcomes:
    """What became of each number of one lane, for those who ask. Costs nothing until somebody does."""

    MOST_LOST = 10_000  # failures remembered; older ones are answered with Unknown

    def __init__(self) -> None:
        self._asked: dict[int, asyncio.Future[Receipt]] = {}
        self._order: list[int] = []  # a heap of the numbers asked for
        self._lost: dict[int, Rejected] = {}
        self._forgotten = 0  # the highest number whose failure was forgotten
        self._closed_at: int | None = None  # the highest number up to which all had ended when the lane closed
        self._flushes: deque[tuple[int, asyncio.Future[None]]] = deque()  # ascending

    def lost(self, numbers: Sequence[int], rejected: Rejected) -> None:
        """Note that these numbers won't be delivered."""
        self._lost.update(dict.fromkeys(numbers, rejected))
        if self._asked:
            for number in numbers:
                self._answer(number, rejected)
        while len(self._lost) > self.MOST_LOST:
            oldest = next(iter(self._lost))
            self._forgotten = max(self._forgotten, oldest)
            del self._lost[oldest]

    def settled_up_to(self, low: int) -> None:
        """Answer all who asked for a number up to this one."""
        while self._order and self._order[0] <= low:
            number = heapq.heappop(self._order)
            self._answer(number, self._settled(number))
        while self._flushes and self._flushes[0][0] <= low:
            _, ended = self._flushes.popleft()
            if not ended.done():
                ended.set_result(None)

    async def all_up_to(self, number: int) -> None:
        """Wait until all numbers up to this one have ended, or the lane is closed."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (number, ended)
        self._flushes.append(waiting)
        try:
            await ended
        finally:
            if waiting in self._flushes:
                self._flushes.remove(waiting)

    async def of(self, number: int, *, settled: bool) -> Receipt:
        """Return how a number ended, after waiting for it if it hasn't; many may wait for the same."""
        if self._closed_at is not None:
            settled = number <= self._closed_at
        if settled or number in self._lost:
            return self._settled(number)
        if self._closed_at is not None:
            return Unknown()
        future = self._asked.get(number)
        if future is None:
            future = self._asked[number] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._order, number)
        return await asyncio.shield(future)

    def _settled(self, number: int) -> Receipt:
        if number in self._lost:
            return self._lost[number]
        return Unknown() if number <= self._forgotten else Delivered()

    def _answer(self, number: int, receipt: Receipt) -> None:
        future = self._asked.pop(number, None)
        if future is not None and not future.done():
            future.set_result(receipt)

    def close(self, low: int) -> None:
        """Answer all who still wait: nobody will know of more than has ended by now."""
        self._closed_at = low
        for _, ended in self._flushes:
            if not ended.done():
                ended.set_result(None)
        for number in list(self._asked):
            self._answer(number, Unknown())
