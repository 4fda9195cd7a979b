"""Room for those who can wait: bulk producers leave half of a buffer to other callers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiotrack.model.other_loops import Home
from aiotrack.model.tasks import wake

if TYPE_CHECKING:
    from aiotrack.buffers.base import LaneBuffer

    from .schedule import Schedule

__all__ = ["Room"]


class Room:
    """Whether one lane's buffer has room for a bulk producer's next event, and the wait for some."""

    def __init__(self, buffer: LaneBuffer, schedule: Schedule) -> None:
        self._buffer = buffer
        self._schedule = schedule
        self._home = Home.here()
        self._waiting: set[asyncio.Future[None]] = set()
        self._is_closed = False

    async def wait(self) -> None:
        """Wait until less than half of the buffer is full, or the lane is closed. On another event loop, don't."""
        while self._home.is_here and getattr(self._buffer, "half_full", False) and not self._is_closed:
            self._schedule.trigger()
            made: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(made)
            try:
                await made
            finally:
                self._waiting.discard(made)

    def made(self) -> None:
        """Have those look who wait: there may be more room."""
        for waiting in self._waiting:
            wake(waiting)

    def close(self) -> None:
        """Have nobody wait any longer."""
        self._is_closed = True
        self.made()
