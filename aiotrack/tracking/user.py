"""The user context: who did it, held by a request handler or a bot for as long as it needs."""

from __future__ import annotations

import concurrent.futures
import contextlib
import copy
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from typing import Any, NoReturn, Protocol

from aiotrack.model.errors import WrongLoop
from aiotrack.model.event import Event, FlatDict, FrozenDict
from aiotrack.model.log import logger
from aiotrack.model.refusal import Problem
from aiotrack.model.result import TrackResult
from aiotrack.model.values import JSONValues, UserId, is_a, kind_of, user_id_of

from .outcome import AS_LONG_AS_IT_TAKES, AT_ONCE

__all__ = ["To", "Track", "TrackElsewhere", "UserContext", "context_of", "loaded"]

To = str | Iterable[str] | None
"""The names of the destinations that an event is for; None for all."""

NO_ATTRIBUTES: FrozenDict = FlatDict()
OTHERS = ("user_agent", "ip_address", "session_id")  # what is known of a user beside id and attributes
VERSION = 1  # of what `dump` returns
LEAST_TIMEOUT = 0.001  # seconds; not to be held at all is another call, `track_event_nowait`


class Track(Protocol):
    """What tracks a user's events: `Pipeline.track`."""

    def __call__(  # noqa: D102
        self,
        user: UserContext,
        key: str,
        tags: Mapping[str, Any] | None,
        event_id: str | None,
        timestamp: int | datetime | None,
        to: To,
        *,
        wait: float,
    ) -> TrackResult | Coroutine[Any, Any, TrackResult]: ...


class TrackElsewhere(Protocol):
    """What tracks a user's events from other threads and event loops: `ThreadsafeTracking`."""

    def track(  # noqa: D102
        self,
        user: UserContext,
        key: str,
        tags: Mapping[str, Any] | None,
        event_id: str | None,
        timestamp: int | datetime | None,
        to: To,
    ) -> concurrent.futures.Future[TrackResult]: ...

    def track_from_another_loop(  # noqa: D102
        self,
        user: UserContext,
        key: str,
        tags: Mapping[str, Any] | None,
        event_id: str | None,
        timestamp: int | datetime | None,
        to: To,
        wait: float,
    ) -> Coroutine[Any, Any, TrackResult]: ...


