"""The user context of a `SyncClient`: its calls return results, and need no event loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from aiotrack.model.result import TrackResult
from aiotrack.tracking.call import Call
from aiotrack.tracking.outcome import AS_LONG_AS_IT_TAKES, AT_ONCE
from aiotrack.tracking.user import To, User

__all__ = ["SyncUserContext"]


class SyncUserContext(User):
    """One user, with attributes, for any thread and forked children. Made by `SyncClient.create_user_context`.

    Attributes are copied when the context is made and read when an event is tracked. A context that can't be right (a
    user id that is not text, say) refuses its events with the reason.
    """

    __slots__ = ()

    _track: Callable[[Call, float], TrackResult]

    def track_event(
        self,
        key: str,
        tags: Mapping[str, Any] | None = None,
        *,
        event_id: str | None = None,
        timestamp: int | datetime | None = None,
        to: To = None,
        timeout: float | None = None,
    ) -> TrackResult:
        """Track an event as `UserContext.track_event` does, and wait for the result, at most `timeout` seconds.

        Without a timeout it waits as long as an event may be held; a client that does not answer holds nobody longer
        than `overflow_timeout`. With `strict=True` it raises EventRefused and PluginError.
        """
        user, wait = self, AS_LONG_AS_IT_TAKES
        if timeout is not None:
            user, wait = self.held_for(timeout)
        return self._track(Call(user, key, tags, event_id, timestamp, to), wait)

    def track_event_nowait(
        self,
        key: str,
        tags: Mapping[str, Any] | None = None,
        *,
        event_id: str | None = None,
        timestamp: int | datetime | None = None,
        to: To = None,
    ) -> TrackResult:
        """Track an event without waiting for room or a disk; only for the client's thread to take it."""
        return self._track(Call(self, key, tags, event_id, timestamp, to), AT_ONCE)
