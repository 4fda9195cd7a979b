"""`check_plugin`: what every plugin must do, whatever it is for, checked in one call."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import copy
import inspect
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

import aiotrack
from aiotrack.hooks.hookspecs import HOOKS
from aiotrack.hooks.registration import name_of
from aiotrack.model.catalog import Catalog
from aiotrack.model.log import logger

from .fakes import FakeDestination
from .patches import in_production, replace_destinations

__all__ = ["check_plugin"]

TIMEOUT = 2.0  # seconds for one async hook

Sample = tuple[str, Mapping[str, Any] | None]

SAMPLES: tuple[Sample, ...] = (
    ("purchase", None),
    ("purchase", {}),
    ("purchase", {"revenue": 4200, "value": 13.5, "category": "shoes", "gift": True, "coupon": None}),
    ("purchase", {"revenue": "a lot", "value": "13.5"}),
    ("purchase", {"items": [{"sku": "a", "price": 1}, {"sku": "b", "tags": ["x", []]}], "": {"": {}}}),
    ("Käufe \U0001f45f", {"größe": "é" * 2000, "$set": {}, "event_id": 5, "user_id": None}),
    ("many", {f"tag {number}": number for number in range(100)}),
)
REFUSED: tuple[Any, ...] = (("", None), (5, None), ("purchase", [1]), ("purchase", {"a": float("nan"), 3: {1, 2}}))
USERS: tuple[dict[str, Any], ...] = (
    {"user_id": "ann"},
    {
        "user_id": "ann",
        "attributes": {"plan": "gold", "age": 33, "nested": {"a": [1]}},
        "user_agent": "Mozilla/5.0",
        "ip_address": "203.0.113.7",
        "session_id": 1_700_000_000,
    },
    {"user_id": "", "attributes": {}, "ip_address": "2001:db8::7", "session_id": "s"},
)


def check_plugin(plugin: object, *, events: Iterable[Sample] = ()) -> tuple[str, ...]:
    """Check that a plugin can be used; return the names of its hooks.

    A client of its own starts with the plugin, tracks events of every shape (and `events` of yours: keys with
    tags), sends them, some in vain, and closes; nothing leaves the machine. Works with or without a running event
    loop. Raises PluginError when the plugin can't be registered, and AssertionError that lists what it did wrong:
    raised, held the loop up, returned what its hook does not take, wrote to an event, left a task behind.
    """
    __tracebackhide__ = True
    rehearsal = _Rehearsal(plugin)
    with concurrent.futures.ThreadPoolExecutor(1, "aiotrack check_plugin") as thread:
        thread.submit(asyncio.run, rehearsal.run((*SAMPLES, *events))).result()
    if rehearsal.problems:
        listed = "".join(f"\n- {problem}" for problem in dict.fromkeys(rehearsal.problems))
        raise AssertionError(f"plugin {rehearsal.name!r}:{listed}")
    return rehearsal.hooks


class _Rehearsal(logging.Handler):
    """One client's life with the plugin. Hears what the client logs of it, too."""

    def __init__(self, plugin: object) -> None:
        super().__init__(logging.WARNING)
        self.problems: list[str] = []
        with in_production():
            self.client = aiotrack.Client(plugin, plugin_timeout=TIMEOUT, flush_interval=0.001)
        self.name = name_of(plugin)
        self._hangs = False
        calls = self.client._plugins.calls  # noqa: SLF001 - of this package
        self._calls = {hook: function for hook in HOOKS for name, function in calls[hook] if name == self.name}
        self.hooks = tuple(self._calls)
        self._destination = FakeDestination(aiotrack.Destination(name="fake"))
        replace_destinations(self.client, [self._destination])

    def emit(self, record: logging.LogRecord) -> None:
        """Note what the client says about the plugin."""
        message = record.getMessage()
        if message.startswith((f"plugin {self.name!r} ", "task ")):
            self.problems.append(message)
            self._hangs = self._hangs or "did not answer" in message

    # -- a client's life ------------------------------------------------------------------------------

    async def run(self, samples: tuple[Sample, ...]) -> None:
        """Start the client, track, close it."""
        before = logger.level, logger.disabled, logging.root.manager.disable
        logger.setLevel(logging.WARNING)
        logger.disabled = False
        logging.disable(logging.NOTSET)
        logger.addHandler(self)
        try:
            with in_production():
                await self._live(samples)
        finally:
            logger.removeHandler(self)
            logger.setLevel(before[0])
            logger.disabled = before[1]
            logging.disable(before[2])

    async def _live(self, samples: tuple[Sample, ...]) -> None:
        before = asyncio.all_tasks()
        async with self.client:
            self._at_start()
            for user in USERS:
                context = self.client.create_user_context(**copy.deepcopy(user))
                for key, tags in (*samples, *REFUSED):
                    if self._hangs:
                        return
                    await context.track_event(key, copy.deepcopy(tags))
                for timestamp in (0, -1, 10**18):
                    await context.track_event("purchase", timestamp=timestamp, event_id="an id of the caller's")
                for key, tags in samples:
                    own = {"tags": dict(tags or {}), "attributes": user.get("attributes", {})}
                    await self._one_by_one(attrs.evolve(context.as_event(key), **copy.deepcopy(own)))
                if self.problems:
                    return
            self._destination.update_catalog(Catalog("1"))
            await self.client.flush()
            self._destination.answers = [aiotrack.Answer(status=400, body=b"rejected by check_plugin")] * 3
            await self.client.create_user_context("ann").track_event("purchase")
            await self.client.flush()
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - before:
            self.problems.append(f"task {task.get_name()!r} is left behind at close: client.spawn makes one that ends")

    def _at_start(self) -> None:
        self._mapping("aiotrack_reserved_tags")
        for schema in self._mapping("aiotrack_event_schemas").values():
            with contextlib.suppress(Exception):  # what it raises is in the log, from the events before
                self._listed("aiotrack_event_schemas", schema.check({"a": 1}))

    def _mapping(self, hook: str) -> Mapping[str, Any]:
        try:
            found = self._calls[hook]() if hook in self._calls else None
        except Exception as exc:  # noqa: BLE001 - a plugin is foreign code
            self.problems.append(f"{hook} raised {type(exc).__name__}: {exc}")
            return {}
        if found is not None and not isinstance(found, Mapping):
            self._returned(hook, "a mapping", found)
            return {}
        return found or {}

    async def _one_by_one(self, event: aiotrack.Event) -> None:
        """Call the hooks that get an event, and look at what they return and leave."""
        before = {field.name: copy.deepcopy(getattr(event, field.name)) for field in attrs.fields(aiotrack.Event)}
        for hook in (
            "aiotrack_check_event",
            "aiotrack_process_event",
            "aiotrack_enrich_event",
            "aiotrack_finalize_event",
            "aiotrack_event_tracked",
        ):
            if hook not in self._calls:
                continue
            try:
                answer = self._calls[hook](event)
                answer = await asyncio.wait_for(answer, TIMEOUT) if inspect.isawaitable(answer) else answer
                if hook == "aiotrack_check_event":
                    self._listed(hook, answer)
                elif answer is not None and hook != "aiotrack_event_tracked" and not isinstance(answer, aiotrack.Event):
                    self._returned(hook, "an Event or None", answer)
            except Exception:  # noqa: BLE001, S112 - the client's own calls have it in the log already
                continue
            for name, value in before.items():
                if getattr(event, name) != value:
                    self.problems.append(f"{hook} writes to event.{name}: return event.replace({name}=...) instead")
                    return

    def _listed(self, hook: str, found: object) -> None:
        """Look at what a check has found."""
        if found is None or isinstance(found, aiotrack.Problem | str):
            return
        if not isinstance(found, Iterable) or isinstance(found, Mapping | bytes):
            self._returned(hook, "None, a Problem, a text, or several", found)
            return
        for item in found:
            if not isinstance(item, aiotrack.Problem | str):
                self._returned(hook, "problems", item)

    def _returned(self, hook: str, expected: str, value: object) -> None:
        self.problems.append(f"{hook} must return {expected}, got {type(value).__name__}")
