"""The current user: whom a request, a task or a message is for, so that code deep below it need not be told."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import time
from collections.abc import Generator, Mapping
from datetime import datetime
from typing import Any, TypeVar, cast

from aiotrack.model.event import new_event_id
from aiotrack.model.log import EpisodeLog
from aiotrack.model.refusal import Reason, Refusal
from aiotrack.model.result import TrackResult
from aiotrack.model.values import is_a, kind_of, text_of

from .context import UserContext
from .user import To, User

__all__ = ["current_user", "track_event", "use_user"]

NO_USER = Refusal(Reason.NO_USER, "none is set where this is called: `with aiotrack.use_user(user):`")
MOST_LINES = 30  # a minute

AnyUser = TypeVar("AnyUser", bound=User | None)

_current: contextvars.ContextVar[User | None] = contextvars.ContextVar("aiotrack_user", default=None)
_log = EpisodeLog(time.monotonic)


def current_user() -> UserContext | None:
    """Return the user that `use_user` has set here, or None.

    A task, a callback and `asyncio.to_thread` have that of whoever started them, as it was then; a bare thread has
    none. Where the user is a `SyncClient`'s, so is the context: its calls need no `await`.
    """
    return cast("UserContext | None", _current.get())


@contextlib.contextmanager
def use_user(user: AnyUser) -> Generator[AnyUser]:
    """Make a user the current one in a `with` block; None is nobody. Raises TypeError for anything else.

    A generator runs in the context of whoever iterates over it: what it sets would be set there, too, while it waits at
    a `yield`. So set the user around the loop, and not in the generator.
    """
    if user is not None and not isinstance(user, User):
        raise TypeError(f"use_user: expected a user context or None, got {kind_of(user)}")
    token = _current.set(user)
    try:
        yield user
    finally:
        with contextlib.suppress(ValueError):  # a generator that nobody finished ends in another context than its own
            _current.reset(token)


async def track_event(
    key: str,
    tags: Mapping[str, Any] | None = None,
    *,
    event_id: str | None = None,
    timestamp: int | datetime | None = None,
    to: To = None,
    timeout: float | None = None,
) -> TrackResult:
    """Track an event as the current user, as `UserContext.track_event` does; refused without one: "no current user"."""
    user: Any = _current.get()
    if user is not None:
        outcome = user.track_event(key, tags, event_id=event_id, timestamp=timestamp, to=to, timeout=timeout)
        result: TrackResult = (
            outcome if isinstance(outcome, TrackResult) else await outcome
        )  # of a SyncClient's, or not
        return result
    shown = text_of(key)[:100] if is_a(key, str) else kind_of(key)
    _log.one_of(MOST_LINES, logging.WARNING, "no user", shown, "event %r refused: %s", shown, NO_USER)
    return TrackResult(key, new_event_id() if event_id is None else event_id, (), {"client": NO_USER})
