"""Whether a destination takes events, and what the log says of it: when that changes, and every minute of an outage."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from aiotrack.model.log import logger
from aiotrack.model.stats import LaneState

if TYPE_CHECKING:
    from aiotrack.model.clock import Clock
    from aiotrack.model.log import EpisodeLog

    from .accounting import Accounting
    from .schedule import Schedule

__all__ = ["Condition"]

STEADY = 60.0  # seconds of delivering after which a failure is an episode of its own
REPEAT = 60.0  # seconds without a delivery after which an outage says itself again


class Condition:
    """One lane's."""

    def __init__(self, name: str, accounting: Accounting, schedule: Schedule, clock: Clock, log: EpisodeLog) -> None:
        self.last_delivered_at: float | None = None
        """In Unix seconds."""
        self.last_error: str | None = None
        self._name = name
        self._accounting = accounting
        self._schedule = schedule
        self._clock = clock
        self._log = log
        self._up_since = self._said_at = -math.inf  # by the monotonic clock
        self._level = logging.INFO  # at which the outage was said

    @property
    def oldest_age(self) -> float:
        """Return how many seconds the oldest event waits."""
        return self._schedule.age_of(self._accounting.ended_up_to + 1) if self._accounting.pending else 0.0

    @property
    def outage(self) -> str:
        """Say that the destination takes no events, if it doesn't."""
        state = self._accounting.state
        if state not in {LaneState.DOWN, LaneState.PAUSED}:
            return ""
        waiting = f"{self._accounting.pending} events wait, the oldest for {self.oldest_age:.0f} s"
        return f"{self._name} is {state}: {self.last_error}; {waiting}"

    def mark_up(self) -> None:
        """Note that the destination has taken a batch."""
        now = self._said_at = self._clock.monotonic()
        self.last_delivered_at = self._clock.time()
        if self._accounting.state is not LaneState.UP:
            self._accounting.state = LaneState.UP
            self._up_since = now
            self._log.once(self._level, (self._name, "up"), "%s: delivering again", self._name)

    def mark_down(self, state: LaneState, why: str, delay: float) -> None:
        """Note that the destination takes no events now, and tries again in `delay` seconds."""
        now, waiting = self._clock.monotonic(), self._accounting.pending
        if self._accounting.state is LaneState.UP and now - self._up_since >= STEADY:
            self._log.over((self._name, "down"))  # a new episode; a server that flaps is one
        self._accounting.state = state
        self._accounting.retries += 1
        self.last_error = why
        level = logging.ERROR if state is LaneState.PAUSED else logging.WARNING
        message = "%s: %s; %d events wait, the oldest for %.0f s, next try in %.1f s"
        words = (self._name, why, waiting, self.oldest_age, delay)
        if self._log.once(level, (self._name, "down"), message, *words, until_over=True):
            self._said_at, self._level = now, level
        elif now - self._said_at >= REPEAT:
            self._said_at, self._level = now, max(self._level, level)
            logger.log(level, message, *words)
