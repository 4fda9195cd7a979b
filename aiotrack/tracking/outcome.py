"""The end of a call that has to wait: for a buffer that is full or still writes, or for others to have their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import attrs

from aiotrack.model.errors import failure_of, refusal_of
from aiotrack.model.refusal import Refusal
from aiotrack.model.result import SequenceNumber, TrackResult
from aiotrack.model.tasks import PLUGIN_ERRORS, OwnTask

if TYPE_CHECKING:
    from aiotrack.lanes.lane import Lane

__all__ = ["ByLane", "Numbers", "Outcome", "all_ended", "given_up", "settled", "yield_now"]

Numbers = list[tuple["Lane", SequenceNumber]]
ByLane = dict[str, Refusal]
Outcome = TrackResult | Coroutine[Any, Any, TrackResult]


async def all_ended(numbers: Numbers) -> None:
    """Wait until all futures have ended, however that may be."""
    own = OwnTask()
    for _, number in numbers:
        if not isinstance(number, int):
            try:
                await number
            except PLUGIN_ERRORS as exc:  # a buffer is foreign code
                own.reraise(exc)


def given_up(numbers: Numbers) -> Numbers:
    """Have no lane hold on to a caller that is cancelled; return what has ended."""
    ended: Numbers = []
    for lane, number in numbers:
        if isinstance(number, int) or (number.done() and not number.cancelled()):
            ended.append((lane, number))
        else:
            number.cancel()
    return ended


def settled(numbers: Numbers, refused: ByLane) -> Numbers:
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
