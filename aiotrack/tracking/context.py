"""The user context: who did it, held by a request handler or a bot for as long as it needs; the calls that track."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Coroutine, Mapping
from datetime import datetime
from typing import Any, Protocol

from aiotrack.model.errors import WrongLoop
from aiotrack.model.result import TrackResult

from .call import Call
from .outcome import AS_LONG_AS_IT_TAKES, AT_ONCE
from .user import To, User

__all__ = ["Track", "TrackElsewhere", "UserContext"]


class Track(Protocol):
    """What tracks a user's events: `Pipeline.track`."""

    def __call__(  # noqa: D102
        self,
        user: User,
        key: str,
        tags: Mapping[str, Any] | None,
        event_id: str | None,
        timestamp: int | datetime | None,
        to: To,
        *,
        wait: float,
    ) -> TrackResult | Coroutine[Any, Any, TrackResult]: ...


class TrackElsewhere(Protocol):
    """What tracks a user's events from other threads and event loops: `ThreadsafeTracking`."""

    def track(self, call: Call) -> concurrent.futures.Future[TrackResult]: ...  # noqa: D102

    def track_from_another_loop(self, call: Call, wait: float) -> Coroutine[Any, Any, TrackResult]: ...  # noqa: D102


class UserContext(User):
    """One user, with attributes. Made by `Client.create_user_context`; cheap, and bound to its client.

    Attributes are copied when the context is made and read when an event is tracked. A context that
    can't be right (a user id that is not text, say) refuses its events with the reason.
    """

    __slots__ = ()

    _track: Track
    _elsewhere: TrackElsewhere

    async def track_event(
        self,
        key: str,
        tags: Mapping[str, Any] | None = None,
        *,
        event_id: str | None = None,
        timestamp: int | datetime | None = None,
        to: To = None,
        timeout: float | None = None,
    ) -> TrackResult:
        """Track an event, and return once every destination has accepted or refused it.

        `tags` maps names to JSON values, or what stands for them (docs/values.md); `revenue` is an integer in minor
        units, `value` a number. `event_id` is for an event that has an id already (default: a new UUID); `timestamp` is
        in Unix milliseconds, or an aware datetime (default: now). `to` is a destination's name, or several, and then
        the others don't get the event; an option of theirs, `only`, counts all the same.

        Waits only where a buffer is full and its destination takes events, while a durable buffer writes, and for async
        plugins. While the client closes, and afterwards, every event is refused: "client closing". On another event
        loop than the client's the call is taken over to that, and refused where it does not get there within
        `overflow_timeout`.

        `timeout` is for how many seconds this call may be held, whatever it waits for. Then what had no room is refused
        with "buffer full"; what a durable buffer still writes, or a plugin still enriches, goes on, and under that
        destination the result says "not known".

        Raises NotStarted, and WrongLoop where the client's event loop does not run; with `strict=True` also
        EventRefused and PluginError.
        """
        user, wait = self, AS_LONG_AS_IT_TAKES
        if timeout is not None:
            user, wait = self.held_for(timeout)
        track = self._track  # a local: CPython 3.11 is slow to call what is in an attribute and no method
        try:
            outcome = track(user, key, tags, event_id, timestamp, to, wait=wait)
        except WrongLoop:
            call = Call(user, key, tags, event_id, timestamp, to)
            outcome = self._elsewhere.track_from_another_loop(call, wait)
        return outcome if isinstance(outcome, TrackResult) else await outcome

    def track_event_nowait(
        self,
        key: str,
        tags: Mapping[str, Any] | None = None,
        *,
        event_id: str | None = None,
        timestamp: int | datetime | None = None,
        to: To = None,
    ) -> TrackResult:
        """Track an event without waiting for anything: refused with "buffer full" where there is no room.

        With a durable buffer the event is accepted before it is committed. Must be called on the client's
        event loop; from another thread use `track_event_threadsafe`.
        """
        outcome = self._track(self, key, tags, event_id, timestamp, to, wait=AT_ONCE)
        assert isinstance(outcome, TrackResult)  # noqa: S101 - what AT_ONCE means
        return outcome

    def track_event_threadsafe(
        self,
        key: str,
        tags: Mapping[str, Any] | None = None,
        *,
        event_id: str | None = None,
        timestamp: int | datetime | None = None,
        to: To = None,
    ) -> concurrent.futures.Future[TrackResult]:
        """Track an event from another thread, as `track_event` does on the client's loop.

        Returns at once, with a future of the result; id, time and tags are those of the call. Waiting for
        the future on the loop's own thread would never end.
        """
        return self._elsewhere.track(Call(self, key, tags, event_id, timestamp, to))
