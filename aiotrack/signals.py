"""Closing when the process is told to end, for programs that have no server to do it for them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from .model.tasks import Tasks

if TYPE_CHECKING:
    from .client import Client

__all__ = ["close_on_signal"]

Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None


def close_on_signal(client: Client, *signals: int) -> Callable[[], None]:
    """Close the client on a signal (default: SIGTERM), then do what the signal did before; return what undoes this.

    To be called on the main thread, while the client's event loop runs. The process ends after the client has closed,
    at most `shutdown_timeout` seconds later, or at once on a second signal. Raises RuntimeError where
    no loop runs, and ValueError on another thread.
    """
    tasks = Tasks()
    before: dict[int, Handler] = {}
    loop = asyncio.get_running_loop()

    def go_on(number: int) -> None:
        undo()
        previous = before[number]
        if callable(previous):
            previous(number, None)
        elif previous == signal.SIG_DFL:
            os.kill(os.getpid(), number)

    async def close(number: int) -> None:
        try:
            await client.aclose()
        finally:
            go_on(number)

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, lambda number, frame: go_on(number))
        loop.call_soon_threadsafe(lambda: tasks.spawn(close(number), name="aiotrack close on signal"))

    def undo() -> None:
        for number, previous in before.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)

    for number in signals or (signal.SIGTERM,):
        before[number] = signal.getsignal(number)
        signal.signal(number, handle)
    return undo
