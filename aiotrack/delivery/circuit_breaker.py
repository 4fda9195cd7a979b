"""The circuit breaker of a lane: whether its destination is worth a whole batch, or just a small one now and then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

__all__ = ["PROBE", "Circuit"]

OPENS_AFTER = 6  # requests that failed in a row: some ten seconds of them
PROBE = 20  # events of a probe, at most


class Circuit:
    """Closed while requests get through. Open after several in a row that didn't: one sender at a time may probe."""

    def __init__(self) -> None:
        self.failures = 0  # in a row
        self._probing = asyncio.Lock()

    @property
    def open(self) -> bool:
        """Whether nothing but a probe should be sent."""
        return self.failures >= OPENS_AFTER

    def failed(self) -> None:
        """Note a request that is worth repeating."""
        self.failures += 1

    def worked(self) -> None:
        """Note a request that the destination has answered."""
        self.failures = 0

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[bool, None]:
        """Wait for leave to send; gives whether it is for a probe only."""
        while self.open:
            async with self._probing:
                if self.open:
                    yield True
                    return
        yield False
