"""The built-in plugin: the two reserved tags, `revenue` and `value`."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from aiotrack.model.markers import hookimpl
from aiotrack.model.refusal import Problem
from aiotrack.model.values import kind_of

if TYPE_CHECKING:
    from aiotrack.model.event import Event

__all__ = ["BUILT_IN", "EventSchema", "ReservedTag", "StrictTags", "Tags"]


@attrs.frozen
class ReservedTag:
    """A tag with a meaning of its own.

    `convert` takes the raw value and returns the one to report, or raises TypeError or ValueError; the
    tag is then left as an ordinary one, and a warning says what was `expected`. `place` is the name
    of its field in `Event.reserved`; the default is the tag's own key.
    """

    convert: Callable[[Any], Any]
    expected: str
    place: str | None = None


class EventSchema(Protocol):
    """What `aiotrack_event_schemas` gives for an event key."""

    def check(self, tags: Mapping[str, Any], /) -> Iterable[Problem]:
        """Return the problems of these tags; none when they fit."""
        ...


def _revenue(raw: object) -> int:
    if type(raw) is int:
        return raw
    if isinstance(raw, numbers.Integral) and not isinstance(raw, bool):
        return int(raw)
    raise TypeError


def _value(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):  # a union would be made anew each time
        raise TypeError
    number = float(raw)
    if not math.isfinite(number):
        raise ValueError
    return number


BUILT_IN: Mapping[str, ReservedTag] = {
    "revenue": ReservedTag(_revenue, "an integer in minor units (4200 for 42.00)"),
    "value": ReservedTag(_value, "a finite number"),
}
"""The reserved tags that every client has, unless it blocks the plugin `tags`."""


class Tags:
    """Promote `revenue` and `value`.

    The rules of promotion are those of Optimizely's Python SDK 5.7.0: `revenue` is an integer in minor
    units (cents), never a bool; `value` is a finite number, or text that `float()` takes. Block the
    plugin by its name, `tags`.
    """

    name = "tags"

    @hookimpl
    def aiotrack_reserved_tags(self) -> dict[str, ReservedTag]:
        """Reserve `revenue` and `value`."""
        return dict(BUILT_IN)


class StrictTags(Tags):
    """Refuse an event whose `revenue` or `value` would stay an ordinary tag, as `strict=True` has it."""

    @hookimpl
    def aiotrack_check_event(self, event: Event) -> list[Problem]:
        """Name the reserved tags that have no value of theirs."""
        return [
            Problem(f"tags.{name}", tag.expected, kind_of(event.tags[name]))
            for name, tag in BUILT_IN.items()
            if name in event.tags and name not in event.reserved
        ]
