"""What was tracked during a test, and assertions about it in plain words."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

import attrs

from aiotrack.model.event import Event
from aiotrack.model.refusal import Refusal

from .time import until

__all__ = ["Tracked"]

FIELDS = {field.name for field in attrs.fields(Event)} - {"key"}
NOTHING = object()


class Tracked:
    """The events of a test, in order, as listeners heard of them: accepted by at least one destination.

    Words are tags, by the value that the caller gave or that a reserved tag became: `tracked.one("purchase",
    revenue=4200)`. `user_id`, `event_id`, `timestamp`, `user_agent`, `ip_address`, `session_id`, `attributes`,
    `tags` and `reserved` are the event's own fields. Any value with an `==` of its own fits, `pytest.approx` say.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.refused: list[tuple[Event, Refusal]] = []

    def add(self, event: Event) -> None:
        """Keep an event as it is now: the caller may go on with its lists."""
        self.events.append(attrs.evolve(event, tags=copy.deepcopy(event.tags)))

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def __repr__(self) -> str:
        return f"<Tracked: {_counted(self.events)}>"

    def all(self, key: str | None = None, /, **expected: Any) -> list[Event]:
        """Return the events with this key and these words."""
        return [event for event in self.events if key in {None, event.key} and not _differences(event, expected)]

    def one(self, key: str, /, **expected: Any) -> Event:
        """Return the only event with this key and these words; raise AssertionError when there is none, or more."""
        __tracebackhide__ = True
        found = self.all(key, **expected)
        if len(found) == 1:
            return found[0]
        if found:
            raise AssertionError(f"expected one {_wanted(key, expected)}, and {_listed(found)}")
        raise AssertionError(self._why_none(key, expected))

    def none(self, key: str | None = None, /, **expected: Any) -> None:
        """Raise AssertionError when there is an event with this key and these words."""
        __tracebackhide__ = True
        found = self.all(key, **expected)
        if found:
            raise AssertionError(f"expected no {_wanted(key, expected)}, and {_listed(found)}")

    async def wait_for(self, key: str, /, *, timeout: float = 10.0, **expected: Any) -> Event:
        """Wait until there is an event with this key and these words, at most `timeout` seconds; return the first."""
        __tracebackhide__ = True
        try:
            await until(lambda: bool(self.all(key, **expected)), timeout=timeout)
        except TimeoutError:
            raise AssertionError(f"after {timeout:g} s: {self._why_none(key, expected)}") from None
        return self.all(key, **expected)[0]

    def clear(self) -> None:
        """Forget everything so far."""
        self.events.clear()
        self.refused.clear()

    def _why_none(self, key: str, expected: dict[str, Any]) -> str:
        lines = [f"no {_wanted(key, expected)} was tracked"]
        same = [event for event in self.events if event.key == key]
        if same:
            closest = min(same, key=lambda event: len(_differences(event, expected)))
            lines[0] += f"; of {len(same)} with that key the closest differs:"
            lines += [f"  {difference}" for difference in _differences(closest, expected)]
        else:
            lines[0] += f"; tracked: {_counted(self.events)}"
        lines += [f"  refused: {event.key!r}: {refusal}" for event, refusal in self.refused if event.key == key]
        return "\n".join(lines)


def _differences(event: Event, expected: dict[str, Any]) -> list[str]:
    return [
        f"{word}: expected {value!r}, got {_got(event, word)}"
        for word, value in expected.items()
        if not any(candidate is not NOTHING and value == candidate for candidate in _values(event, word))
    ]


def _values(event: Event, word: str) -> tuple[Any, ...]:
    """Return what may be meant by a word."""
    if word in FIELDS:
        return (getattr(event, word),)
    return event.tags.get(word, NOTHING), event.reserved.get(word, NOTHING)


def _got(event: Event, word: str) -> str:
    values = [value for value in _values(event, word) if value is not NOTHING]
    return repr(values[0]) if values else "nothing"


def _wanted(key: str | None, expected: dict[str, Any]) -> str:
    words = ", ".join(f"{word}={value!r}" for word, value in expected.items())
    return f"{'event' if key is None else repr(key)}{' with ' if words else ''}{words}"


def _listed(events: list[Event]) -> str:
    lines = (f"  {event.key!r} of {event.user_id!r}: {dict(event.tags)!r}" for event in events)
    return "\n".join([f"{len(events)} were tracked:", *lines])


def _counted(events: list[Event]) -> str:
    counted = Counter(event.key for event in events)
    return ", ".join(f"{key!r} x {count}" for key, count in counted.items()) or "nothing"
