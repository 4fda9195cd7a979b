"""A call that is carried elsewhere: to another thread, another event loop, or out of a list of many."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from .outcome import Outcome
    from .pipeline import Pipeline
    from .user import To, User

__all__ = ["Call"]


@attrs.frozen
class Call:
    """What `track_event` was given, and by whom."""

    user: User
    key: str
    tags: Mapping[str, Any] | None = None
    event_id: str | None = None
    timestamp: int | datetime | None = None
    to: To = None

    def made_at(self, pipeline: Pipeline, wait: float) -> Outcome:
        """Have it tracked, on the client's event loop; its caller may be held for `wait` seconds."""
        return pipeline.track(self.user, self.key, self.tags, self.event_id, self.timestamp, self.to, wait=wait)
