"""What happens to one event, in order: made, checked, processed, encoded for each lane, announced.

Everything up to the buffers is one synchronous stretch, so a call that neither waits for room nor for
an async plugin never gives up the event loop, except now and then to let others run.
"""

from __future__ import annotations

import asyncio
import logging
import concurrent.futures
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from .encoding import find_problems
from .errors import BufferFull, ConfigError, EventRefused
from .event import NO_TAGS, Event, Problem, Reason, Refusal, new_event_id
from .result import TrackResult
from .state import State, misuse

if TYPE_CHECKING:
    from .clock import Clock
    from .lane import Lane
    from .log import EpisodeLog
    from .plugins import Plugins
    from .settings import Settings
    from .tags import EventSchema, ReservedTag
    from .user import UserContext

__all__ = ["Pipeline", "Track", "TrackThreadsafe"]

BREATH = 256  # calls in one stretch before the event loop gets a turn

_CLOSING = Refusal(Reason.CLOSING, "the client takes no more events")

TrackThreadsafe = Callable[
    ["UserContext", str, "Mapping[str, Any] | None", "str | None", "int | None"],
    "concurrent.futures.Future[TrackResult]",
]


class Track(Protocol):
    """`Pipeline.track`, as a user context holds it."""

    def __call__(  # noqa: D102
        self,
        user: UserContext,
        key: str,
        tags: Mapping[str, Any] | None,
        event_id: str | None,
        timestamp: int | None,
        *,
        wait: bool,
    ) -> TrackResult | Coroutine[Any, Any, TrackResult]: ...


Numbers = list[tuple["Lane", "int | asyncio.Future[int]"]]
Refusals = dict[str, Refusal]


