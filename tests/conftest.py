"""What tests share: a real collector and a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aiotrack.testing import Collector, ManualClock

collect_ignore = ["strangers"]  # they run where they are installed


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A real HTTP server on loopback."""
    async with Collector() as collector:
        yield collector


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the test moves."""
    return ManualClock()
