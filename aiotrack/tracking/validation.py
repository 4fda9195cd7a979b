"""What refuses an event everywhere, and which of its tags are reserved: frozen when a client is made."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import attrs

from aiotrack.hooks.answers import WrongAnswer, converted, problems_of
from aiotrack.hooks.budget import OverBudget, whole
from aiotrack.hooks.reserved_tags import ReservedTag, Tags
from aiotrack.model.encoding import find_problems
from aiotrack.model.errors import ConfigError, PluginError
from aiotrack.model.event import NO_TAGS, Event
from aiotrack.model.refusal import Problem, Reason, Refusal
from aiotrack.model.suggestions import near
from aiotrack.model.tasks import PLUGIN_ERRORS, reraise_exit
from aiotrack.model.values import is_a, kind_of, text_of

if TYPE_CHECKING:
    from aiotrack.hooks.plugins import Call, Plugins
    from aiotrack.lanes.lane import Lane
    from aiotrack.model.log import EpisodeLog

__all__ = ["UNREADABLE", "Validation", "copied", "lanes_named", "malformed", "unencodable"]

UNREADABLE = object()
"""In place of tags whose own methods raise."""

SECONDS = range(1_000_000_000, 100_000_000_000)  # 2001 to 5138; as milliseconds, the first three years after 1970


class Validation:
    """The checks, schemas and reserved tags of all plugins."""

    def __init__(self, plugins: Plugins, log: EpisodeLog) -> None:
        self._plugins = plugins
        self._log = log
        self._checks = plugins.calls["aiotrack_check_event"]
        self._reserved_by: dict[str, str] = {}  # plugins, by the key of a reserved tag
        self._reserved = tuple(self._collect_reserved().items())
        self._schemas = self._collect_schemas()
        self.any_checks = bool(self._checks or self._schemas)

    def _collect_reserved(self) -> dict[str, ReservedTag]:
        reserved: dict[str, ReservedTag] = {}
        taken = {field.name for field in attrs.fields(Event)} | {"event"}
        for plugin, key, tag in self._collect("aiotrack_reserved_tags"):
            if not isinstance(tag, ReservedTag):
                raise PluginError(
                    f"plugin {plugin!r}: reserved tag {key!r} must be a ReservedTag, got {type(tag).__name__}"
                )
            if (tag.place or key) in taken:
                raise ConfigError(f"reserved tag {key!r} of plugin {plugin!r}: its place is an event's own field")
            if not isinstance(key, str) or not key:
                raise PluginError(f"plugin {plugin!r}: a reserved tag's key must be text, got {type(key).__name__}")
            if plugin != Tags.name:
                convert = self._plugins.timed(plugin, f"the conversion of {key!r}", converted(tag.convert))
                tag = attrs.evolve(tag, convert=convert)  # noqa: PLW2901
            if reserved.setdefault(key, tag) is tag:
                self._reserved_by[key] = plugin
        return reserved

    def _collect_schemas(self) -> dict[str, list[Call]]:
        schemas: dict[str, list[Call]] = {}
        for plugin, key, schema in self._collect("aiotrack_event_schemas"):
            if not callable(getattr(schema, "check", None)):
                kind = type(schema).__name__
                raise PluginError(f"plugin {plugin!r}: the schema of {key!r} must have check(tags), got {kind}")
            check = self._plugins.timed(plugin, "aiotrack_event_schemas", whole(schema.check))
            schemas.setdefault(key, []).append((plugin, check))
        return schemas

    def _collect(self, hook: str) -> Iterable[tuple[str, str, Any]]:
        for plugin, function in self._plugins.calls[hook]:
            try:
                found = dict(function() or {})
            except PLUGIN_ERRORS as exc:
                self._plugins.failed(plugin, hook, exc)
            else:
                yield from ((plugin, key, value) for key, value in found.items())

    def reserve(self, key: str, tags: Mapping[str, Any]) -> dict[str, Any]:
        """Return the reserved tags that are valid, converted, under their places."""
        reserved: dict[str, Any] = {}
        for name, tag in self._reserved:
            if name in tags:
                convert = tag.convert
                try:
                    reserved[tag.place or name] = convert(tags[name])
                except OverBudget:
                    raise
                except WrongAnswer as exc:
                    self._plugins.failed(self._reserved_by[name], "aiotrack_reserved_tags", exc)
                except PLUGIN_ERRORS as exc:  # whatever it raises, the tag has no such value
                    reraise_exit(exc)
                    self._log.once(
                        logging.WARNING,
                        ("reserved", name, key),
                        "tag %r of event %r stays an ordinary tag: expected %s, got %s",
                        *(name, key, tag.expected, type(tags[name]).__name__),
                    )
        return reserved

    def check_changed(self, event: Event) -> Refusal | None:
        """Return why an event that plugins changed is refused, as one that a caller brought would be, or None."""
        return self.check_finalized(event) or self.check(event)

    @staticmethod
    def check_finalized(event: Event) -> Refusal | None:
        """Return why a finalized event can't be sent, or None; it need not fit a schema any more."""
        problem = malformed(event.key, event.user_id, event.tags, event.event_id, event.timestamp)
        return None if problem is None else Refusal.of(Reason.INVALID_EVENT, (problem,))

    def check(self, event: Event) -> Refusal | None:
        """Return why the event is refused by every destination, or None."""
        for name, check in self._checks:
            try:
                found = check(event)
                if found is not None and (problems := problems_of(found)):
                    return _refused_by(name, problems)
            except PLUGIN_ERRORS as exc:
                self._plugins.failed(name, "aiotrack_check_event", exc)
        return self._check_schemas(event) if self._schemas else None

    def _check_schemas(self, event: Event) -> Refusal | None:
        for name, check in self._schemas.get(event.key, ()):
            try:
                if problems := problems_of(check(event.tags)):
                    return _refused_by(name, problems)
            except PLUGIN_ERRORS as exc:
                self._plugins.failed(name, "aiotrack_event_schemas", exc)
        return None