class Pipeline:
    """The way of every event of one client. Frozen at start; only listeners may still change."""

    def __init__(self, plugins: Plugins, settings: Settings, clock: Clock, log: EpisodeLog) -> None:
        self.state = State.NEW
        self.lanes: tuple[Lane, ...] = ()
        self.refused: dict[str, int] = {}
        self._plugins = plugins
        self._strict = settings.strict
        self._plugin_timeout = settings.plugin_timeout
        self._time = clock.time
        self._log = log
        self._calls = 0
        self._checks = plugins.calls("aiotrack_check_event")
        self._processes = plugins.calls("aiotrack_process_event")
        self._enrichments = plugins.calls("aiotrack_enrich_event")
        self._reserved = self._collect_reserved()
        self._schemas = self._collect_schemas()

    # -- at start -----------------------------------------------------------------------------------

    def _collect_reserved(self) -> dict[str, ReservedTag]:
        reserved: dict[str, ReservedTag] = {}
        fields = {field.name for field in attrs.fields(Event)} | {"event"}
        for plugin, function in self._plugins.calls("aiotrack_reserved_tags"):
            for key, tag in self._collect(plugin, "aiotrack_reserved_tags", function).items():
                if (tag.place or key) in fields:
                    raise ConfigError(f"reserved tag {key!r} of plugin {plugin!r}: its place is an event's own field")
                reserved.setdefault(key, tag)
        return reserved

    def _collect_schemas(self) -> dict[str, tuple[tuple[str, EventSchema], ...]]:
        schemas: dict[str, tuple[tuple[str, EventSchema], ...]] = {}
        for plugin, function in self._plugins.calls("aiotrack_event_schemas"):
            for key, schema in self._collect(plugin, "aiotrack_event_schemas", function).items():
                schemas[key] = (*schemas.get(key, ()), (plugin, schema))
        return schemas

    def _collect(self, plugin: str, hook: str, function: Callable[[], Any]) -> Mapping[str, Any]:
        try:
            return dict(function() or {})
        except Exception as exc:  # noqa: BLE001 - a plugin is foreign code
            self._plugins.failed(plugin, hook, exc)
            return {}

    # -- per event ----------------------------------------------------------------------------------

    def track(
        self,
        user: UserContext,
        key: str,
        tags: Mapping[str, Any] | None,
        event_id: str | None,
        timestamp: int | None,
        *,
        wait: bool,
    ) -> TrackResult | Coroutine[Any, Any, TrackResult]:
        """Take one event in. Returns the result, or a coroutine that ends in it where something must be awaited."""
        state = self.state
        if state is not State.STARTED and state is not State.CLOSING:
            raise misuse(state, "track_event")
        if tags is None:
            own_tags = NO_TAGS
        elif type(tags) is dict:
            own_tags = tags.copy()
        else:
            own_tags = dict(tags) if isinstance(tags, Mapping) else tags  # pyright: ignore[reportUnnecessaryIsInstance]
        event = Event(
            key,
            user.user_id,
            user.snapshot,
            own_tags,
            self._reserve(key, own_tags) if own_tags and type(own_tags) is dict else {},
            new_event_id() if event_id is None else event_id,
            int(self._time() * 1000 + 0.5) if timestamp is None else timestamp,
            user.user_agent,
            user.ip_address,
            user.session_id,
        )
        refusal = self._check(event, user.problem) if state is State.STARTED else _CLOSING
        if refusal is not None:
            return self._refuse(event, refusal)
        for name, process in self._processes:
            try:
                changed = process(event)
            except Exception as exc:  # noqa: BLE001 - a plugin is foreign code
                self._plugins.failed(name, "aiotrack_process_event", exc)
                continue
            if changed is not event:
                refusal, event = self._changed(event, changed, name)
                if refusal is not None:
                    return self._refuse(event, refusal)
        if self._enrichments:
            if not wait:
                message = "a plugin must await (aiotrack_enrich_event): use `await track_event(...)`"
                return self._refuse(event, Refusal(Reason.NEEDS_AWAIT, message))
            return self._enrich(event)
        return self._admit(event, wait=wait)

    def _reserve(self, key: str, tags: Mapping[str, Any]) -> dict[str, Any]:
        """Return the reserved tags that are valid, converted, under their places."""
        reserved: dict[str, Any] = {}
        for tag_key, tag in self._reserved.items():
            if tag_key in tags:
                try:
                    reserved[tag.place or tag_key] = tag.convert(tags[tag_key])
                except (TypeError, ValueError, OverflowError):
                    self._log.once(
                        logging.WARNING,
                        ("reserved", tag_key, key),
                        "tag %r of event %r stays an ordinary tag: expected %s, got %s",
                        *(tag_key, key, tag.expected, type(tags[tag_key]).__name__),
                    )
        return reserved

    def _check(self, event: Event, problem: Problem | None) -> Refusal | None:
        """Return why the event is refused by every destination, or None."""
        problem = _malformed(event) or problem
        if problem is not None:
            return Refusal(Reason.INVALID_EVENT, str(problem), (problem,))
        for name, check in self._checks:
            try:
                found = check(event)
                problems = () if found is None else _problems(found)
            except Exception as exc:  # noqa: BLE001 - a plugin is foreign code
                self._plugins.failed(name, "aiotrack_check_event", exc)
                continue
            if problems:
                return _refused_by(name, problems)
        for name, schema in self._schemas.get(event.key, ()) if self._schemas else ():
            try:
                problems = _problems(schema.check(event.tags))
            except Exception as exc:  # noqa: BLE001 - a plugin is foreign code
                self._plugins.failed(name, "aiotrack_event_schemas", exc)
                continue
            if problems:
                return _refused_by(name, problems)
        return None

    def _changed(self, before: Event, after: Event | None, name: str) -> tuple[Refusal | None, Event]:
        """Take over what a plugin made of an event: new tags are converted and checked like a caller's."""
        if after is None:
            self._plugins.dropped(name)
            return Refusal(Reason.DROPPED_BY_PLUGIN, f"plugin {name!r} dropped it", plugin=name), before
        if not isinstance(after, Event):  # pyright: ignore[reportUnnecessaryIsInstance]
            wrong = TypeError(f"expected an Event or None, got {type(after).__name__}")
            self._plugins.failed(name, "aiotrack_process_event", wrong)
            return None, before
        if after.tags is not before.tags:
            if after.reserved is before.reserved:
                after = attrs.evolve(after, reserved=self._reserve(after.key, after.tags))
            return self._check(after, None), after
        return None, after

    async def _enrich(self, event: Event) -> TrackResult:
        for name, enrich in self._enrichments:
            try:
                async with asyncio.timeout(self._plugin_timeout):
                    changed = await enrich(event)
            except Exception as exc:  # noqa: BLE001 - a plugin is foreign code
                self._plugins.failed(name, "aiotrack_enrich_event", exc)
                continue
            if changed is not event:
                refusal, event = self._changed(event, changed, name)
                if refusal is not None:
                    return self._refuse(event, refusal)
        if self.state is not State.STARTED:
            return self._refuse(event, _CLOSING)
        result = self._admit(event, wait=True)
        return result if isinstance(result, TrackResult) else await result

    def _admit(self, event: Event, *, wait: bool) -> TrackResult | Coroutine[Any, Any, TrackResult]:
        """Encode the event for each lane and put it into its buffer."""
        accepted: Numbers = []
        refused: Refusals = {}
        waiting = False
        for lane in self.lanes:
            try:
                number = lane.append(lane.encode(event), wait=wait)
            except Exception as exc:  # noqa: BLE001 - a destination is foreign code
                refused[lane.name] = self._refused_by_lane(lane, event, exc)
            else:
                accepted.append((lane, number))
                if type(number) is not int:
                    waiting = True
        if waiting and wait:
            return self._wait(event, accepted, refused)
        result = self._result(event, accepted, refused)
        self._calls += 1
        if self._calls >= BREATH and wait:
            self._calls = 0
            return _breathe(result)
        return result

    async def _wait(self, event: Event, numbers: Numbers, refused: Refusals) -> TrackResult:
        """Wait for the lanes that hold the caller, or are still writing; each refuses on its own."""
        accepted: Numbers = []
        try:
            for lane, number in numbers:
                try:
                    accepted.append((lane, number if isinstance(number, int) else await number))
                except (BufferFull, EventRefused, OSError) as exc:
                    refused[lane.name] = self._refused_by_lane(lane, event, exc)
        except asyncio.CancelledError:
            for _, number in numbers:
                if not isinstance(number, int):
                    number.cancel()
            raise
        return self._result(event, accepted, refused)

    def _result(self, event: Event, accepted: Numbers, refused: Refusals) -> TrackResult:
        if accepted:
            for name, listener in self._plugins.calls("aiotrack_event_tracked"):
                try:
                    listener(event)
                except Exception as exc:  # noqa: BLE001 - a plugin is foreign code
                    self._plugins.failed(name, "aiotrack_event_tracked", exc)
        for refusal in refused.values():
            self._announce(event, refusal)
        if refused and self._strict:
            raise EventRefused(next(iter(refused.values())))
        return TrackResult(event.key, event.event_id, accepted, refused)

    # -- refusals -----------------------------------------------------------------------------------

    def _refuse(self, event: Event, refusal: Refusal) -> TrackResult:
        """Refuse the event for every destination; counted once."""
        self._announce(event, refusal)
        if self._strict:
            raise EventRefused(refusal)
        return TrackResult(event.key, event.event_id, (), {lane.name: refusal for lane in self.lanes})

    def _refused_by_lane(self, lane: Lane, event: Event, exc: Exception) -> Refusal:
        if isinstance(exc, EventRefused):
            return attrs.evolve(exc.refusal, destination=lane.name)
        if isinstance(exc, BufferFull):
            return Refusal(Reason.BUFFER_FULL, str(exc), destination=lane.name)
        if isinstance(exc, OSError):
            return Refusal(Reason.BUFFER_ERROR, type(exc).__name__, destination=lane.name)
        problems = _unencodable(event) if isinstance(exc, TypeError | ValueError) else ()
        if problems:
            return Refusal(Reason.INVALID_TAG, "; ".join(map(str, problems)), problems, destination=lane.name)
        self._plugins.record(lane.name, "encode", exc)
        message = f"its encode raised {type(exc).__name__}"
        return Refusal(Reason.DESTINATION_ERROR, message, destination=lane.name)

    def _announce(self, event: Event, refusal: Refusal) -> None:
        self.refused[refusal.reason] = self.refused.get(refusal.reason, 0) + 1
        level = logging.ERROR if refusal.reason == Reason.UNKNOWN_EVENT else logging.WARNING
        where = f"{refusal.destination}: " if refusal.destination else ""
        key = event.key if isinstance(event.key, str) else type(event.key).__name__  # pyright: ignore[reportUnnecessaryIsInstance]
        episode = (refusal.destination, refusal.reason, key[:100], refusal.path)
        self._log.once(level, episode, "%sevent %r refused: %s", where, key[:100], refusal)
        self._plugins.notify("aiotrack_event_refused", event, refusal)


