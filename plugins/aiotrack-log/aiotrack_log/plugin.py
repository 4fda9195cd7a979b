"""The plugin: listens to everything, and says it without payloads."""

from __future__ import annotations

import asyncio
import logging
import weakref
from typing import Any

import aiotrack
from aiotrack.extension import Mistakes, printable, seconds

__all__ = ["EventLog"]

DEBUG, INFO = logging.DEBUG, logging.INFO
COUNTERS = ("accepted", "delivered", "dead", "dropped", "pending", "retries")


class EventLog(aiotrack.Plugin):
    """Log what becomes of events: keys, ids and counters, never a payload, a user or an address.

    Each event and each request is a line at DEBUG; the core's own log says what fails. Start, close, new datafiles,
    and every `every` seconds (None: never) the counters of each destination are lines at INFO. `logger` is
    the logger's name. With `values=True`, for development, the lines of events show user, tags and attributes, too.
    One instance may serve several clients. Raises ConfigError.
    """

    def __init__(
        self,
        *,
        every: float | None = 60.0,
        values: bool = False,
        logger: str = "aiotrack.log",
        name: str = "log",
    ) -> None:
        with Mistakes() as mistakes:
            if every is not None:
                mistakes.check(seconds, "every", every)
            if type(values) is not bool:
                mistakes.add(f"values: expected true or false, got {type(values).__name__}")
            if not isinstance(logger, str):
                mistakes.add(f"logger: expected a logger's name, got {type(logger).__name__}")
        self.name = name
        self._every = every
        self._values = values
        self._log = logging.getLogger(logger)
        self._timers: weakref.WeakKeyDictionary[aiotrack.Client, Any] = weakref.WeakKeyDictionary()

    @aiotrack.hookimpl
    async def aiotrack_startup(self, client: aiotrack.Client) -> None:
        """Say who is there, and begin to count."""
        stats = client.stats()
        lanes, plugins = ", ".join(stats.lanes) or "none", ", ".join(stats.plugins)
        self._say(INFO, "aiotrack %s starts; destinations: %s; plugins: %s", aiotrack.__version__, lanes, plugins)
        self._set_timer(client)

    def _set_timer(self, client: aiotrack.Client) -> None:
        if self._every is not None:
            kept = weakref.ref(client)  # a timer must not keep a client alive that nobody closes
            self._timers[client] = client.clock.call_later(self._every, lambda: self._count(kept()))

    def _count(self, client: aiotrack.Client | None) -> None:
        if client is not None:
            self._say_counters(client, "so far")
            self._set_timer(client)

    def _say_counters(self, client: aiotrack.Client, when: str) -> None:
        stats = client.stats()
        for name, lane in stats.lanes.items():
            counted = ", ".join(f"{getattr(lane, counter)} {counter}" for counter in COUNTERS)
            self._say(INFO, "%s, %s: %s, %s", name, when, lane.state, counted)
        if stats.refused:
            self._say(INFO, "refused, %s: %s", when, ", ".join(f"{n} {why}" for why, n in stats.refused.items()))

    @aiotrack.hookimpl
    async def aiotrack_shutdown(self, client: aiotrack.Client) -> None:
        """Say where all stands once the last flush is over: a client's tasks are cancelled then."""
        timer = self._timers.pop(client, None)
        if timer is not None:
            timer.cancel()
        client.spawn(self._last_words(client), name="aiotrack log")
        await asyncio.sleep(0)  # it must have begun to be told of its end

    async def _last_words(self, client: aiotrack.Client) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._say_counters(client, "closed")

    @aiotrack.hookimpl
    def aiotrack_event_tracked(self, event: aiotrack.Event) -> None:
        """Say that an event was taken."""
        if self._log.isEnabledFor(DEBUG):
            self._say(DEBUG, "%.100r tracked: %.100r%s", event.key, event.event_id, self._values_of(event))

    @aiotrack.hookimpl
    def aiotrack_event_refused(self, event: aiotrack.Event, refusal: aiotrack.Refusal) -> None:
        """Say that one was not."""
        if self._log.isEnabledFor(DEBUG):
            key = event.key if isinstance(event.key, str) else type(event.key)  # a caller's mistake, and what not
            words = (key, refusal.destination or "all", refusal.reason, self._values_of(event))
            self._say(DEBUG, "%.100r refused by %s: %s%s", *words)

    def _values_of(self, event: aiotrack.Event) -> str:
        if not self._values:
            return ""
        shown = {"tags": event.tags, "attributes": event.attributes}
        return f"; user {event.user_id!r:.100}" + "".join(f", {name} {value!r:.1000}" for name, value in shown.items())

    @aiotrack.hookimpl
    def aiotrack_event_lost(
        self, destination: aiotrack.Destination, lost: aiotrack.DeadLetter | int, reason: str
    ) -> None:
        """Say that events were accepted and won't be delivered."""
        self._say(DEBUG, "%s: %d lost (%.200s)", destination.name, lost if isinstance(lost, int) else 1, reason)

    @aiotrack.hookimpl
    def aiotrack_batch_sending(self, batch: aiotrack.Batch) -> None:
        """Say that a request goes out."""
        words = (batch.destination, len(batch), len(batch.request.body), batch.attempt)
        self._say(DEBUG, "%s: sends %d events, %d bytes, attempt %d", *words)

    @aiotrack.hookimpl
    def aiotrack_batch_delivered(self, batch: aiotrack.Batch, answer: aiotrack.Answer) -> None:
        """Say that it arrived."""
        self._say(DEBUG, "%s: %d events delivered (%s)", batch.destination, len(batch), str(answer))

    @aiotrack.hookimpl
    def aiotrack_batch_failed(self, batch: aiotrack.Batch, answer: aiotrack.Answer) -> None:
        """Say that it did not."""
        words = (batch.destination, len(batch), str(answer), batch.attempt)
        self._say(DEBUG, "%s: a request with %d events failed (%s), attempt %d", *words)

    @aiotrack.hookimpl
    def aiotrack_catalog_updated(self, destination: aiotrack.Destination, catalog: aiotrack.Catalog) -> None:
        """Say that a destination has learnt its events anew."""
        words = (destination.name, str(catalog.revision), len(catalog.events))
        self._say(INFO, "%s: revision %.100s, %d events", *words)

    def _say(self, level: int, message: str, *words: object) -> None:
        """Log a line, and only one: names and revisions come from outside."""
        if self._log.isEnabledFor(level):
            self._log.log(level, message, *(printable(word) if isinstance(word, str) else word for word in words))