class UserContext:
    """One user, with attributes. Made by `Client.create_user_context`; cheap, and bound to its client.

    Attributes are copied when the context is made and read when an event is tracked. A context that
    can't be right (a user id that is not text, say) refuses its events with the reason.
    """

    __slots__ = (
        "_elsewhere",
        "_track",
        "_values",
        "ip_address",
        "problem",
        "session_id",
        "snapshot",
        "user_agent",
        "user_id",
    )

    def __init__(
        self,
        track: Track,
        elsewhere: TrackElsewhere,
        values: JSONValues,
        user_id: UserId,
        attributes: Mapping[str, Any] | None,
        user_agent: str | None,
        ip_address: str | None,
        session_id: int | str | None,
    ) -> None:
        self._track = track
        self._elsewhere = elsewhere
        self._values = values
        self.user_id: str = user_id if type(user_id) is str else user_id_of(user_id)
        self.user_agent = user_agent
        self.ip_address = ip_address
        self.session_id = session_id
        self.problem = _problem(self.user_id, attributes, user_agent, ip_address, session_id)
        self.snapshot = NO_ATTRIBUTES
        if attributes is not None and self.problem is None:
            try:
                self.snapshot = values.frozen(attributes) if attributes else NO_ATTRIBUTES
            except Exception as exc:  # noqa: BLE001 - a mapping of the caller's own making
                self.problem = Problem("attributes", "a mapping that can be read", kind_of(exc))

    def __repr__(self) -> str:
        return f"<UserContext with {len(self.snapshot)} attributes>"

    def __copy__(self) -> UserContext:
        """Return a context of the same user, of which `set_attribute` changes nothing here."""
        twin: UserContext = object.__new__(UserContext)
        for name in UserContext.__slots__:
            setattr(twin, name, getattr(self, name))
        return twin

    def __deepcopy__(self, memo: dict[int, object]) -> UserContext:
        """Return a copy: attributes are never changed in place."""
        return copy.copy(self)

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: what a context tracks with is its client's, in this process."""
        raise TypeError("a UserContext belongs to a client and can't be pickled: send its dump(), for client.load_user")

    @property
    def attributes(self) -> dict[str, Any]:
        """A copy of the attributes."""
        return dict(self.snapshot)

    def set_attribute(self, key: str, value: object) -> None:
        """Set an attribute for the events that are tracked from now on."""
        # A new one each time: events that were tracked before still refer to the old one.
        self.snapshot = self._values.frozen({**self.snapshot, key: value})

    def dump(self) -> dict[str, Any]:
        """Return the user as plain JSON values, to be carried to a worker; `client.load_user` takes it there.

        An attribute that is no JSON value, nor stands for one, is left out, with a warning.
        """
        if self.problem is not None:
            return {"version": VERSION, "problem": [self.problem.path, self.problem.expected, self.problem.got]}
        carried = {name: getattr(self, name) for name in OTHERS if getattr(self, name) is not None}
        attributes: dict[str, Any] = {}
        for name, value in self.snapshot.items():
            converted, problems = self._values.convert({name: value}, "attributes")
            if problems:
                logger.warning("an attribute can't be carried to a worker: %s", problems[0])
            else:
                attributes |= converted
        return {"version": VERSION, "user_id": self.user_id, "attributes": attributes, **carried}

    def as_event(self, key: str) -> Event:
        """Return an event of this user as it is now, for destinations that send something of their own."""
        return Event(
            key,
            self.user_id,
            self.attributes,
            user_agent=self.user_agent,
            ip_address=self.ip_address,
            session_id=self.session_id,
        )

    async def track_event(
        self,
        key: str,
        tags: Mapping[str, Any] | None = None,
        *,
        event_id: str | None = None,
        timestamp: int | datetime | None = None,
        to: To = None,
        timeout: float | None = None,
    ) -> TrackResult:
        """Track an event, and return once every destination has accepted or refused it.

        `tags` maps names to JSON values, or what stands for them (docs/values.md); `revenue` is an integer in minor
        units, `value` a number. `event_id` is for an event that has an id already (default: a new UUID); `timestamp` is
        in Unix milliseconds, or an aware datetime (default: now). `to` is a destination's name, or several, and then
        the others don't get the event; an option of theirs, `only`, counts all the same.

        Waits only where a buffer is full and its destination takes events, while a durable buffer writes, and for async
        plugins. While the client closes, and afterwards, every event is refused: "client closing". On another event
        loop than the client's the call is taken over to that, and refused where it does not get there within
        `overflow_timeout`.

        `timeout` is for how many seconds this call may be held, whatever it waits for. Then what had no room is refused
        with "buffer full"; what a durable buffer still writes, or a plugin still enriches, goes on, and under that
        destination the result says "not known".

        Raises NotStarted, and WrongLoop where the client's event loop does not run; with `strict=True` also
        EventRefused and PluginError.
        """
        user, wait = self, AS_LONG_AS_IT_TAKES
        if timeout is not None:
            user, wait = self._held_for(timeout)
        track = self._track  # a local: CPython 3.11 is slow to call what is in an attribute and no method
        try:
            outcome = track(user, key, tags, event_id, timestamp, to, wait=wait)
        except WrongLoop:
            outcome = self._elsewhere.track_from_another_loop(user, key, tags, event_id, timestamp, to, wait)
        return outcome if isinstance(outcome, TrackResult) else await outcome

    def _held_for(self, timeout: Any) -> tuple[UserContext, float]:
        """Read a timeout: whose event it is, and for how many seconds the call may be held."""
        with contextlib.suppress(Exception):  # foreign numbers
            if is_a(timeout, int | float) and not is_a(timeout, bool) and timeout >= 0:
                return self, max(float(timeout), LEAST_TIMEOUT)
        refused = copy.copy(self)
        refused.problem = self.problem or Problem("timeout", "seconds, 0 or more", kind_of(timeout))
        return refused, AS_LONG_AS_IT_TAKES

    def track_event_nowait(
        self,
        key: str,
        tags: Mapping[str, Any] | None = None,
        *,
        event_id: str | None = None,
        timestamp: int | datetime | None = None,
        to: To = None,
    ) -> TrackResult:
        """Track an event without waiting for anything: refused with "buffer full" where there is no room.

        With a durable buffer the event is accepted before it is committed. Must be called on the client's
        event loop; from another thread use `track_event_threadsafe`.
        """
        outcome = self._track(self, key, tags, event_id, timestamp, to, wait=AT_ONCE)
        assert isinstance(outcome, TrackResult)  # noqa: S101 - what AT_ONCE means
        return outcome

    def track_event_threadsafe(
        self,
        key: str,
        tags: Mapping[str, Any] | None = None,
        *,
        event_id: str | None = None,
        timestamp: int | datetime | None = None,
        to: To = None,
    ) -> concurrent.futures.Future[TrackResult]:
        """Track an event from another thread, as `track_event` does on the client's loop.

        Returns at once, with a future of the result; id, time and tags are those of the call. Waiting for
        the future on the loop's own thread would never end.
        """
        return self._elsewhere.track(self, key, tags, event_id, timestamp, to)


def _problem(
    user_id: object, attributes: object, user_agent: object, ip_address: object, session_id: object
) -> Problem | None:
    if not is_a(user_id, str):
        return Problem("user_id", "a str, an int or a UUID", kind_of(user_id))
    if attributes is not None and type(attributes) is not dict and not is_a(attributes, Mapping):
        return Problem("attributes", "a mapping or None", kind_of(attributes))
    if user_agent is not None and not is_a(user_agent, str):
        return Problem("user_agent", "a str or None", kind_of(user_agent))
    if ip_address is not None and not is_a(ip_address, str):
        return Problem("ip_address", "a str or None", kind_of(ip_address))
    if session_id is not None and (is_a(session_id, bool) or not is_a(session_id, int | str)):
        return Problem("session_id", "an int, a str or None", kind_of(session_id))
    return None


def context_of(context: object, create: Callable[..., UserContext]) -> UserContext:
    """Make a user context of a mapping in VWO's spelling; one that can't be read has no id, and refuses its events."""
    known: dict[str, Any] = {}
    with contextlib.suppress(Exception):
        known = dict(context) if isinstance(context, Mapping) else known
    return create(known.get("id"), known.get("custom_variables"), **{name: known.get(name) for name in OTHERS})


def loaded(data: object, create: Callable[..., UserContext]) -> UserContext:
    """Make a user context of what `UserContext.dump` returned; of anything else, one that refuses its events."""
    known: dict[str, Any] = {}
    with contextlib.suppress(Exception):
        known = dict(data) if isinstance(data, Mapping) else known
    user = create(known.get("user_id"), known.get("attributes"), **{name: known.get(name) for name in OTHERS})
    version = known.get("version")
    problem: Any = known.get("problem")
    if type(version) is not int or version != VERSION:
        came = kind_of(data) if "version" not in known else f"version {version}" if type(version) is int else "another"
        user.problem = Problem("user", f"what dump() returns, of version {VERSION}", came)
    elif is_a(problem, list | tuple) and len(problem) == 3 and all(is_a(part, str) for part in problem):
        user.problem = Problem(*problem)
    return user
