"""When a lane's entries are due: by number, by size, by age, or on request; and how long its senders sleep."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Generator

from aiotrack.model.clock import Clock, Timer
from aiotrack.model.tasks import wake

__all__ = ["Schedule"]

LONGEST_PAUSE, SHORTEST_PAUSE = 2.0, 0.05  # seconds between two tries while somebody waits
SHARE = 0.2  # of what is left of their time, at most


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
        self._marks: deque[tuple[int, int, float]] = deque()  # (first, last, when): these had come by then

    def add(self, last: int, events: int, size: int) -> None:
        """Count stored entries of `size` bytes together, the newest with that number."""
        if self._timer is None and not self._stopped:
            self._timer = self._clock.call_later(self._interval, self.trigger)
        self._last = last
        self._left -= events
        self._bytes += size
        if self._left <= 0 or self._bytes >= self._max_bytes:
            self.trigger()

    def recovered(self, number: int, since: float | None) -> None:
        """Make everything due up to an entry that another process had appended, by `since` in Unix seconds."""
        if since is not None and number > self._last:
            age = max(self._clock.time() - since, 0.0)
            self._mark(self._last + 1, number, self._clock.monotonic() - age)
        self._last = max(self._last, number)
        self.trigger()

    def trigger(self) -> None:
        """Make everything due that has come so far."""
        if self._last > self.due:
            self._mark(self.due + 1, self._last, self._clock.monotonic())
        self.due = self._last
        self._bytes = 0
        self._left = self._max_events
        self._cancel()
        self.wake()

    def _mark(self, first: int, last: int, when: float) -> None:
        """Note by when entries had come: a hundred marks within `max_age`, and one for all that is older."""
        marks, now = self._marks, self._clock.monotonic()
        if self._max_age is None:
            return
        if len(marks) > 1 and marks[-1][1] + 1 == first and 0 <= when - marks[-2][2] < self._max_age / 100:
            first = marks.pop()[0]
        marks.append((first, last, when))
        while len(marks) > 1 and now - max(marks[0][2], marks[1][2]) >= self._max_age:
            oldest, (_, last, when) = marks.popleft(), marks.popleft()
            marks.appendleft((oldest[0], last, when))

    def is_old(self, number: int) -> bool:
        """Tell whether an entry has been here for `max_age` seconds."""
        if self._max_age is None:
            return False
        now = self._clock.monotonic()
        return any(first <= number <= last and now - when >= self._max_age for first, last, when in self._marks)

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
    def hurry(self, deadline: float) -> Generator[None, None, None]:
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
