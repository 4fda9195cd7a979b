"""Why an event is not accepted: the reason, and each problem with its path."""

from __future__ import annotations

from enum import StrEnum

import attrs

__all__ = ["CLOSING", "NOT_KNOWN", "NO_CATALOG", "Problem", "Reason", "Refusal"]


NO_CATALOG = "has no datafile or settings document yet"


class Reason(StrEnum):
    """Why an event was refused; the keys of `Stats.refused`. Destinations may add their own words."""

    INVALID_EVENT = "invalid event"
    INVALID_TAG = "invalid tag"
    UNKNOWN_EVENT = "unknown event"
    REFUSED_BY_PLUGIN = "refused by plugin"
    DROPPED_BY_PLUGIN = "dropped by plugin"
    NEEDS_AWAIT = "needs await"
    TOO_LARGE = "too large"
    NOT_READY = "not ready"
    BUFFER_FULL = "buffer full"
    BUFFER_ERROR = "buffer error"
    DESTINATION_ERROR = "destination error"
    CLOSING = "client closing"
    RECURSION = "recursion"
    NO_USER = "no current user"
    NOT_KNOWN = "not known"
    """Nobody waits any longer to be told; the event may yet be accepted, and is not counted as refused."""


@attrs.frozen
class Problem:
    """One thing that is wrong with an event: where, what was expected, what came. Never the value itself.

    With an empty `expected`, `got` is the whole sentence.
    """

    path: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, got {self.got}" if self.expected else f"{self.path}: {self.got}"


@attrs.frozen
class Refusal:
    """Why an event, or one destination's copy of it, was not accepted.

    `reason` is a `Reason` (or a destination's own word) and the key in `Stats.refused`.
    `destination` is None when the whole event was refused; `plugin` names the plugin that refused it.
    """

    reason: str
    message: str
    problems: tuple[Problem, ...] = ()
    destination: str | None = None
    plugin: str | None = None

    @classmethod
    def of(cls, reason: str, problems: tuple[Problem, ...], *, plugin: str | None = None) -> Refusal:
        """Refuse for these problems."""
        return cls(reason, "; ".join(map(str, problems)), problems, plugin=plugin)

    @property
    def path(self) -> str | None:
        """Where the first problem is: `tags.items[2].price`, `user_id`, ..."""
        return self.problems[0].path if self.problems else None

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


CLOSING = Refusal(Reason.CLOSING, "the client takes no more events")
"""Of every event that comes while the client closes, or afterwards."""
NOT_KNOWN = Refusal(Reason.NOT_KNOWN, "whether the event is accepted was not known in time; it may be")
"""Of a call whose caller waits no longer."""
