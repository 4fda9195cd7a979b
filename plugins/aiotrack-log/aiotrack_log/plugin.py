"""The plugin: listens to everything, and says it without payloads."""

from __future__ import annotations

import logging
import weakref
from typing import Any

import aiotrack
from aiotrack.errors import ConfigError
from aiotrack.extension import printable

__all__ = ["EventLog"]

COUNTERS = ("accepted", "delivered", "dead", "dropped", "pending", "retries")


class EventLog(aiotrack.Plugin):
    """Log what becomes of events: keys, ids and counters, never a payload, a user or an address.

    Each event and each request is a line at DEBUG; the core's own log says what fails. Start, close, new datafiles,
    and every `every` seconds (None: never) the counters of each destination are lines at INFO. `logger` is
    the logger's name. One instance may serve several clients. Raises ConfigError.
    """

    def __init__(self, *, every: float | None = 60.0, logger: str = "aiotrack.log", name: str = "log") -> None:
        if every is not None and (isinstance(every, bool) or not isinstance(every, int | float) or not every > 0):
            raise ConfigError(f"every: expected seconds > 0 or None, got {every!r}")
        self.name = name
        self._every = every
        self._log = logging.getLogger(logger)
        self._timers: weakref.WeakKeyDictionary[aiotrack.Client, Any] = weakref.WeakKeyDictionary()

    @aiotrack.hookimpl
    async def aiotrack_startup(self, client: aiotrack.Client) -> None:
        """Say who is there, and begin to count."""
        stats = client.stats()
        lanes, plugins = ", ".join(stats.lanes) or "none", ", ".join(stats.plugins)
        self._log.info("aiotrack %s starts; destinations: %s; plugins: %s", aiotrack.__version__, lanes, plugins)
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
            self._log.info("%s, %s: %s, %s", name, when, lane.state, counted)
        if stats.refused:
            self._log.info("refused, %s: %s", when, ", ".join(f"{n} {why}" for why, n in stats.refused.items()))

    @aiotrack.hookimpl
    async def aiotrack_shutdown(self, client: aiotrack.Client) -> None:
        """Say where all stands before the last flush."""
        timer = self._timers.pop(client, None)
        if timer is not None:
            timer.cancel()
        self._say_counters(client, "closing")

    @aiotrack.hookimpl
    def aiotrack_event_tracked(self, event: aiotrack.Event) -> None:
        """Say that an event was taken."""
        if self._log.isEnabledFor(logging.DEBUG):
            self._log.debug("%.100r tracked: %.100r", event.key, event.event_id)

    @aiotrack.hookimpl
    def aiotrack_event_refused(self, event: aiotrack.Event, refusal: aiotrack.Refusal) -> None:
        """Say that one was not."""
        if self._log.isEnabledFor(logging.DEBUG):
            key = event.key if isinstance(event.key, str) else type(event.key)  # a caller's mistake, and what not
            self._log.debug("%.100r refused by %s: %s", key, refusal.destination or "all", refusal.reason)

    @aiotrack.hookimpl
    def aiotrack_event_lost(
        self, destination: aiotrack.Destination, lost: aiotrack.DeadLetter | int, reason: str
    ) -> None:
        """Say that events were accepted and won't be delivered."""
        if self._log.isEnabledFor(logging.DEBUG):
            count = lost if isinstance(lost, int) else 1
            self._log.debug("%s: %d lost (%.200s)", destination.name, count, printable(reason))

    @aiotrack.hookimpl
    def aiotrack_batch_sending(self, batch: aiotrack.Batch) -> None:
        """Say that a request goes out."""
        size = len(batch.request.body)
        self._log.debug("%s: sends %d events, %d bytes, attempt %d", batch.destination, len(batch), size, batch.attempt)

    @aiotrack.hookimpl
    def aiotrack_batch_delivered(self, batch: aiotrack.Batch, answer: aiotrack.Answer) -> None:
        """Say that it arrived."""
        self._log.debug("%s: %d events delivered (%s)", batch.destination, len(batch), printable(str(answer)))

    @aiotrack.hookimpl
    def aiotrack_batch_failed(self, batch: aiotrack.Batch, answer: aiotrack.Answer) -> None:
        """Say that it did not."""
        words = (batch.destination, len(batch), printable(str(answer)), batch.attempt)
        self._log.debug("%s: a request with %d events failed (%s), attempt %d", *words)

    @aiotrack.hookimpl
    def aiotrack_catalog_updated(self, destination: aiotrack.Destination, catalog: aiotrack.Catalog) -> None:
        """Say that a destination has learnt its events anew."""
        revision = printable(str(catalog.revision))
        self._log.info("%s: revision %.100s, %d events", destination.name, revision, len(catalog.events))
