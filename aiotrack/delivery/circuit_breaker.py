"""The circuit breaker of a lane: a destination that keeps failing gets only small probes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

__all__ = ["PROBE", "CircuitBreaker"]

OPENS_AFTER = 6  # requests that failed in a row: some ten seconds of them
PROBE = 20  # events of a probe, at most


class CircuitBreaker:
    """Closed while requests get through. Open after several in a row that didn't: one sender at a time may probe."""

    def __init__(self) -> None:
        self.failures = 0  # in a row
        self._probing = asyncio.Lock()

    @property
    def open(self) -> bool:
        """Whether nothing but a probe should be sent."""
        return self.failures >= OPENS_AFTER

    def record_failure(self) -> None:
        """Count a request that is worth repeating."""
        self.failures += 1

    def record_answer(self) -> None:
        """Note a request that the destination has answered."""
        self.failures = 0

    @asynccontextmanager
    async def permit(self) -> AsyncGenerator[bool, None]:
        """Wait until a request may be sent; gives whether it must be a probe."""
        while self.open:
            async with self._probing:
                if self.open:
                    yield True
                    return
        yield False
