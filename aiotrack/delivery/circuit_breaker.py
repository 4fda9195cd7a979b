"""The circuit breaker of a lane: a destination that fails gets only probes, one at a time, and pauses that grow."""

from __future__ import annotations

import asyncio
import random

from aiotrack.model.stats import LaneState
from aiotrack.model.verdict import backoff

from .pass_rates import PassRates

__all__ = ["OPENS_AFTER", "PROBE", "CircuitBreaker"]

OPENS_AFTER = 6  # requests that failed in a row, some ten seconds of them: an outage, and no few bad events
PROBE = 20  # events of a probe, at most
NO_OUTAGE, NO_REASON, NO_CHANGE = 0.001, 0.1, 0.5  # how likely failures in a row are, to be no more than chance
WHOLE = 0.5  # share of the probes that pass, from which on a part that failed is sent again as it was


class CircuitBreaker:
    """Closed while requests are answered; open once one was not, until the next is."""

    def __init__(self, batch_size: int) -> None:
        self.failures = 0  # in a row
        self.passing = False
        """Whether others were answered just before: false at first, and from the second failure in a row on."""
        self.probing = asyncio.Lock()
        """Held by the sender whose turn it is while the circuit is open."""
        self._rates = PassRates(batch_size)
        self._random = random.Random()  # noqa: S311 - jitter, no secret

    @property
    def open(self) -> bool:
        """Whether nothing but a probe should be sent."""
        return self.failures > 0

    @property
    def _surprising(self) -> int:
        """How many of the failures in a row are more than chance."""
        return max(self.failures - self._rates.by_chance(NO_REASON), 0)

    @property
    def is_outage(self) -> bool:
        """Whether so much has failed that no event can be blamed for it."""
        return self._surprising >= OPENS_AFTER and self.failures >= self._rates.by_chance(NO_OUTAGE)

    @property
    def is_chance(self) -> bool:
        """Whether so few have failed, as often as they do, that it is no reason to wait."""
        return not self._surprising

    @property
    def state(self) -> LaneState:
        """What the lane is, by the failures so far."""
        return LaneState.DOWN if self.is_outage else LaneState.RETRYING

    @property
    def batch(self) -> int:
        """How many events a batch should have: fewer where many are bad."""
        return self._rates.best()

    @property
    def probe(self) -> int:
        """How many events a probe should have: fewer after failures that surprise: too slow, or a bad one."""
        surprising = max(self.failures - self._rates.by_chance(NO_CHANGE), 0)
        return max(min(self.batch, PROBE) >> surprising, 1)

    @property
    def whole(self) -> int:
        """How many events that failed together are sent together again: none where that has been tried, or is vain."""
        return PROBE if self.failures < OPENS_AFTER and self._rates.rate(PROBE) >= WHOLE else 0

    def record_failure(self, events: int | None) -> None:
        """Count a request that is worth repeating, with so many events if they were sent for the first time."""
        self.passing = self.passing and self.failures == 0
        if events is not None:
            self._rates.failed(events, again=self.failures > 0)
        self.failures += 1

    def record_passed(self, events: int | None) -> None:
        """Note a request that has delivered its events, so many if they were sent for the first time."""
        self._rates.passed(events, outage=self.is_outage)
        self.record_answer()

    def record_answer(self) -> None:
        """Note a request that the destination has answered."""
        self.failures = 0
        self.passing = True

    def pause(self) -> float:
        """Return how many seconds to wait before the next request: jittered, longer with each surprising failure."""
        return backoff(max(self._surprising - 1, 0), self._random)
