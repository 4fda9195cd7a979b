"""Tracking from other threads: the call is carried to the client's event loop, and its result back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import copy
import os
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from aiotrack.model.clock import milliseconds
from aiotrack.model.errors import ClientClosed
from aiotrack.model.event import new_event_id
from aiotrack.model.result import TrackResult
from aiotrack.model.state import ClientState, state_error

if TYPE_CHECKING:
    from aiotrack.model.clock import Clock
    from aiotrack.model.tasks import Tasks

    from .outcome import Outcome
    from .user import Track, UserContext

__all__ = ["ThreadsafeTracking"]

ResultFuture = concurrent.futures.Future[TrackResult]


class ThreadsafeTracking:
    """Calls from threads that are not the event loop's."""

    def __init__(self, track: Track, state: ClientState, tasks: Tasks, clock: Clock) -> None:
        self._track = track
        self._state = state
        self._tasks = tasks
        self._clock = clock

    def track(
        self,
        user: UserContext,
        key: str,
        tags: Mapping[str, Any] | None,
        event_id: str | None,
        timestamp: int | None,
    ) -> ResultFuture:
        """Track an event as it is now; return a future of the result."""
        state = self._state
        loop = state.loop
        if not state.takes_no_more and (loop is None or loop.is_closed() or state.process != os.getpid()):
            raise state_error(state, "track_event_threadsafe")
        answer = ResultFuture()
        user = copy.copy(user)  # with the attributes of now
        with contextlib.suppress(Exception):  # what can't be copied is refused soon enough
            tags = copy.deepcopy(tags)
        event_id = new_event_id() if event_id is None else event_id
        timestamp = milliseconds(self._clock.time()) if timestamp is None else timestamp

        def track() -> Outcome:
            return self._track(user, key, tags, event_id, timestamp, wait=True)

        def answered() -> None:
            if answer.set_running_or_notify_cancel():
                outcome = _now(answer, track)
                if outcome is not None:
                    self._wait(answer, outcome, track)

        if state.takes_no_more or loop is None:  # refused, which needs no loop
            answered()
        else:
            loop.call_soon_threadsafe(answered)
        return answer

    def _wait(
        self, answer: ResultFuture, outcome: Coroutine[Any, Any, TrackResult], track: Callable[[], Outcome]
    ) -> None:
        """Hand a coroutine's end to another thread, whatever becomes of the task that waits for it."""
        name = "aiotrack track_event_threadsafe"
        task = self._tasks.spawn(_end_of(outcome), name=name, context=contextvars.copy_context())

        def ended(task: asyncio.Task[TrackResult | Exception]) -> None:
            if not task.cancelled():
                _give(answer, task.exception() or task.result())
                return
            outcome.close()
            if self._state.takes_no_more:  # the lanes have answered, so a plugin still held it, and now it is refused
                _now(answer, track)
            else:
                answer.set_exception(ClientClosed("track_event_threadsafe: the task that waited was cancelled"))

        task.add_done_callback(ended)


def _give(answer: ResultFuture, end: TrackResult | BaseException) -> None:
    if isinstance(end, TrackResult):
        answer.set_result(end)
    else:
        answer.set_exception(end)


def _now(answer: ResultFuture, track: Callable[[], Outcome]) -> Coroutine[Any, Any, TrackResult] | None:
    """Track, and answer at once if that is possible; else return the coroutine that ends in the answer."""
    try:
        outcome = track()
    except Exception as exc:  # noqa: BLE001 - it belongs to the thread that waits
        _give(answer, exc)
        return None
    if isinstance(outcome, TrackResult):
        _give(answer, outcome)
        return None
    return outcome


async def _end_of(outcome: Coroutine[Any, Any, TrackResult]) -> TrackResult | Exception:
    """Return a result or what was raised instead, which is no failure of the task that waits for it."""
    try:
        return await outcome
    except Exception as exc:  # noqa: BLE001 - it belongs to the thread that waits
        return exc
