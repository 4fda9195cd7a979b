"""Tracking from other threads: the call is carried to the client's event loop, and its result back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import copy
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from .errors import ClientClosed
from .event import new_event_id
from .result import TrackResult
from .state import State, misuse

if TYPE_CHECKING:
    from .clock import Clock
    from .life import Life
    from .pipeline import Pipeline
    from .user import UserContext

__all__ = ["Threadsafe"]


class Threadsafe:
    """The door for other threads."""

    def __init__(self, pipeline: Pipeline, life: Life, clock: Clock) -> None:
        self._pipeline = pipeline
        self._life = life
        self._clock = clock

    def track(
        self,
        user: UserContext,
        key: str,
        tags: Mapping[str, Any] | None,
        event_id: str | None,
        timestamp: int | None,
    ) -> concurrent.futures.Future[TrackResult]:
        """Track an event as it is now; return a future of the result."""
        loop = self._life.loop
        if loop is None or loop.is_closed() or self._life.state is State.CLOSED:
            raise misuse(self._life.state, "track_event_threadsafe")
        answer: concurrent.futures.Future[TrackResult] = concurrent.futures.Future()
        user = copy.copy(user)  # with the attributes of now
        with contextlib.suppress(Exception):  # what can't be copied is refused soon enough
            tags = copy.deepcopy(tags)
        event_id = new_event_id() if event_id is None else event_id
        timestamp = int(self._clock.time() * 1000 + 0.5) if timestamp is None else timestamp

        def on_loop() -> None:
            if answer.set_running_or_notify_cancel():
                try:
                    outcome = self._pipeline.track(user, key, tags, event_id, timestamp, wait=True)
                except Exception as exc:  # noqa: BLE001 - it belongs to the thread that waits
                    answer.set_exception(exc)
                else:
                    if isinstance(outcome, TrackResult):
                        answer.set_result(outcome)
                    else:
                        self._life.spawn(_into(answer, outcome), name="aiotrack track_event_threadsafe")

        loop.call_soon_threadsafe(on_loop)
        return answer


async def _into(answer: concurrent.futures.Future[TrackResult], outcome: Coroutine[Any, Any, TrackResult]) -> None:
    """Hand a coroutine's end to another thread."""
    try:
        result = await outcome
    except asyncio.CancelledError:
        answer.set_exception(ClientClosed("track_event_threadsafe: the client closed before the event was accepted"))
        raise
    except Exception as exc:  # noqa: BLE001 - it belongs to the thread that waits
        answer.set_exception(exc)
    else:
        answer.set_result(result)
