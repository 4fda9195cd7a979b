"""When a lane's entries are due: by number, by size, by age, or on request; and how long its senders sleep."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections import deque
from collections.abc import Generator

import attrs

from aiotrack.model.clock import Clock, Timer
from aiotrack.model.tasks import wake

__all__ = ["Schedule"]

LONGEST_PAUSE, SHORTEST_PAUSE = 2.0, 0.05  # seconds between two tries while somebody waits
MOST_MARKS = 100
SHARE = 0.2  # of what is left of their time, at most


@attrs.frozen
class Mark:
    """Entries that came between two moments, by the monotonic clock."""

    first: int
    last: int
    since: float
    by: float

    def joined(self, newer: Mark) -> Mark:
        """Return both as one."""
        return Mark(self.first, newer.last, min(self.since, newer.since), max(self.by, newer.by))


class Schedule:
    """Everything up to `due` is to be sent. One timer at most, set by the first entry after a trigger."""

    def __init__(
        self, max_events: int, max_bytes: int, interval: float, clock: Clock, *, max_age: float | None = None
    ) -> None:
        self.due = 0
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._interval = interval
        self._clock = clock
        self._last = 0  # the newest entry's number
        self._bytes = 0  # since the last trigger
        self._left = max_events  # until a batch is full
        self._timer: Timer | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._stopped = False
        self._sleeping: set[asyncio.Future[None]] = set()
        self._deadlines: list[float] = []  # of those who wait, by the loop's time
        self._max_age = max_age
        self._since = 0.0  # when the first entry since the last trigger came
        self._marks: deque[Mark] = deque()

    def add(self, last: int, events: int, size: int) -> None:
        """Count stored entries of `size` bytes together, the newest with that number."""
        if self._timer is None and not self._stopped:
            self._timer = self._clock.call_later(self._interval, self.trigger)
            self._since = self._clock.monotonic()
        self._last = last
        self._left -= events
        self._bytes += size
        if self._left <= 0 or self._bytes >= self._max_bytes:
            self.trigger()

    def recovered(self, number: int, since: float | None) -> None:
        """Make everything due up to an entry that another process had appended, by `since` in Unix seconds."""
        self.trigger()
        if number > self._last:
            age = 0.0 if since is None else max(self._clock.time() - since, 0.0)
            when = self._clock.monotonic() - age
            self._mark(Mark(self._last + 1, number, when, when))
            self._last = self.due = number
            self.wake()

    def trigger(self) -> None:
        """Make everything due that has come so far."""
        if self._last > self.due:
            now = self._clock.monotonic()
            self._mark(Mark(self.due + 1, self._last, min(self._since, now), now))
        self.due = self._last
        self._bytes = 0
        self._left = self._max_events
        self._cancel()
        self.wake()

    def _mark(self, mark: Mark) -> None:
        """Note when entries came: a hundred marks within `max_age`; where there are many, neighbours become one."""
        marks = self._marks
        span = 0.0 if self._max_age is None else self._max_age / 100
        if len(marks) > 1 and marks[-1].last + 1 == mark.first and 0 <= mark.by - marks[-2].by < span:
            mark = marks.pop().joined(mark)
        marks.append(mark)
        if len(marks) > 2 * MOST_MARKS:
            listed = list(marks)
            pairs = itertools.zip_longest(listed[::2], listed[1::2])
            self._marks = deque(one if other is None else one.joined(other) for one, other in pairs)

    def is_old(self, number: int) -> bool:
        """Tell whether an entry has been here for `max_age` seconds."""
        if self._max_age is None:
            return False
        now = self._clock.monotonic()
        return any(mark.first <= number <= mark.last and now - mark.by >= self._max_age for mark in self._marks)

    def age_of(self, number: int) -> float:
        """Return how many seconds ago an entry came, to about a hundredth."""
        listed = tuple(self._marks)  # another thread may ask, while this one adds to it
        marks = [mark.since for mark in listed if mark.first <= number <= mark.last]
        return self._clock.monotonic() - min(marks, default=self._since)

    def wake(self) -> None:
        """Have senders look whether there is anything to claim."""
        for waiting in self._waiting:
            wake(waiting)

    async def sleep(self, delay: float, *, interruptible: bool) -> None:
        """Wait `delay` seconds; less, where it is `interruptible`, while somebody waits and after `expedite`."""
        sleeping: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if interruptible and self._deadlines:
            delay = min(delay, LONGEST_PAUSE, max(self.time_left() * SHARE, SHORTEST_PAUSE))
        timer = self._clock.call_later(delay, lambda: wake(sleeping))
        if interruptible:
            self._sleeping.add(sleeping)
        try:
            await sleeping
        finally:
            self._sleeping.discard(sleeping)
            timer.cancel()

    def time_left(self) -> float:
        """Return how many seconds those who wait still have; infinite where nobody does."""
        return min(self._deadlines, default=math.inf) - asyncio.get_running_loop().time()

    @contextlib.contextmanager
    def waiting_until(self, deadline: float) -> Generator[None, None, None]:
        """While this is open somebody waits, until the loop's time `deadline`: senders try again often, and in time."""
        self._deadlines.append(deadline)
        try:
            yield
        finally:
            self._deadlines.remove(deadline)

    def expedite(self) -> None:
        """Make everything due, and wake the senders that sleep."""
        self.trigger()
        for sleeping in self._sleeping:
            wake(sleeping)

    def stop(self) -> None:
        """Set no timer off any more."""
        self._stopped = True
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def triggered(self, seconds: float | None = None) -> None:
        """Wait for the next trigger, at most so many seconds."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = None if seconds is None else self._clock.call_later(seconds, lambda: wake(waiting))
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)
            if timer is not None:
                timer.cancel()
