"""What happens to one event, in order: made, checked, processed, encoded for each lane, announced.

Everything up to the buffers is one synchronous stretch, so a call that neither waits for room nor for
an async plugin never gives up the event loop, except now and then to let others run.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from .checks import Checks, unencodable
from .errors import BufferFull, EventRefused
from .event import NO_TAGS, Event, EventDraft, Reason, Refusal, new_event_id
from .result import Number, TrackResult
from .state import State, misuse

if TYPE_CHECKING:
    from .clock import Clock
    from .lane import Lane
    from .log import EpisodeLog
    from .plugins import Plugins
    from .settings import Settings
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


Numbers = list[tuple["Lane", Number]]
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
        self._checks = Checks(plugins, log)
        self._processes = plugins.calls("aiotrack_process_event")
        self._enrichments = plugins.calls("aiotrack_enrich_event")

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
            own_tags = dict(tags) if isinstance(tags, Mapping) else tags
        draft: Any = EventDraft(
            key,
            user.user_id,
            user.snapshot,
            own_tags,
            self._checks.reserve(key, own_tags) if own_tags and type(own_tags) is dict else {},
            new_event_id() if event_id is None else event_id,
            int(self._time() * 1000 + 0.5) if timestamp is None else timestamp,
            user.user_agent,
            user.ip_address,
            user.session_id,
        )
        draft.__class__ = Event
        event: Event = draft
        refusal = self._checks.check(event, user.problem) if state is State.STARTED else _CLOSING
        if refusal is not None:
            return self._refuse(event, refusal)
        for name, process in self._processes:
            try:
                changed = process(event)
                if changed is not event:
                    event = self._taken(event, changed, name)
            except EventRefused as dropped:
                return self._refuse(event, dropped.refusal)
            except Exception as exc:  # noqa: BLE001 - a plugin is foreign code
                self._plugins.failed(name, "aiotrack_process_event", exc)
        if self._enrichments:
            if not wait:
                message = "a plugin must await (aiotrack_enrich_event): use `await track_event(...)`"
                return self._refuse(event, Refusal(Reason.NEEDS_AWAIT, message))
            return self._enrich(event, own_tags)
        return self._admit(event, wait) if event.tags is own_tags else self._admit_changed(event, wait)

    async def _enrich(self, event: Event, tags: Mapping[str, Any]) -> TrackResult:
        for name, enrich in self._enrichments:
            try:
                async with asyncio.timeout(self._plugin_timeout):
                    event = self._taken(event, await enrich(event), name)
            except EventRefused as dropped:
                return self._refuse(event, dropped.refusal)
            except Exception as exc:  # noqa: BLE001 - a plugin is foreign code
                self._plugins.failed(name, "aiotrack_enrich_event", exc)
        if self.state is not State.STARTED:
            return self._refuse(event, _CLOSING)
        admit = self._admit if event.tags is tags else self._admit_changed
        result = admit(event, True)
        return result if isinstance(result, TrackResult) else await result

    def _taken(self, before: Event, after: Event | None, name: str) -> Event:
        """Take over what a plugin made of an event."""
        if after is None:
            self._plugins.dropped(name)
            raise EventRefused(Refusal(Reason.DROPPED_BY_PLUGIN, f"plugin {name!r} dropped it", plugin=name))
        if not isinstance(after, Event):
            raise TypeError(f"expected an Event or None, got {type(after).__name__}")
        if after.tags is not before.tags and after.reserved is before.reserved:
            return attrs.evolve(after, reserved=self._checks.reserve(after.key, after.tags))
        return after

    def _admit_changed(self, event: Event, wait: bool) -> TrackResult | Coroutine[Any, Any, TrackResult]:
        """Admit an event with tags that plugins made; they are checked like a caller's."""
        refusal = self._checks.check(event, None)
        return self._admit(event, wait) if refusal is None else self._refuse(event, refusal)

    def _admit(self, event: Event, wait: bool) -> TrackResult | Coroutine[Any, Any, TrackResult]:
        """Encode the event for each lane and put it into its buffer."""
        accepted: Numbers = []
        refused: Refusals = {}
        waiting = False
        for lane in self.lanes:
            try:
                number = lane.take(event, wait)
            except Exception as exc:  # noqa: BLE001 - a destination is foreign code
                refused[lane.name] = self._refused_by_lane(lane, event, exc)
            else:
                accepted.append((lane, number))
                waiting = waiting or type(number) is not int
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
        problems = unencodable(event) if isinstance(exc, TypeError | ValueError) else ()
        if problems:
            return attrs.evolve(Refusal.of(Reason.INVALID_TAG, problems), destination=lane.name)
        self._plugins.record(lane.name, "encode", exc)
        message = f"its encode raised {type(exc).__name__}"
        return Refusal(Reason.DESTINATION_ERROR, message, destination=lane.name)

    def _announce(self, event: Event, refusal: Refusal) -> None:
        self.count_refusal(event.key, refusal)
        self._plugins.notify("aiotrack_event_refused", event, refusal)

    def count_refusal(self, event_key: object, refusal: Refusal) -> None:
        """Count a refusal, and log it once per episode."""
        reason = str(refusal.reason)
        self.refused[reason] = self.refused.get(reason, 0) + 1
        level = logging.ERROR if refusal.reason == Reason.UNKNOWN_EVENT else logging.WARNING
        where = f"{refusal.destination}: " if refusal.destination else ""
        key = event_key[:100] if isinstance(event_key, str) else type(event_key).__name__
        episode = (refusal.destination, refusal.reason, key, refusal.path)
        self._log.once(level, episode, "%sevent %r refused: %s", where, key, refusal)


async def _breathe(result: TrackResult) -> TrackResult:
    await asyncio.sleep(0)
    return result
