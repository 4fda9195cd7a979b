"""The end of a call that has to wait: for room, a disk, a first catalog, or others to have their turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from aiotrack.model.errors import AiotrackError, failure_of, refusal_of
from aiotrack.model.neutral import decode_neutral, encode_neutral
from aiotrack.model.refusal import Refusal
from aiotrack.model.result import SequenceNumber, TrackResult
from aiotrack.model.tasks import PLUGIN_ERRORS, OwnTask

if TYPE_CHECKING:
    from aiotrack.lanes.lane import Lane
    from aiotrack.model.event import Event

    from .refusals import Refusals

__all__ = ["ByLane", "LateOutcome", "Numbers", "Outcome", "yield_now"]

Numbers = list[tuple["Lane", SequenceNumber]]
ByLane = dict[str, Refusal]
Outcome = TrackResult | Coroutine[Any, Any, TrackResult]


class LateOutcome:
    """Ends a call where a lane gave no number at once; `result` tells the listeners and makes the answer."""

    def __init__(self, result: Callable[..., TrackResult], refusals: Refusals, *, strict: bool) -> None:
        self._result = result
        self._refusals = refusals
        self._strict = strict

    def outcome(
        self, event: Event, admitted: Sequence[tuple[Lane, SequenceNumber | None]], refused: ByLane, wait: bool
    ) -> Outcome:
        """Go on where a lane holds the caller, is still writing, or (None) can't encode the event yet."""
        numbers: Numbers = [(lane, number) for lane, number in admitted if number is not None]
        unready = [lane for lane, number in admitted if number is None]
        if unready and wait and self._strict:
            return self._admit_when_ready(event, unready, numbers, refused)
        tell = bool(numbers) or not unready  # else it is told by the first lane that can encode it
        for lane in unready:
            try:
                numbers.append((lane, lane.admit_unencoded(event, wait, told=tell)))
            except PLUGIN_ERRORS as exc:  # a buffer is foreign code
                refused[lane.name] = self._refusals.by_lane(lane.name, event, exc)
        if wait and not all(isinstance(number, int) for _, number in numbers):
            return self._wait(event, numbers, refused, tell=tell)
        for lane, number in numbers:
            if not isinstance(number, int):
                number.add_done_callback(lane.unawaited)
        return self._result(event, numbers, refused, tell=tell)

    async def _admit_when_ready(
        self, event: Event, unready: list[Lane], numbers: Numbers, refused: ByLane
    ) -> TrackResult:
        """Strict: who tracks an event is told whether it is known, so it waits for the first catalog."""
        own = OwnTask()
        event, _ = decode_neutral(encode_neutral(event, told=False))  # as it is now, whatever the caller does to it
        for lane in unready:
            try:
                numbers.append((lane, await lane.admit_when_ready(event)))
            except PLUGIN_ERRORS as exc:
                own.reraise(exc)
                refused[lane.name] = self._refusals.by_lane(lane.name, event, exc)
        return await self._wait(event, numbers, refused, tell=True)

    async def _wait(self, event: Event, numbers: Numbers, refused: ByLane, *, tell: bool) -> TrackResult:
        """Wait for the lanes that hold the caller, or are still writing; each refuses on its own."""
        try:
            await _all_ended(numbers)
        except BaseException:
            with contextlib.suppress(AiotrackError):  # strict: the caller is told of the cancellation
                self._result(event, _settled(_given_up(numbers), refused), refused, tell=tell)
            raise
        return self._result(event, _settled(numbers, refused), refused, tell=tell)


async def _all_ended(numbers: Numbers) -> None:
    """Wait until all futures have ended, however that may be."""
    own = OwnTask()
    for _, number in numbers:
        if not isinstance(number, int):
            try:
                await number
            except PLUGIN_ERRORS as exc:  # a buffer is foreign code
                own.reraise(exc)


def _given_up(numbers: Numbers) -> Numbers:
    """Have no lane hold on to a caller that is cancelled; return what has ended."""
    ended: Numbers = []
    for lane, number in numbers:
        if isinstance(number, int) or (number.done() and not number.cancelled()):
            ended.append((lane, number))
        else:
            number.cancel()
    return ended


def _settled(numbers: Numbers, refused: ByLane) -> Numbers:
    """Return the numbers that lanes gave, and add the refusals of those that gave none."""
    accepted: Numbers = []
    for lane, number in numbers:
        if isinstance(number, int):
            accepted.append((lane, number))
            continue
        exc = failure_of(number)
        if exc is None:
            accepted.append((lane, number.result()))
        else:
            refused[lane.name] = attrs.evolve(refusal_of(exc), destination=lane.name)
    return accepted


async def yield_now(result: TrackResult) -> TrackResult:
    """Return the result after others had a turn."""
    await asyncio.sleep(0)
    return result
