"""The plugin: brings a checker for each event of the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import attrs
import jsonschema_rs

import aiotrack
from aiotrack import Problem
from aiotrack.errors import ConfigError
from aiotrack.extension import get_logger

from .checker import Checker
from .classes import schema_of
from .grammar import DIALECT, Mode, Unlisted
from .plan import EventPlan, Plan
from .typed import Event

__all__ = ["Schema"]

E = TypeVar("E", bound=StrEnum)

logger = get_logger("aiotrack.schema")

MOST_WARNINGS = 1024  # different ones that are remembered; the keys of unlisted events come from outside


class Schema:
    """Check every event against a tracking plan, when it is tracked.

    `sources` are plans (a file's path or a mapping) and subclasses of `Event`; `classes` maps the keys of events to
    attrs classes, dataclasses or TypedDicts. An event that two of them describe is an error. `mode` ("refuse",
    "warn" or "off") holds where neither plan nor event says; so does `unlisted` ("allow", "warn" or "refuse") for
    events that nobody describes. Values are in no message, unless `show_values=True`, for development; those of
    properties marked private never are. Raises ConfigError for a plan that is wrong, with the path.
    """

    def __init__(
        self,
        *sources: str | Path | Mapping[str, Any] | type[Event],
        classes: Mapping[str, type] | None = None,
        mode: str = "refuse",
        unlisted: str = "allow",
        show_values: bool = False,
        name: str = "schema",
    ) -> None:
        self.name = name
        self.events: dict[str, EventPlan] = {}
        self._known = aiotrack.Catalog("", self.events)
        """What is known of each event, by key."""
        self.warnings: Counter[str] = Counter()
        """Problems that `warn` has let pass, by event key."""
        self._warned: set[tuple[str, str, str]] = set()
        default, rest = _word(Mode, "mode", mode), _word(Unlisted, "unlisted", unlisted)
        for source in sources:
            if isinstance(source, type):
                if not issubclass(source, Event):
                    raise ConfigError(f"{source.__name__}: no subclass of Event; classes={{KEY: {source.__name__}}}")
                plan = Plan({source.event_key: EventPlan(source.event_key, schema_of(source), source.event_mode)})
            else:
                plan = Plan.load(source)
            rest = plan.unlisted or rest
            for event in plan.events.values():
                self._add(attrs.evolve(event, mode=event.mode or plan.mode or default))
        for key, kind in (classes or {}).items():
            self._add(EventPlan(key, {"$schema": DIALECT, **schema_of(kind)}, default))
        self._unlisted = rest
        self._checkers = {
            event.key: self._checker(event, show_values) for event in self.events.values() if event.mode is not Mode.OFF
        }
        if rest is Unlisted.ALLOW:  # a hook that is None is none
            self.aiotrack_check_event = None  # type: ignore[method-assign, assignment]  # pyright: ignore[reportAttributeAccessIssue]

    def __repr__(self) -> str:
        return f"<Schema {self.name!r}: {len(self.events)} events>"

    def _add(self, event: EventPlan) -> None:
        if event.key in self.events:
            raise ConfigError(f"events.{event.key}: described twice")
        self.events[event.key] = event

    def _checker(self, event: EventPlan, show_values: bool) -> Any:
        try:
            checker = Checker(event.schema, show_values=show_values)
        except (ValueError, jsonschema_rs.ValidationError) as exc:  # of a class: a plan was looked over before
            raise ConfigError(f"events.{event.key}: {str(exc).splitlines()[0]}") from exc
        return checker if event.mode is Mode.REFUSE else _Warning(event.key, checker, self._warn)

    @aiotrack.hookimpl
    def aiotrack_event_schemas(self) -> dict[str, Any]:
        """Bring the checkers."""
        return self._checkers

    @aiotrack.hookimpl
    def aiotrack_check_event(self, event: aiotrack.Event) -> Problem | None:
        """Look for events that nobody describes."""
        if event.key in self.events:
            return None
        got = f"one that it does not list{self._known.suggestion(event.key)}"
        problem = Problem("key", "an event of the tracking plan", got)
        if self._unlisted is Unlisted.REFUSE:
            return problem
        self._warn(event.key[:100], problem)
        return None

    def _warn(self, key: str, problem: Problem) -> None:
        if key in self.warnings or len(self.warnings) < MOST_WARNINGS:
            self.warnings[key] += 1
        what = (key, problem.path, problem.expected)
        if what not in self._warned and len(self._warned) < MOST_WARNINGS:
            self._warned.add(what)
            logger.warning("event %r does not fit its schema: %s", key, problem)


class _Warning:
    """A checker whose problems refuse nothing."""

    def __init__(self, key: str, checker: Checker, warn: Callable[[str, Problem], None]) -> None:
        self._key = key
        self._checker = checker
        self._warn = warn

    def check(self, tags: Mapping[str, Any], /) -> tuple[Problem, ...]:
        """Say what is wrong, and let the event pass."""
        for problem in self._checker.check(tags):
            self._warn(self._key, problem)
        return ()


def _word(kind: type[E], key: str, word: str) -> E:
    try:
        return kind(word)
    except ValueError:
        raise ConfigError(f"{key}: expected one of {', '.join(list(kind))}, got {word!r}") from None