async def _breathe(result: TrackResult) -> TrackResult:
    await asyncio.sleep(0)
    return result


def _malformed(event: Event) -> Problem | None:
    """Return what is wrong with the event itself, apart from its tags' values."""
    key = event.key
    if type(key) is not str or not key:
        return Problem("key", "a non-empty str", "an empty one" if key == "" else type(key).__name__)
    if not isinstance(event.tags, dict):
        return Problem("tags", "a mapping or None", type(event.tags).__name__)
    if type(event.event_id) is not str or not event.event_id:
        return Problem("event_id", "a non-empty str", type(event.event_id).__name__)
    if type(event.timestamp) is not int:
        return Problem("timestamp", "an integer (Unix milliseconds)", type(event.timestamp).__name__)
    return None


def _problems(found: Problem | str | Iterable[Problem | str]) -> tuple[Problem, ...]:
    """Normalise what a check may return."""
    several = (found,) if isinstance(found, Problem | str) else tuple(found)
    return tuple(
        item if isinstance(item, Problem) else Problem("event", str(item), "something else") for item in several
    )


def _refused_by(plugin: str, problems: tuple[Problem, ...]) -> Refusal:
    reason = Reason.INVALID_TAG if problems[0].path.startswith("tags") else Reason.REFUSED_BY_PLUGIN
    return Refusal(reason, "; ".join(map(str, problems)), problems, plugin=plugin)


def _unencodable(event: Event) -> tuple[Problem, ...]:
    """Find what made a destination's encoding fail."""
    fields = {name: getattr(event, name) for name in ("key", "user_id", "event_id", "user_agent", "session_id")}
    found = (*find_problems(event.tags, "tags"), *find_problems(event.attributes, "attributes"))
    return (*found, *(problem for name, value in fields.items() for problem in find_problems(value, name)))
