"""Which of a client's events a destination gets, and what it calls them: `only=` and `rename=`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, EventRefused
from .refusal import Problem, Reason, Refusal

if TYPE_CHECKING:
    from .event import Event

__all__ = ["Only", "Rename", "names_of", "predicate_of", "renamed"]

Only = Callable[..., object] | Iterable[str]
"""Event keys, or a predicate of the finalized event."""
Rename = Mapping[str, str]
"""Event keys and tag names of the application, and what a destination calls them."""


def predicate_of(only: Only | None) -> Callable[[Event], object] | None:
    """Return what tells whether an event is one of these; None for all. Raises ConfigError."""
    if only is None:
        return None
    if callable(only):
        if inspect.iscoroutinefunction(only):
            raise ConfigError("only: expected a plain function, got an async one")
        return only
    keys = _texts("only", only, "event keys, or a function of the event")
    return lambda event: event.key in keys


def names_of(rename: Rename | None) -> dict[str, str]:
    """Check names to be put in the place of others. Raises ConfigError."""
    if rename is None:
        return {}
    if not isinstance(rename, Mapping):
        raise ConfigError(f"rename: expected a mapping of names, got {type(rename).__name__}")
    for old, new in rename.items():
        if not (isinstance(old, str) and isinstance(new, str) and new):
            raise ConfigError(f"rename: expected text for text, got {type(old).__name__} and {type(new).__name__}")
    return dict(rename)


def renamed(event: Event, names: Rename) -> Event:
    """Return an event with its key and the names of its tags replaced. Raises EventRefused where two become one."""
    key = names.get(event.key, event.key)
    if names.keys().isdisjoint(event.tags):
        return event if key == event.key else event.replace(key=key)
    tags: dict[str, Any] = {}
    for old, value in event.tags.items():
        new = names.get(old, old)
        if new in tags:
            problem = Problem(f"tags.{new}", "one tag of that name, after rename=", "two")
            raise EventRefused(Refusal.of(Reason.INVALID_TAG, (problem,)))
        tags[new] = value
    return event.replace(key=key, tags=tags)


def _texts(option: str, given: object, expected: str) -> frozenset[str]:
    texts = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else ()
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{option}: expected {expected}, got {type(given).__name__}")
    return frozenset(texts)
