"""Refusals: what an exception means for an event, counted, logged and told to listeners."""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING

import attrs

from aiotrack.hooks.budget import OverBudget
from aiotrack.model.errors import BufferFailed, BufferFull, EventRefused, refusal_of
from aiotrack.model.event import Event
from aiotrack.model.refusal import Problem, Reason, Refusal
from aiotrack.model.tasks import reraise_exit
from aiotrack.model.values import is_a, kind_of, text_of

from .validation import unencodable

if TYPE_CHECKING:
    from aiotrack.hooks.plugins import Plugins
    from aiotrack.model.log import EpisodeLog

__all__ = ["Refusals"]

INDEX = re.compile(r"\[\d+\]")
MOST_LINES = 30  # a minute about one reason: keys and paths may come from outside


class Refusals:
    """Counts refusals by reason, logs them once per episode, and tells the listeners."""

    def __init__(self, plugins: Plugins, log: EpisodeLog) -> None:
        self.counts: dict[str, int] = {}
        self._plugins = plugins
        self._log = log
        self._lock = threading.RLock()  # a closed client refuses calls from every thread, and signal handlers

    def by_lane(self, lane: str, event: Event, exc: BaseException) -> Refusal:
        """Return the refusal for what a lane raised when it was to admit an event."""
        reraise_exit(exc)
        if isinstance(exc, OverBudget):
            raise exc
        if isinstance(exc, EventRefused | BufferFull | BufferFailed | OSError):
            return attrs.evolve(refusal_of(exc), destination=lane)
        try:
            problems = unencodable(event)
        except Exception:  # noqa: BLE001 - a value whose own methods raise
            problems = (Problem("event", "values that can be read", f"one that raised {type(exc).__name__}"),)
        if problems:
            reason = Reason.INVALID_TAG if problems[0].path.startswith("tags") else Reason.INVALID_EVENT
            return attrs.evolve(Refusal.of(reason, problems), destination=lane)
        self._plugins.record(lane, "encode", exc)
        message = f"its encode raised {type(exc).__name__}"
        return Refusal(Reason.DESTINATION_ERROR, message, destination=lane)

    def announce(self, event: Event, refusal: Refusal) -> None:
        """Count a refusal and tell the listeners; one that is not known yet counts as what it ends in."""
        if refusal.reason == Reason.NOT_KNOWN:
            return
        self.count(event.key, refusal)
        self._plugins.notify("aiotrack_event_refused", event, refusal)

    def count(self, event_key: object, refusal: Refusal) -> None:
        """Count a refusal; log it once per episode, and of many events or places no more than fit on a screen."""
        reason = str(refusal.reason)
        level = logging.ERROR if refusal.reason == Reason.UNKNOWN_EVENT else logging.WARNING
        where = f"{refusal.destination}: " if refusal.destination else ""
        key = text_of(event_key)[:100] if is_a(event_key, str) else kind_of(event_key)
        kind = (refusal.destination, refusal.reason)
        with self._lock:
            self.counts[reason] = self.counts.get(reason, 0) + 1
            place = INDEX.sub("[]", refusal.path or "")
            self._log.one_of(
                MOST_LINES, level, kind, (key, place), "%sevent %r refused: %.300s", where, key, str(refusal)
            )
