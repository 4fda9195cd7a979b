"""The circuit breaker of a lane: a destination that fails gets only probes, one at a time, and pauses that grow."""

from __future__ import annotations

import asyncio
import random

from aiotrack.model.stats import LaneState
from aiotrack.model.verdict import backoff

__all__ = ["OPENS_AFTER", "PROBE", "CircuitBreaker"]

OPENS_AFTER = 6  # requests that failed in a row, some ten seconds of them: an outage, and no few bad events
PROBE = 20  # events of a probe, at most


class CircuitBreaker:
    """Closed while requests are answered; open once one was not, until the next is."""

    def __init__(self) -> None:
        self.failures = 0  # in a row
        self.probe = PROBE
        """How many events a probe may have: fewer after one that failed: it was too slow, or held a bad one."""
        self.passing = False
        """Whether others were answered just before: false at first, and from the second failure in a row on."""
        self.probing = asyncio.Lock()
        """Held by the sender whose turn it is while the circuit is open."""
        self._random = random.Random()  # noqa: S311 - jitter, no secret

    @property
    def open(self) -> bool:
        """Whether nothing but a probe should be sent."""
        return self.failures > 0

    @property
    def is_outage(self) -> bool:
        """Whether so much has failed that no event can be blamed for it."""
        return self.failures >= OPENS_AFTER

    @property
    def state(self) -> LaneState:
        """What the lane is, by the failures so far."""
        return LaneState.DOWN if self.is_outage else LaneState.RETRYING

    def record_failure(self, events: int) -> None:
        """Count a request with so many events that is worth repeating."""
        self.passing = self.passing and self.failures == 0
        self.probe = min(self.probe, events // 2) or PROBE
        self.failures += 1

    def record_answer(self) -> None:
        """Note a request that the destination has answered."""
        self.failures = 0
        self.probe = min(2 * self.probe, PROBE)
        self.passing = True

    def pause(self) -> float:
        """Return how many seconds to wait before the next request: jittered, longer with each failure."""
        return backoff(max(self.failures - 1, 0), self._random)
