"""The event: one conversion of one user, as plugins and destinations see it."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypedDict, Unpack

import attrs

from .clock import milliseconds
from .forks import in_child
from .suggestions import near

__all__ = ["NO_TAGS", "Event", "new_event_id"]


class FrozenDict(dict[str, Any]):
    """A dict that stays as it is, so that many events can share it. Copies of it are plain dicts."""

    __slots__ = ()

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        how = "event.replace(attributes={...}) or tags={...}, as attrs.evolve does"
        raise TypeError(f"an event can't be changed: return {how}")

    __setitem__ = __delitem__ = __ior__ = _refuse
    update = setdefault = pop = popitem = clear = _refuse  # pyright: ignore[reportAssignmentType]

    def __reduce__(self) -> tuple[Any, ...]:
        """Have `copy` and `pickle` make a plain dict."""
        return dict, (dict(self),)


class FlatDict(FrozenDict):
    """One whose values are known to be plain JSON scalars."""

    __slots__ = ()


NOTHING_SET: Mapping[str, Any] = FlatDict()
"""`Event.attributes` and `Event.reserved` of an event that has none."""

NO_TAGS: Mapping[str, Any] = FlatDict()
"""`Event.tags` of an event tracked with `tags=None`; equal to `{}`, and told from it by `is`."""


class EventChanges(TypedDict, total=False):
    """What `Event.replace` takes."""

    key: str
    user_id: str
    attributes: Mapping[str, Any]
    tags: Mapping[str, Any]
    reserved: Mapping[str, Any]
    event_id: str
    timestamp: int
    user_agent: str | None
    ip_address: str | None
    session_id: int | str | None


_new = object.__new__

if TYPE_CHECKING:
    from attrs import frozen as event_class
else:
    # Frozen for type checkers, and held so by the testing kit; a guard at run time would cost each event five times
    # what making it costs.
    from attrs import define as event_class


@event_class(weakref_slot=False)
class Event:
    """One conversion: this user did this, worth this much. Never write to it: `event.replace(...)` makes another.

    `tags` and `attributes` map names to JSON values. `reserved` holds the reserved tags that were
    valid, converted (`{"revenue": 4200, "value": 13.5}`; also as `event.revenue` and `event.value`); the raw ones stay
    in `tags`.
    `timestamp` is in Unix milliseconds; the default is now.
    """

    key: str
    user_id: str
    attributes: Mapping[str, Any] = attrs.field(default=NOTHING_SET, repr=False)
    tags: Mapping[str, Any] = attrs.field(default=NO_TAGS, repr=False)
    reserved: Mapping[str, Any] = attrs.field(default=NOTHING_SET, repr=False)
    event_id: str = attrs.field(factory=lambda: new_event_id())  # noqa: PLW0108 - it is defined below
    timestamp: int = attrs.field(factory=lambda: milliseconds(time.time()))
    user_agent: str | None = attrs.field(default=None, repr=False)
    ip_address: str | None = attrs.field(default=None, repr=False)
    session_id: int | str | None = attrs.field(default=None, repr=False)

    def replace(self, **changes: Unpack[EventChanges]) -> Event:
        """Return another event, with some fields changed: `event.replace(tags={**event.tags, "region": "eu"})`.

        As `attrs.evolve`, at a quarter of its price. Raises TypeError for what is no field.
        """
        made = _new(Event)
        event: Any = made
        event.key = self.key
        event.user_id = self.user_id
        event.attributes = self.attributes
        event.tags = self.tags
        event.reserved = self.reserved
        event.event_id = self.event_id
        event.timestamp = self.timestamp
        event.user_agent = self.user_agent
        event.ip_address = self.ip_address
        event.session_id = self.session_id
        for name, value in changes.items():
            try:
                setattr(event, name, value)
            except AttributeError:
                fields = [field.name for field in attrs.fields(Event)]
                raise TypeError(f"an event has no field {name!r}; {near(name, fields)}") from None
        return made

    @property
    def revenue(self) -> int | None:
        """What the event is worth in minor units (cents), where the tag `revenue` is valid."""
        revenue: int | None = self.reserved.get("revenue")
        return revenue

    @property
    def value(self) -> float | None:
        """The event's number, where the tag `value` is valid."""
        value: float | None = self.reserved.get("value")
        return value

    def __repr__(self) -> str:
        """Name the event without its payload or its user."""
        return f"<Event {self.key!r} {self.event_id}>"


_ENDS = tuple(f"{number:02x}" for number in range(256))
_ids: deque[str] = deque()


def _refill_ids() -> None:
    # A pool shares 114 random bits and has all ends: as unlikely to repeat as any random id, at a tenth of the cost.
    shared = str(uuid.uuid4())[:-2]
    _ids.extend([shared + end for end in _ENDS])


# A forked child must not hand out the ids that its parent will.
in_child(_ids.clear)


def new_event_id() -> str:
    """Return a random UUID (version 4) as lower-case text with dashes."""
    while True:
        try:
            return _ids.popleft()
        except IndexError:
            _refill_ids()