def malformed(key: object, user_id: object, tags: object, event_id: object, timestamp: object) -> Problem | None:
    """Return what is wrong with an event itself, apart from its tags' values."""
    plain = type(key) is str and type(user_id) is str and type(event_id) is str and type(timestamp) is int
    is_dict = type(tags) is dict or tags is NO_TAGS
    if plain and is_dict and key and event_id and timestamp not in SECONDS:
        return None
    return _what_is_wrong(key, user_id, tags, event_id, timestamp)


def _what_is_wrong(key: object, user_id: object, tags: object, event_id: object, timestamp: Any) -> Problem | None:
    if not (is_a(key, str) and key):
        return Problem("key", "a non-empty str", "an empty one" if is_a(key, str) else kind_of(key))
    if not is_a(user_id, str):
        return Problem("user_id", "a str", kind_of(user_id))
    if not is_a(tags, dict):
        return Problem("tags", "a mapping or None", "one that can't be read" if tags is UNREADABLE else kind_of(tags))
    if not (is_a(event_id, str) and event_id):
        return Problem("event_id", "a non-empty str", "an empty one" if is_a(event_id, str) else kind_of(event_id))
    if type(timestamp) is not int:
        return Problem("timestamp", "an integer (Unix milliseconds) or an aware datetime", _kind_of_time(timestamp))
    if timestamp in SECONDS:
        return Problem("timestamp", "Unix milliseconds", "seconds, by its size: multiply it by 1000")
    return None


def _kind_of_time(timestamp: object) -> str:
    return "a naive datetime" if is_a(timestamp, datetime) else kind_of(timestamp)


def _refused_by(plugin: str, problems: tuple[Problem, ...]) -> Refusal:
    reason = Reason.INVALID_TAG if problems[0].path.startswith("tags") else Reason.REFUSED_BY_PLUGIN
    return Refusal.of(reason, problems, plugin=plugin)


def unencodable(event: Event) -> tuple[Problem, ...]:
    """Find what made a destination's encoding of an event fail; empty when it is not the event's fault."""
    names = ("key", "user_id", "event_id", "timestamp", "user_agent", "ip_address", "session_id")
    found = [*find_problems(event.tags, "tags"), *find_problems(event.attributes, "attributes")]
    for name in names:
        found += find_problems(getattr(event, name), name)
    return tuple(found)


def copied(tags: Any) -> Any:
    """Copy a mapping; what is none stays as it is, and is refused."""
    if not is_a(tags, Mapping):
        return tags
    try:
        return dict(dict.items(tags)) if is_a(tags, dict) else dict(tags)
    except Exception:  # noqa: BLE001 - foreign code
        return UNREADABLE


def lanes_named(to: object, lanes: tuple[Lane, ...]) -> tuple[tuple[Lane, ...], Problem | None]:
    """Return those of the lanes that have these names, or one of them; and what is wrong with the names."""
    try:
        names = {to} if is_a(to, str) else set(cast("Iterable[object]", to))
        unknown = names.difference(lane.name for lane in lanes)
    except Exception:  # noqa: BLE001 - whatever a caller gives
        return (), Problem("to", "a destination's name or names", kind_of(to))
    if not unknown:
        return tuple(lane for lane in lanes if lane.name in names), None
    name = unknown.pop()
    if not is_a(name, str):
        return (), Problem("to", "a destination's name or names", f"one of {kind_of(name)}")
    text = text_of(name)[:100]
    return (), Problem("to", "", f"there is no destination {text!r}; {near(text, [lane.name for lane in lanes])}")
