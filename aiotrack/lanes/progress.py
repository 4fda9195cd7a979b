"""Whether a lane moves: only while it does is a caller held until there is room."""

from __future__ import annotations

import math

from aiotrack.model.clock import Clock

__all__ = ["Progress"]

LEAST_PATIENCE = 1.0  # seconds
PATIENCE = 2.0  # times what the last good request took, where that is more


class Progress:
    """What has happened lately. A request under way is progress for as long as it may well take, and no longer."""

    def __init__(self, clock: Clock) -> None:
        self.patience = LEAST_PATIENCE
        """Seconds without news after which a lane with a request under way no longer moves."""
        self._clock = clock
        self._last_news = -math.inf  # when an event ended, or a request began
        self._under_way = 0
        self._stalled = False

    @property
    def left(self) -> float:
        """For how many seconds more the lane moves, if nothing happens; 0 or less where it does not."""
        if self._stalled:
            return 0.0
        if not self._under_way:  # one begins as soon as a sender is told that there is something to send
            return self.patience
        return self._last_news + self.patience - self._clock.monotonic()

    def why_stalled(self, name: str) -> str:
        """Say why nobody is held for room in a lane of that name, which does not move."""
        return f"there is no room, and {name} has taken nothing for {self.patience:.3g} s"

    def begin_request(self) -> float:
        """Note that a request begins; return when that was."""
        self._under_way += 1
        self.ended()
        return self._last_news

    def end_request(self, began: float, *, passed: bool) -> None:
        """Note that a request has ended, well or not."""
        self._under_way -= 1
        if passed:
            self.patience = max(LEAST_PATIENCE, PATIENCE * (self._clock.monotonic() - began))

    def ended(self) -> None:
        """Note that events have ended."""
        self._stalled = False
        self._last_news = self._clock.monotonic()

    def stalled(self) -> None:
        """Note that a caller waited in vain, for as long as anybody is held."""
        self._stalled = True
