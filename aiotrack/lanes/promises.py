"""What a durable buffer has promised to store, and for how long callers are held for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from aiotrack.model.errors import EventRefused
from aiotrack.model.refusal import NOT_KNOWN
from aiotrack.model.tasks import wake

__all__ = ["Promises"]


class Promises:
    """Entries that a buffer is storing, in order. Once it has stored none for so many seconds, nobody waits any longer.

    Who waited is told "not known"; what is stored after all is kept and delivered.
    """

    def __init__(self, seconds: float, given_up: Callable[[int], None]) -> None:
        self._loop = asyncio.get_running_loop()  # its time: a disk is slow by no other clock
        self._seconds = seconds
        self._say_given_up = given_up
        self._open: deque[asyncio.Future[int]] = deque()
        self._given_up: set[asyncio.Future[int]] = set()
        self._ended = 0
        self._last_end = 0.0  # or when the oldest open promise was made
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: deque[tuple[int, asyncio.Future[None]]] = deque()

    def __len__(self) -> int:
        return len(self._open)

    def made(self, number: asyncio.Future[int]) -> None:
        """Note a promise, the number of its entry."""
        if not self._open:
            self._last_end = self._loop.time()
            if self._timer is None:
                self._timer = self._loop.call_later(self._seconds, self._look)
        self._open.append(number)

    def end(self, events: int) -> int:
        """Note that so many have ended, the oldest; return for how many of them nobody waits any longer."""
        late = 0
        for _ in range(min(events, len(self._open))):
            number = self._open.popleft()
            if self._given_up and number in self._given_up:
                self._given_up.discard(number)
                late += 1
        self._ended += events
        if self._open:
            self._last_end = self._loop.time()
        while self._flushing and self._flushing[0][0] <= self._ended:
            wake(self._flushing.popleft()[1])
        return late

    def _look(self) -> None:
        """Give up on what is open, if none has ended for too long; look again when that may be."""
        self._timer = None
        if not self._open:
            return
        left = self._last_end + self._seconds - self._loop.time()
        if left <= 0:
            waiting = [number for number in self._open if not number.done()]
            self._given_up.update(waiting)
            for number in waiting:
                number.set_exception(EventRefused(NOT_KNOWN))
                number.exception()  # perhaps nobody waits for it
            self._say_given_up(len(waiting))
            self._last_end, left = self._loop.time(), self._seconds
        self._timer = self._loop.call_later(max(left, 0.001), self._look)

    async def flush(self) -> None:
        """Wait until all that are open now have ended."""
        if self._open:
            stored: asyncio.Future[None] = self._loop.create_future()
            self._flushing.append((self._ended + len(self._open), stored))
            await stored

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
