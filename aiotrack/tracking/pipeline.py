"""What happens to one event, in order: made, checked, processed, enriched, finalized, admitted by each lane, announced.

Everything up to the buffers is one synchronous stretch, so a call that neither waits for room nor for
an async plugin never gives up the event loop, except now and then to let others run.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiotrack.hooks.plugins import TRACKED
from aiotrack.lanes.routing import RoutedElsewhere
from aiotrack.model.clock import milliseconds
from aiotrack.model.encoding import is_flat_json
from aiotrack.model.errors import EventRefused
from aiotrack.model.event import NO_TAGS, NOTHING_SET, Event, new_event_id
from aiotrack.model.refusal import CLOSING, NOT_KNOWN, Reason, Refusal
from aiotrack.model.result import TrackResult
from aiotrack.model.state import ClientState, state_error
from aiotrack.model.tasks import PLUGIN_ERRORS
from aiotrack.model.values import text_of, timestamp_of

from .changes import Changes
from .enrichment import Enrichment
from .outcome import DEEPEST, RECURSION, ByLane, LateOutcome, Numbers, Outcome, yield_now
from .refusals import Refusals
from .validation import Validation, copied, lanes_named, malformed

if TYPE_CHECKING:
    from aiotrack.hooks.plugins import Plugins
    from aiotrack.lanes.lane import Lane
    from aiotrack.model.clock import Clock
    from aiotrack.model.log import EpisodeLog
    from aiotrack.model.refusal import Problem
    from aiotrack.model.settings import Settings
    from aiotrack.model.tasks import Tasks
    from aiotrack.model.values import JSONValues

    from .user import To, User

    Problems = tuple[Problem, ...]

__all__ = ["Pipeline"]

YIELD_EVERY = 64  # calls in one stretch before the event loop gets a turn

_new = object.__new__


class Pipeline:
    """The way of every event of one client. Its plugins are fixed when the client is made; listeners may change."""

    def __init__(
        self,
        plugins: Plugins,
        settings: Settings,
        state: ClientState,
        values: JSONValues,
        calls: Tasks,
        clock: Clock,
        log: EpisodeLog,
    ) -> None:
        self.lanes: tuple[Lane, ...] = ()
        self.refusals = Refusals(plugins, log)
        self.routed_nowhere = 0  # events
        self._plugins = plugins
        self._strict = settings.strict
        self._state = state
        self._time = clock.time
        self._calls = YIELD_EVERY  # until others get a turn
        self._inside = False  # whether a call is under way, so that another comes from a plugin or listener
        self._depth = 1  # calls within calls
        self._values = values
        self._validation = Validation(plugins, log)
        self.changes = Changes(plugins, self._validation, values, settings.plugin_timeout)
        self._changeable = self.changes.any_hooks
        self._checked = self._validation.any_checks
        self._enrichment = Enrichment(self.changes, state, calls, self._finish, self._refuse, self.not_known)
        self._late = LateOutcome(self._result, self.refusals, strict=settings.strict)

    # -- per event ----------------------------------------------------------------------------------

    def track(
        self,
        user: User,
        key: str,
        tags: Mapping[str, Any] | None,
        event_id: str | None,
        timestamp: int | datetime | None,
        to: To,
        *,
        wait: float,
    ) -> Outcome:
        """Track one event. Returns the result, or a coroutine that ends in it where something must be awaited.

        `to` names the lanes that it is for, None being all. `wait` is for how many seconds the caller may be held.
        """
        try:
            here = self._state.tracking_loop is get_running_loop()
        except RuntimeError:
            here = False
        if not here or self._inside:
            return self._track_nested_or_refuse(here, user, key, tags, event_id, timestamp, to, wait=wait)
        own_tags: Any = NO_TAGS if tags is None else tags.copy() if type(tags) is dict else copied(tags)
        if type(key) is not str:
            key = text_of(key)  # of an enum's member, say: from here on its plain text
        if event_id is None:
            event_id = new_event_id()
        elif type(event_id) is not str:
            event_id = text_of(event_id)
        if timestamp is None:
            time = self._time
            timestamp = int(time() * 1000 + 0.5)  # `milliseconds`, without a call for each event
        elif type(timestamp) is not int:
            timestamp = timestamp_of(timestamp)
        problem = user.problem or malformed(key, user.user_id, own_tags, event_id, timestamp)
        bad_tags: Problems = ()
        if problem is None and own_tags and not is_flat_json(own_tags):
            own_tags, bad_tags = self._values.convert(own_tags, "tags")
        event: Any = _new(Event)  # field by field: its constructor is a frame more for each event
        event.key = key
        event.user_id = user.user_id
        event.attributes = dict(user.snapshot) if self._changeable else user.snapshot
        event.tags = own_tags
        event.reserved = self._validation.reserve(key, own_tags) if problem is None and own_tags else NOTHING_SET
        event.event_id = event_id
        event.timestamp = timestamp
        event.user_agent = user.user_agent
        event.ip_address = user.ip_address
        event.session_id = user.session_id
        self._inside = True
        try:
            if problem is not None:
                return self._refuse(event, Refusal.of(Reason.INVALID_EVENT, (problem,)))
            if bad_tags:
                return self._refuse(event, Refusal.of(Reason.INVALID_TAG, bad_tags))
            if self._checked and (refusal := self._validation.check(event)) is not None:
                return self._refuse(event, refusal)
            return self._change(event, to, wait) if self._changeable else self._admit(event, to, wait)
        finally:
            self._inside = False

    def _track_nested_or_refuse(
        self,
        here: bool,
        user: User,
        key: str,
        tags: Mapping[str, Any] | None,
        event_id: str | None,
        timestamp: int | datetime | None,
        to: To,
        *,
        wait: float,
    ) -> Outcome:
        """Track an event that a plugin or listener brings while it is called; refuse one that comes too late.

        Raises StateError where the client was never started, or lives on another event loop.
        """
        if here and self._depth < DEEPEST:
            self._depth += 1
            self._inside = False
            try:
                return self.track(user, key, tags, event_id, timestamp, to, wait=wait)
            finally:
                self._inside = True
                self._depth -= 1
        if not here and not self._state.takes_no_more:
            raise state_error(self._state, "track_event")
        event_id = new_event_id() if event_id is None else event_id
        moment: Any = milliseconds(self._time()) if timestamp is None else timestamp_of(timestamp)
        given: Any = NO_TAGS if tags is None else tags
        event = Event(key, user.user_id, user.attributes, given, event_id=event_id, timestamp=moment)
        if here:
            return self._refuse(event, RECURSION, announce=False)
        if self._inside or not self._state.is_on_loop:  # listeners are called on the client's own thread only
            return self._refuse(event, CLOSING, announce=False)
        self._inside = True
        try:
            return self._refuse(event, CLOSING)
        finally:
            self._inside = False

    def _change(self, made: Event, to: To, wait: float) -> Outcome:
        """Have plugins change the event, and go on with what they make of it."""
        try:
            event = self.changes.process(made)
        except EventRefused as dropped:
            return self._refuse(made, dropped.refusal)
        if self.changes.any_async:
            return self._enrichment.outcome(event, made, to, wait)
        return self._finish(event, made, to, wait)

    def _finish(self, event: Event, made: Event, to: To, wait: float) -> Outcome:
        """Check and finalize what plugins made of an event."""
        try:
            self.changes.check(event, made)
            event = self.changes.finalize(event)
        except EventRefused as refused:
            return self._refuse(event, refused.refusal)
        return self._admit(event, to, wait)

    def _admit(self, event: Event, to: To, wait: float) -> Outcome:
        """Have each lane encode the event and append it to its buffer."""
        lanes = self.lanes
        if to is not None:
            lanes, unknown = lanes_named(to, lanes)
            if unknown is not None:
                return self._refuse(event, Refusal.of(Reason.INVALID_EVENT, (unknown,)))
            for lane in set(self.lanes).difference(lanes):
                lane.route_elsewhere()
        accepted: list[tuple[Lane, Any]] = []
        refused: ByLane = {}
        waiting = False
        for lane in lanes:
            admit = lane.admit
            try:
                number = admit(event, wait)
            except RoutedElsewhere:
                lane.route_elsewhere()
            except PLUGIN_ERRORS as exc:  # a destination is foreign code
                refused[lane.name] = self.refusals.by_lane(lane.name, event, exc)
            else:
                accepted.append((lane, number))
                if type(number) is not int:
                    waiting = True
        if waiting:
            return self._late.outcome(event, accepted, refused, wait)
        result = self._result(event, accepted, refused)
        self._calls -= 1
        if not self._calls:
            self._calls = YIELD_EVERY
            if wait:
                return yield_now(result)
        return result

    def _result(self, event: Event, accepted: Numbers, refused: ByLane, *, tell: bool = True) -> TrackResult:
        """Tell the listeners if an event is known to be accepted, and return what became of it."""
        if refused:
            for refusal in refused.values():
                self.refusals.announce(event, refusal)
        if accepted:
            if tell and self._plugins.calls[TRACKED]:
                self._plugins.announce(event)
        elif not refused:
            self.routed_nowhere += 1
        result = _new(TrackResult)  # its constructor, with arguments, would cost twice as much
        result.key = event.key
        result.event_id = event.event_id
        result.refused = refused
        result._entries = accepted  # noqa: SLF001 - made here, for the reason above
        if refused and self._strict:
            raise EventRefused(next(iter(refused.values())), result)
        return result

    # -- refusals -----------------------------------------------------------------------------------

    def _refuse(self, event: Event, refusal: Refusal, *, announce: bool = True) -> TrackResult:
        """Refuse the event for every destination; counted once."""
        if refusal.reason is Reason.DROPPED_BY_PLUGIN:  # perhaps for what it holds, so listeners don't see that
            event = Event(event.key, "", event_id=event.event_id, timestamp=event.timestamp)
        if not announce:
            return self.refuse_unannounced(event.key, event.event_id, refusal)
        self.refusals.announce(event, refusal)
        return self._refused(event.key, event.event_id, refusal)

    def refuse_unannounced(self, key: str, event_id: str, refusal: Refusal) -> TrackResult:
        """Refuse an event without telling the listeners; from any thread."""
        self.refusals.count(key, refusal)
        return self._refused(key, event_id, refusal)

    def not_known(self, key: str, event_id: str) -> TrackResult:
        """Return the result of a call whose end nobody waits for any more; it counts as what it ends in."""
        return self._refused(key, event_id, NOT_KNOWN)

    def _refused(self, key: str, event_id: str, refusal: Refusal) -> TrackResult:
        lanes = [lane.name for lane in self.lanes] or ["client"]
        result = TrackResult(key, event_id, (), dict.fromkeys(lanes, refusal))
        if self._strict:
            raise EventRefused(refusal, result)
        return result
