"""A clock that the test owns, and waiting for things without sleeping."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

import attrs

__all__ = ["ManualClock", "ManualTimer", "until"]

BUSY = 1000  # turns after which a loop must rest now and then, or it starves other threads


@attrs.define(eq=False)
class ManualTimer:
    """A callback that waits for its time."""

    callback: Callable[[], object] | None

    def cancel(self) -> None:
        """Forget the callback."""
        self.callback = None


class ManualClock:
    """A clock that stands still until the test moves it: `Client(clock=ManualClock())`."""

    def __init__(self, time: float = 1_700_000_000.0) -> None:
        self._time = time
        self._elapsed = 0.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, ManualTimer]] = []

    def time(self) -> float:
        """Return Unix seconds."""
        return self._time + self._elapsed

    def monotonic(self) -> float:
        """Return seconds since the clock was made."""
        return self._elapsed

    def call_later(self, delay: float, callback: Callable[[], object]) -> ManualTimer:
        """Call back when the test has moved the clock that far."""
        timer = ManualTimer(callback)
        heapq.heappush(self._timers, (self._elapsed + delay, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Move the clock, and fire what is due on the way, in order."""
        end = self._elapsed + seconds
        while self._timers and self._timers[0][0] <= end:
            at, _, timer = heapq.heappop(self._timers)
            self._elapsed = max(self._elapsed, at)
            if timer.callback is not None:
                timer.callback()
        self._elapsed = end

    @property
    def next_timer(self) -> float | None:
        """Seconds until the next timer fires; None when none is set."""
        live = [at for at, _, timer in self._timers if timer.callback is not None]
        return min(live) - self._elapsed if live else None


async def until(condition: Callable[[], bool], *, timeout: float = 10.0) -> None:
    """Let the loop run until the condition holds; looks at it on every turn. Raises TimeoutError."""
    turns = 0
    async with asyncio.timeout(timeout):
        while not condition():
            turns += 1
            await asyncio.sleep(0 if turns < BUSY else 0.001)
