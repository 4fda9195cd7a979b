"""A user, as events have it: who it is, and what is known of it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, Self, TypeVar, cast

from aiotrack.model.event import Event, FlatDict, FrozenDict
from aiotrack.model.log import logger
from aiotrack.model.refusal import Problem
from aiotrack.model.values import JSONValues, UserId, is_a, kind_of, text_of, user_id_of

from .outcome import AS_LONG_AS_IT_TAKES

__all__ = ["To", "User", "context_of", "loaded"]

To = str | Iterable[str] | None
"""The names of the destinations that an event is for; None for all."""

NO_ATTRIBUTES: FrozenDict = FlatDict()
OTHERS = ("user_agent", "ip_address", "session_id")  # what is known of a user beside id and attributes
VERSION = 1  # of what `dump` returns
AnyUser = TypeVar("AnyUser", bound="User")

LEAST_TIMEOUT = 0.001  # seconds; not to be held at all is another call, `track_event_nowait`


class User:
    """One user, with attributes: what all user contexts have in common.

    Attributes are copied when it is made and read when an event is tracked. One that can't be right (a user id that is
    not text, say) refuses its events with the reason.
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
        track: Any,
        elsewhere: Any,
        values: JSONValues,
        user_id: UserId,
        attributes: Mapping[str, Any] | None,
        user_agent: str | None,
        ip_address: str | None,
        session_id: int | str | None,
    ) -> None:
        self._track = track  # what the calls of a subclass go to; here, since a constructor more costs a frame more
        self._elsewhere = elsewhere
        self._values = values
        self.user_id: str = user_id if type(user_id) is str else user_id_of(user_id)
        self.user_agent = user_agent if user_agent is None else text_of(user_agent)
        self.ip_address = ip_address if ip_address is None else text_of(ip_address)
        self.session_id = session_id if session_id is None else _plain(session_id)
        self.problem = _problem(self.user_id, attributes, user_agent, ip_address, session_id)
        self.snapshot = NO_ATTRIBUTES
        if attributes is not None and self.problem is None:
            try:
                self.snapshot = values.frozen(attributes) if attributes else NO_ATTRIBUTES
            except Exception as exc:  # noqa: BLE001 - a mapping of the caller's own making
                self.problem = Problem("attributes", "a mapping that can be read", kind_of(exc))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self.snapshot)} attributes>"

    def __copy__(self) -> Self:
        """Return a context of the same user, of which `set_attribute` changes nothing here."""
        twin = object.__new__(type(self))
        twin._elsewhere = self._elsewhere
        twin._track = self._track
        twin._values = self._values
        twin.ip_address = self.ip_address
        twin.problem = self.problem
        twin.session_id = self.session_id
        twin.snapshot = self.snapshot
        twin.user_agent = self.user_agent
        twin.user_id = self.user_id
        return twin

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return a copy: attributes are never changed in place."""
        return copy.copy(self)

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: what a context tracks with is its client's, in this process."""
        kind = type(self).__name__
        raise TypeError(f"a {kind} belongs to a client and can't be pickled: send its dump(), for client.load_user")

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

    def held_for(self, timeout: Any) -> tuple[Self, float]:
        """Read a timeout: whose event it is, and for how many seconds the call may be held."""
        with contextlib.suppress(Exception):  # foreign numbers
            if is_a(timeout, int | float) and not is_a(timeout, bool) and timeout >= 0:
                return self, max(float(timeout), LEAST_TIMEOUT)
        refused = copy.copy(self)
        refused.problem = self.problem or Problem("timeout", "seconds, 0 or more", kind_of(timeout))
        return refused, AS_LONG_AS_IT_TAKES


def _plain(session_id: Any) -> Any:
    """Return an integer or text without the class that it may have of its own; anything else as it is."""
    return int.__pos__(session_id) if is_a(session_id, int) and not is_a(session_id, bool) else text_of(session_id)


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


def context_of(context: object, create: Callable[..., AnyUser]) -> AnyUser:
    """Make a user context of a mapping in VWO's spelling; one that can't be read has no id, and refuses its events."""
    known: dict[str, Any] = {}
    with contextlib.suppress(Exception):
        known = dict(cast("Mapping[str, Any]", context)) if is_a(context, Mapping) else known
    return create(known.get("id"), known.get("custom_variables"), **{name: known.get(name) for name in OTHERS})


def loaded(data: object, create: Callable[..., AnyUser]) -> AnyUser:
    """Make a user context of what a user's `dump` returned; of anything else, one that refuses its events."""
    known: dict[str, Any] = {}
    with contextlib.suppress(Exception):
        known = dict(cast("Mapping[str, Any]", data)) if is_a(data, Mapping) else known
    user = create(known.get("user_id"), known.get("attributes"), **{name: known.get(name) for name in OTHERS})
    version = known.get("version")
    problem: Any = known.get("problem")
    if type(version) is not int or version != VERSION:
        came = kind_of(data) if "version" not in known else f"version {version}" if type(version) is int else "another"
        user.problem = Problem("user", f"what dump() returns, of version {VERSION}", came)
    elif is_a(problem, list | tuple) and len(problem) == 3 and all(is_a(part, str) for part in problem):
        user.problem = Problem(*problem)
    return user
