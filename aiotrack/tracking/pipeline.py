"""What happens to one event, in order: made, checked, processed, encoded for each lane, announced.

Everything up to the buffers is one synchronous stretch, so a call that neither waits for room nor for
an async plugin never gives up the event loop, except now and then to let others run.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from .checks import Checks, malformed
from .errors import EventRefused, refusal_of
from .event import NO_TAGS, Event, EventDraft, Reason, Refusal, new_event_id
from .refusals import Refusals
from .result import Number, TrackResult
from .state import State, misuse
from .tasks import FOREIGN, raise_if_ours, within

if TYPE_CHECKING:
    from .clock import Clock
    from .lane import Lane
    from .log import EpisodeLog
    from .plugins import Call, Plugins
    from .settings import Settings
    from .user import UserContext

__all__ = ["Pipeline", "Track", "TrackThreadsafe"]

NO_LOOP = object()
BREATH = 64  # calls in one stretch before the event loop gets a turn

_new = object.__new__
_STARTED = State.STARTED  # an enum's member costs ten times as much to look up
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
ByLane = dict[str, Refusal]


class Pipeline:
    """The way of every event of one client. Frozen at start; only listeners may still change."""

    def __init__(self, plugins: Plugins, settings: Settings, clock: Clock, log: EpisodeLog) -> None:
        self.state = State.NEW
        self.loop: object = NO_LOOP  # the event loop on which events can be tracked, while they can
        self.lanes: tuple[Lane, ...] = ()
        self.refusals = Refusals(plugins, log)
        self._plugins = plugins
        self._strict = settings.strict
        self._plugin_timeout = settings.plugin_timeout
        self._time = clock.time
        self._calls = 0
        self._checks = Checks(plugins, log)
        self._processes, self._last = plugins.processes()
        self._enrichments = plugins.calls["aiotrack_enrich_event"]
        self._changeable = bool(self._processes or self._enrichments or self._last)

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
        try:
            here = self.loop is asyncio.get_running_loop()
        except RuntimeError:
            here = False
        if not here:
            raise misuse(self.state, "track_event")
        own_tags: Any = NO_TAGS if tags is None else tags.copy() if type(tags) is dict else _copied(tags)
        user_id = user.user_id
        if type(key) is not str and isinstance(key, str):
            key = str.__str__(key)  # an enum's member, say: from here on its plain text
        if event_id is None:
            event_id = new_event_id()
        if timestamp is None:
            time = self._time
            timestamp = int(time() * 1000 + 0.5)
        problem = user.problem or malformed(key, user_id, own_tags, event_id, timestamp)
        draft: Any = EventDraft()
        draft.key = key
        draft.user_id = user_id
        draft.attributes = dict(user.snapshot) if self._changeable else user.snapshot
        draft.tags = own_tags
        draft.reserved = self._checks.reserve(key, own_tags) if own_tags and problem is None else {}
        draft.event_id = event_id
        draft.timestamp = timestamp
        draft.user_agent = user.user_agent
        draft.ip_address = user.ip_address
        draft.session_id = user.session_id
        draft.__class__ = Event
        event: Event = draft
        if problem is not None:
            return self._refuse(event, Refusal.of(Reason.INVALID_EVENT, (problem,)))
        refusal = self._checks.check(event) if self.state is _STARTED else _CLOSING
        if refusal is not None:
            return self._refuse(event, refusal)
        return self._process(event, wait) if self._changeable else self._admit(event, wait)

    def _process(self, made: Event, wait: bool) -> TrackResult | Coroutine[Any, Any, TrackResult]:
        """Let the plugins have it that may change it."""
        try:
            event = self._changed(made, self._processes)
        except EventRefused as dropped:
            return self._refuse(made, dropped.refusal)
        if not self._enrichments:
            return self._finish(event, made, wait)
        if wait:
            return self._enrich(event, made)
        message = "a plugin must await (aiotrack_enrich_event): use `await track_event(...)`"
        return self._refuse(event, Refusal(Reason.NEEDS_AWAIT, message))

    def _changed(self, event: Event, processes: tuple[Call, ...]) -> Event:
        """Return what plugins make of an event. Raises EventRefused when one drops it."""
        for name, process in processes:
            try:
                changed = process(event)
                if changed is not event:
                    event = self._taken(event, changed, name)
            except EventRefused:
                raise
            except FOREIGN as exc:
                self._plugins.failed(name, "aiotrack_process_event", exc)
        return event

    async def _enrich(self, event: Event, made: Event) -> TrackResult:
        for name, enrich in self._enrichments:
            try:
                event = self._taken(event, await within(self._plugin_timeout, enrich(event)), name)
            except EventRefused as dropped:
                return self._refuse(event, dropped.refusal)
            except FOREIGN as exc:
                raise_if_ours(exc)
                self._plugins.failed(name, "aiotrack_enrich_event", exc)
        if self.state is not State.STARTED:
            return self._refuse(event, _CLOSING)
        result = self._finish(event, made, True)
        return result if isinstance(result, TrackResult) else await result

    def _finish(self, event: Event, made: Event, wait: bool) -> TrackResult | Coroutine[Any, Any, TrackResult]:
        """Check what plugins made of an event as if a caller had brought it; then it is the last plugins' turn."""
        if event is not made:
            refusal = self._checks.check_changed(event)
            if refusal is not None:
                return self._refuse(event, refusal)
        if self._last:
            try:
                last = self._changed(event, self._last)
            except EventRefused as dropped:
                return self._refuse(event, dropped.refusal)
            if last is not event:
                refusal = self._checks.check_last(last)
                if refusal is not None:
                    return self._refuse(last, refusal)
                event = last
        return self._admit(event, wait)

    def _taken(self, before: Event, after: Event | None, name: str) -> Event:
        """Take over what a plugin made of an event."""
        if after is None:
            self._plugins.dropped(name)
            raise EventRefused(Refusal(Reason.DROPPED_BY_PLUGIN, f"plugin {name!r} dropped it", plugin=name))
        if not isinstance(after, Event):
            raise TypeError(f"expected an Event or None, got {type(after).__name__}")
        if not isinstance(after.tags, dict) and isinstance(after.tags, Mapping):
            after = attrs.evolve(after, tags=dict(after.tags))
        if after.tags is not before.tags and after.reserved is before.reserved:
            return attrs.evolve(after, reserved=self._checks.reserve(after.key, after.tags))
        return after

    def _admit(self, event: Event, wait: bool) -> TrackResult | Coroutine[Any, Any, TrackResult]:
        """Encode the event for each lane and put it into its buffer."""
        accepted: Numbers = []
        refused: ByLane = {}
        waiting = False
        for lane in self.lanes:
            take = lane.take
            try:
                number = take(event, wait)
            except Exception as exc:  # noqa: BLE001 - a destination is foreign code
                refused[lane.name] = self.refusals.by_lane(lane.name, event, exc)
            else:
                accepted.append((lane, number))
                if type(number) is not int:
                    waiting = True
        if waiting:
            if wait:
                return self._wait(event, accepted, refused)
            for lane, number in accepted:
                if not isinstance(number, int):
                    number.add_done_callback(lane.unheard)
        result = self._result(event, accepted, refused)
        self._calls += 1
        if self._calls >= BREATH and wait:
            self._calls = 0
            return _breathe(result)
        return result

    async def _wait(self, event: Event, numbers: Numbers, refused: ByLane) -> TrackResult:
        """Wait for the lanes that hold the caller, or are still writing; each refuses on its own."""
        accepted: Numbers = []
        try:
            for lane, number in numbers:
                try:
                    accepted.append((lane, number if isinstance(number, int) else await number))
                except Exception as exc:  # noqa: BLE001 - a buffer is foreign code
                    refused[lane.name] = attrs.evolve(refusal_of(exc), destination=lane.name)
        except asyncio.CancelledError:
            if accepted:
                self._plugins.notify("aiotrack_event_tracked", event)
            for _, number in numbers:
                if not isinstance(number, int):
                    number.cancel()
            raise
        return self._result(event, accepted, refused)

    def _result(self, event: Event, accepted: Numbers, refused: ByLane) -> TrackResult:
        """Tell the listeners, and return what became of the event."""
        if refused:
            for refusal in refused.values():
                self.refusals.announce(event, refusal)
        if accepted:
            for name, listener in self._plugins.calls["aiotrack_event_tracked"]:
                try:
                    listener(event)
                except FOREIGN as exc:
                    self._plugins.failed(name, "aiotrack_event_tracked", exc)
        if refused and self._strict:
            raise EventRefused(next(iter(refused.values())))
        result = _new(TrackResult)  # its constructor, with arguments, would cost twice as much
        result.key = event.key
        result.event_id = event.event_id
        result.refused = refused
        result.entries = accepted
        return result

    # -- refusals -----------------------------------------------------------------------------------

    def _refuse(self, event: Event, refusal: Refusal) -> TrackResult:
        """Refuse the event for every destination; counted once."""
        if refusal.reason is Reason.DROPPED_BY_PLUGIN:  # perhaps for what it holds, so listeners don't see that
            event = Event(event.key, "", event_id=event.event_id, timestamp=event.timestamp)
        self.refusals.announce(event, refusal)
        if self._strict:
            raise EventRefused(refusal)
        return TrackResult(event.key, event.event_id, (), {lane.name: refusal for lane in self.lanes})


def _copied(tags: object) -> Any:
    """Copy a mapping; what is none, or can't be read, stays as it is and is refused."""
    if isinstance(tags, Mapping):
        try:
            return dict(tags)
        except Exception:  # noqa: BLE001 - foreign code
            return tags
    return tags


async def _breathe(result: TrackResult) -> TrackResult:
    await asyncio.sleep(0)
    return result
