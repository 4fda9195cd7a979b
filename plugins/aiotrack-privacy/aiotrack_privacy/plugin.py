"""The plugin: asks for consent, and lets of an event only leave what may."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any

import attrs

import aiotrack
from aiotrack.errors import ConfigError
from aiotrack.extension import Mistakes, get_logger

from .pseudonyms import Key, Pseudonyms
from .rules import REMOVED, Action, Path, Rules, paths, short_address

__all__ = ["Privacy"]

ADDRESS = ("ip_address",)
OWN = {field.name for field in attrs.fields(aiotrack.Event)}

logger = get_logger("aiotrack.privacy")

Consent = Callable[[aiotrack.Event], "bool | Awaitable[bool]"]

Agreed = tuple[str, str]  # the id of an event, and the user who agreed to it
MOST_AGREED = 8  # answers remembered in one context; an event that another hook refuses never asks for its own


class Privacy:
    """Scrub events after all other plugins, before anything is encoded, buffered, listened to or sent.

    Paths are `user_id`, `user_agent`, `ip_address`, `session_id`, `tags.NAME` and `attributes.NAME`, deeper ones
    too: `tags.items.*.email`, where `*` stands for any other name, and for any place in a list. A path with names
    that have dots in them is a tuple.

    Where several fit, the strictest counts: drop, hash, truncate, allow. Names reach through lists.

    - `allow`: what may leave, beside key, id, time and user id; everything else does not. None: everything may. What
      is hashed or shortened may, but for `ip_address`, which must be in it.
    - `drop`: what is removed.
    - `hash`: what becomes a pseudonym, by `key`, with a new one every `rotate` seconds of the events' time (see
      `Pseudonyms`); in lists and mappings as a whole.
    - `truncate`: IP addresses that lose their last 8 bits (IPv4) or 80 (IPv6). What is no address is removed.
    - `consent`: a function of the event, `async def` or not; only True lets it go on.

    An event that can't be scrubbed, or whose consent can't be had, is dropped. Raises ConfigError.
    """

    def __init__(
        self,
        *,
        allow: Iterable[Path] | None = None,
        drop: Iterable[Path] = (),
        hash: Iterable[Path] = (),  # noqa: A002 - the field's own word
        truncate: Iterable[Path] = ("ip_address",),
        key: Key | None = None,
        rotate: float | None = 86_400.0,
        consent: Consent | None = None,
        name: str = "privacy",
    ) -> None:
        self.name = name
        listed = {Action.DROP: drop, Action.HASH: hash, Action.TRUNCATE: truncate, Action.KEEP: allow or ()}
        with Mistakes() as mistakes:
            given = {action: mistakes.check(paths, action.value, found) or [] for action, found in listed.items()}
            stricter = [*given[Action.DROP], *given[Action.HASH]]
            if ADDRESS in stricter or (allow is not None and ADDRESS not in given[Action.KEEP]):
                given[Action.TRUNCATE] = [steps for steps in given[Action.TRUNCATE] if steps != ADDRESS]  # the default
            changed = [*given[Action.HASH], *given[Action.TRUNCATE]]
            given[Action.KEEP] = [steps for steps in given[Action.KEEP] if steps not in changed]
            self._rules = mistakes.check(Rules, given, closed=allow is not None)
            if given[Action.HASH] and key is None:
                mistakes.add("key: needed to hash")
            self._pseudonyms = None if key is None else mistakes.check(Pseudonyms, key, rotate)
            if consent is not None and not callable(consent):
                mistakes.add(f"consent: expected a function of the event, got {type(consent).__name__}")
        self._consent = consent
        self._must_await = inspect.iscoroutinefunction(consent) or inspect.iscoroutinefunction(
            getattr(type(consent), "__call__", None)  # noqa: B004 - an object may have one
        )
        self._agreed: ContextVar[tuple[Agreed, ...]] = ContextVar("aiotrack_privacy_agreed", default=())
        self._asking: ContextVar[bool] = ContextVar("aiotrack_privacy_asking", default=False)
        if not self._must_await:  # a hook that is None is none: nothing is awaited, and `track_event_nowait` works
            self.aiotrack_enrich_event = None  # type: ignore[method-assign, assignment]  # pyright: ignore[reportAttributeAccessIssue]

    def __repr__(self) -> str:
        return f"<Privacy {self.name!r}>"

    @aiotrack.hookimpl(tryfirst=True)
    async def aiotrack_enrich_event(self, event: aiotrack.Event) -> aiotrack.Event | None:
        """Ask for an async consent, before the other async hooks; the scrub comes last."""
        consent: Any = self._consent
        answer: Any = False
        others = [agreed for agreed in self._agreed.get() if agreed[0] != event.event_id]
        self._agreed.set(tuple(others))
        try:
            answer = await consent(event)
        except Exception as exc:  # noqa: BLE001 - whatever it is, there is no consent
            _say("consent raised %s; the event is dropped", exc)
        if answer is not True:
            return None
        # The scrub looks for it: should this hook be cut short, the event would go on without an answer.
        self._agreed.set((*others[1 - MOST_AGREED :], (event.event_id, event.user_id)))
        return event

    @aiotrack.hookimpl(trylast=True)
    def aiotrack_finalize_event(self, event: aiotrack.Event) -> aiotrack.Event | None:
        """Return what may leave of an event; None where nobody agreed."""
        try:
            return self._scrubbed(event) if self._has_consent(event) else None
        except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 - rather no event than one too full
            _say("an event can't be scrubbed, and is dropped: %s", exc)
            return None

    def _has_consent(self, event: aiotrack.Event) -> bool:
        if self._consent is None:
            return True
        if self._must_await:
            agreed, this = self._agreed.get(), (event.event_id, event.user_id)
            self._agreed.set(tuple(one for one in agreed if one[0] != event.event_id))
            return this in agreed
        if self._asking.get():
            raise RuntimeError("a consent must not track events itself")
        asking = self._asking.set(True)
        try:
            answer: Any = self._consent(event)
        finally:
            self._asking.reset(asking)
        if inspect.isawaitable(answer):
            if inspect.iscoroutine(answer):
                answer.close()
            raise TypeError("consent must be an `async def` function, or return True or False")
        return answer is True

    def _scrubbed(self, event: aiotrack.Event) -> aiotrack.Event:
        def apply(action: Action, value: Any) -> Any:
            if action is Action.TRUNCATE:
                address = short_address(value)
                return REMOVED if address is None else address
            return value if value in (None, "") else self._pseudonym(value, event.timestamp)

        changes: dict[str, Any] = {}
        for field, action in self._rules.fields:
            value = getattr(event, field)
            if value is not None:
                done = None if action is Action.DROP else apply(action, value)
                changes[field] = None if done is REMOVED else done
        for section in self._rules.sections:
            before = getattr(event, section)
            after = self._rules.apply(section, before, apply)
            if after is not before:
                changes[section] = after
        if event.reserved and ("tags" in self._rules.sections or not OWN.isdisjoint(event.reserved)):
            changes.setdefault("tags", dict(event.tags))  # new ones, so that what is reserved is made of them anew
        return event.replace(**changes) if changes else event

    def _pseudonym(self, value: Any, timestamp: int) -> str:
        if self._pseudonyms is None:
            raise ConfigError("key: needed to hash")
        return self._pseudonyms.of(value, timestamp)


def _say(message: str, exc: BaseException) -> None:
    """Log an error by its class alone: its text, or a traceback, may hold what must not be seen."""
    with contextlib.suppress(Exception):  # a handler that raises must not let the event through
        logger.error(message, type(exc).__name__)
