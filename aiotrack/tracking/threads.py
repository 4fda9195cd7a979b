"""Tracking from other threads: the call is carried to the client's event loop, and its result back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import copy
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from aiotrack.model.clock import milliseconds
from aiotrack.model.event import new_event_id
from aiotrack.model.result import TrackResult
from aiotrack.model.state import ClientState, state_error

if TYPE_CHECKING:
    from aiotrack.model.clock import Clock
    from aiotrack.model.tasks import Tasks

    from .user import Track, UserContext

__all__ = ["ThreadsafeTracking"]

Answer = concurrent.futures.Future[TrackResult]


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
    ) -> Answer:
        """Track an event as it is now; return a future of the result."""
        state = self._state
        loop = state.loop
        if not state.takes_no_more and (loop is None or loop.is_closed()):
            raise state_error(state, "track_event_threadsafe")
        answer = Answer()
        user = copy.copy(user)  # with the attributes of now
        with contextlib.suppress(Exception):  # what can't be copied is refused soon enough
            tags = copy.deepcopy(tags)
        event_id = new_event_id() if event_id is None else event_id
        timestamp = milliseconds(self._clock.time()) if timestamp is None else timestamp

        def track() -> TrackResult | Coroutine[Any, Any, TrackResult]:
            return self._track(user, key, tags, event_id, timestamp, wait=True)

        def on_loop() -> None:
            if answer.set_running_or_notify_cancel():
                outcome = _answered(answer, track)
                if outcome is not None:
                    waiting = self._wait(answer, outcome, track)
                    name = "aiotrack track_event_threadsafe"
                    self._tasks.spawn(waiting, name=name, context=contextvars.copy_context())

        if state.takes_no_more or loop is None:  # refused, which needs no loop
            _answered(answer, track)
        else:
            loop.call_soon_threadsafe(on_loop)
        return answer

    async def _wait(self, answer: Answer, outcome: Coroutine[Any, Any, TrackResult], track: Callable[[], Any]) -> None:
        """Hand a coroutine's end to another thread."""
        try:
            result = await outcome
        except asyncio.CancelledError:
            _answered(answer, track)  # the client closes, so this refuses
            raise
        except Exception as exc:  # noqa: BLE001 - it belongs to the thread that waits
            answer.set_exception(exc)
        else:
            answer.set_result(result)


def _answered(
    answer: Answer, track: Callable[[], TrackResult | Coroutine[Any, Any, TrackResult]]
) -> Coroutine[Any, Any, TrackResult] | None:
    """Track, and answer at once if that is possible; else return the coroutine that ends in the answer."""
    try:
        outcome = track()
    except Exception as exc:  # noqa: BLE001 - it belongs to the thread that waits
        answer.set_exception(exc)
        return None
    if isinstance(outcome, TrackResult):
        answer.set_result(outcome)
        return None
    return outcome
