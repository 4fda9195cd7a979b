"""When a lane's entries are due: by number, by size, by age, or on request. Knows neither buffer nor sender."""

from __future__ import annotations

import asyncio

from .clock import Clock, Timer

__all__ = ["Schedule", "wake"]


class Schedule:
    """Everything up to `due` is to be sent. One timer at most, set by the first entry after a trigger."""

    def __init__(self, max_events: int, max_bytes: int, interval: float, clock: Clock) -> None:
        self.due = 0
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._interval = interval
        self._clock = clock
        self._last = 0  # the newest entry's number
        self._events = self._bytes = 0  # since the last trigger
        self._timer: Timer | None = None
        self._idle: asyncio.Future[None] | None = None

    def took(self, number: int, size: int) -> None:
        """Count an entry of `size` bytes."""
        self._last = number
        self._events += 1
        self._bytes += size
        if self._events >= self._max_events or self._bytes >= self._max_bytes:
            self.trigger()
        elif self._timer is None:
            self._timer = self._clock.call_later(self._interval, self.trigger)

    def trigger(self) -> None:
        """Make everything due that has come so far."""
        self.due = self._last
        self._events = self._bytes = 0
        self.stop()
        wake(self._idle)

    def stop(self) -> None:
        """Set no timer off any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def idle(self) -> None:
        """Wait for the next trigger."""
        self._idle = asyncio.get_running_loop().create_future()
        await self._idle


def wake(sleeper: asyncio.Future[None] | None) -> None:
    """Wake who sleeps on a future, if anyone does."""
    if sleeper is not None and not sleeper.done():
        sleeper.set_result(None)
