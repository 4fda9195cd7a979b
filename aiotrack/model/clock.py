"""Time as one object, so that a test can own it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "SystemClock", "Timer", "milliseconds", "sleep"]


class Timer(Protocol):
    """What `call_later` gives back."""

    def cancel(self) -> None:
        """Stop it; no error if it has fired."""


class Clock(Protocol):
    """The time of day, a time that only grows, and a call in the future."""

    def time(self) -> float:
        """Return Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an unknown start."""
        ...

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call back on the running loop after `delay` seconds."""
        ...


def milliseconds(seconds: float) -> int:
    """Return Unix seconds as the whole milliseconds that events carry."""
    return int(seconds * 1000 + 0.5)


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait by a client's clock, so that a test which owns it can end the wait."""
    over = asyncio.Event()
    timer = clock.call_later(seconds, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()


class SystemClock:
    """The machine's own time."""

    def __init__(self) -> None:
        # The functions themselves, not methods around them: `time` is read for every event.
        self.time = time.time
        self.monotonic = time.monotonic

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Use the running loop's timer."""
        return asyncio.get_running_loop().call_later(delay, callback)
