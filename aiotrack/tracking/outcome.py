"""The end of a call that has to wait: for room, a disk, a first catalog, or others to have their turn."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, cast

import attrs

from aiotrack.model.errors import AiotrackError, EventRefused, failure_of, refusal_of
from aiotrack.model.neutral import decode_neutral, encode_neutral
from aiotrack.model.refusal import NOT_KNOWN, Reason, Refusal
from aiotrack.model.result import SequenceNumber, TrackResult
from aiotrack.model.tasks import PLUGIN_ERRORS, OwnTask, reraise_exit

if TYPE_CHECKING:
    from aiotrack.lanes.lane import Lane
    from aiotrack.model.event import Event

    from .refusals import Refusals

__all__ = [
    "AS_LONG_AS_IT_TAKES",
    "AT_ONCE",
    "DEEPEST",
    "RECURSION",
    "ByLane",
    "LateOutcome",
    "Numbers",
    "Outcome",
    "end_of",
    "yield_now",
]

AT_ONCE = 0.0  # seconds that a caller may be held: not at all, the result is there when `track` returns
AS_LONG_AS_IT_TAKES = math.inf

DEEPEST = 3  # calls within calls: an event, what a listener tracks of it, and what another tracks of that
RECURSION = Refusal(Reason.RECURSION, f"a plugin or listener tracks in answer to what it tracks, {DEEPEST} events deep")

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
        self, event: Event, admitted: Sequence[tuple[Lane, SequenceNumber | None]], refused: ByLane, wait: float
    ) -> Outcome:
        """Go on where a lane holds the caller, is still writing, or (None) can't encode the event yet.

        `wait` is for how many seconds the caller may be held.
        """
        lane, first = admitted[0]
        if len(admitted) == 1 and wait == AS_LONG_AS_IT_TAKES and isinstance(first, asyncio.Future):
            return self._wait_for_one(event, lane, first, refused)
        numbers: Numbers = [(lane, number) for lane, number in admitted if number is not None]
        unready = [lane for lane, number in admitted if number is None]
        if unready and wait and self._strict:
            return self._admit_when_ready(event, unready, numbers, refused, wait)
        tell = bool(numbers) or not unready  # else it is told by the first lane that can encode it
        for lane in unready:
            try:
                numbers.append((lane, lane.admit_unencoded(event, wait, told=tell)))
            except PLUGIN_ERRORS as exc:  # a buffer is foreign code
                refused[lane.name] = self._refusals.by_lane(lane.name, event, exc)
        if wait and not all(isinstance(number, int) for _, number in numbers):
            return self._wait(event, numbers, refused, wait, tell=tell)
        for lane, number in numbers:
            if not isinstance(number, int):
                number.add_done_callback(lane.unawaited)
        return self._result(event, numbers, refused, tell=tell)

    async def _admit_when_ready(
        self, event: Event, unready: list[Lane], numbers: Numbers, refused: ByLane, wait: float
    ) -> TrackResult:
        """Strict: who tracks an event is told whether it is known, so it waits for the first catalog."""
        own = OwnTask()
        time = asyncio.get_running_loop().time
        deadline = time() + wait
        event, _ = decode_neutral(encode_neutral(event, told=False))  # as it is now, whatever the caller does to it
        for lane in unready:
            try:
                numbers.append((lane, await lane.admit_when_ready(event, deadline - time())))
            except PLUGIN_ERRORS as exc:
                own.reraise(exc)
                refused[lane.name] = self._refusals.by_lane(lane.name, event, exc)
        return await self._wait(event, numbers, refused, max(deadline - time(), AT_ONCE), tell=True)

    async def _wait_for_one(
        self, event: Event, lane: Lane, number: asyncio.Future[int], refused: ByLane
    ) -> TrackResult:
        """Wait for the only lane, as most calls do that wait for a disk."""
        try:
            accepted: Numbers = [(lane, await number)]
        except PLUGIN_ERRORS as exc:  # a buffer is foreign code
            reraise_exit(exc)
            own = cast("asyncio.Task[Any]", asyncio.current_task())
            if isinstance(exc, asyncio.CancelledError) and own.cancelling():
                with contextlib.suppress(AiotrackError):  # strict: the caller is told of the cancellation
                    self._leave(event, [], refused, None, tell=True)
                raise
            if not number.done():  # it is not the buffer's
                raise
            accepted = _settled([(lane, number)], refused)
        return self._result(event, accepted, refused)

    async def _wait(self, event: Event, numbers: Numbers, refused: ByLane, wait: float, *, tell: bool) -> TrackResult:
        """Wait for the lanes that hold the caller, or are still writing; each refuses on its own."""
        try:
            ended = await _all_ended(numbers, wait)
        except BaseException:
            with contextlib.suppress(AiotrackError):  # strict: the caller is told of the cancellation
                self._leave(event, _uncancelled(numbers), refused, None, tell=tell)
            raise
        if ended:
            return self._result(event, _settled(numbers, refused), refused, tell=tell)
        full = Refusal(Reason.BUFFER_FULL, f"there was no room for it within {wait:.3g} s (timeout)")
        return self._leave(event, numbers, refused, full, tell=tell)

    def _leave(
        self, event: Event, numbers: Numbers, refused: ByLane, full: Refusal | None, *, tell: bool
    ) -> TrackResult:
        """End a call whose caller waits no longer: no lane holds it any more; what is being written is written."""
        ended: Numbers = []
        writing: list[tuple[Lane, asyncio.Future[int]]] = []
        for lane, number in numbers:
            if isinstance(number, int) or number.done():
                ended.append((lane, number))
            elif not lane.holds(number):
                writing.append((lane, number))
            else:
                number.cancel()
                if full is not None:
                    refused[lane.name] = attrs.evolve(full, destination=lane.name)
        accepted = _settled(ended, refused)
        told = bool(accepted) or not tell

        def stored(lane: Lane, number: asyncio.Future[int]) -> None:
            nonlocal told
            lane.unawaited(number)
            if failure_of(number) is None and not told:
                told = True
                self._result(event, [(lane, number)], {})

        for lane, number in writing:
            number.add_done_callback(functools.partial(stored, lane))
        result = TrackResult(event.key, event.event_id, (), refused)
        if accepted or refused:
            result = self._result(event, accepted, refused, tell=tell)
        if writing:
            result.refused = {**refused, **{lane.name: NOT_KNOWN for lane, _ in writing}}
            if self._strict:
                raise EventRefused(NOT_KNOWN, result)
        return result


async def _all_ended(numbers: Numbers, wait: float) -> bool:
    """Wait until all futures have ended, however that may be, at most so many seconds; tell whether they have."""
    if wait < AS_LONG_AS_IT_TAKES:
        waiting = [number for _, number in numbers if not isinstance(number, int)]
        return not waiting or not (await asyncio.wait(waiting, timeout=wait))[1]
    own = OwnTask()
    for _, number in numbers:
        if not isinstance(number, int):
            try:
                await number
            except PLUGIN_ERRORS as exc:  # a buffer is foreign code
                own.reraise(exc)
    return True


def _uncancelled(numbers: Numbers) -> Numbers:
    """Return them without the one that was cancelled together with the caller who waited for it."""
    return [(lane, number) for lane, number in numbers if isinstance(number, int) or not number.cancelled()]


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


async def end_of(outcome: Coroutine[Any, Any, TrackResult]) -> TrackResult | Exception:
    """Return a result or what was raised instead, which is no failure of the task that waits for it."""
    try:
        return await outcome
    except Exception as exc:  # noqa: BLE001 - it belongs to the caller
        return exc


async def yield_now(result: TrackResult) -> TrackResult:
    """Return the result after others had a turn."""
    await asyncio.sleep(0)
    return result
