"""Closing when the process is told to end, for programs that have no server to do it for them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from .client import Client
from .model.tasks import Tasks

__all__ = ["CloseOnSignal", "close_on_signal"]

Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None


class CloseOnSignal:
    """Closes a client on a signal, until it is undone: by the end of its `with` block, or by calling it."""

    def __init__(self, client: Client, signals: tuple[int, ...]) -> None:
        self._client = client
        self._tasks = Tasks()
        self._loop = asyncio.get_running_loop()
        self._before: dict[int, Handler] = {}
        self._undone = False
        for number in dict.fromkeys(signals):
            before = signal.getsignal(number)
            try:
                signal.signal(number, self._handle)
            except (OSError, ValueError):  # none that can be handled: the others are left alone, too
                self()
                raise
            self._before[number] = before

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self()

    def __call__(self) -> None:
        """Have the signals do again what they did before, where nobody else has set a handler since."""
        self._undone = True
        for number, previous in self._before.items():
            if signal.getsignal(number) in (self._handle, self._go_on):
                signal.signal(number, signal.SIG_DFL if previous is None else previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._undone or not self._loop.is_running():
            self._go_on(number, frame)
            return
        signal.signal(number, self._go_on)
        self._loop.call_soon_threadsafe(lambda: self._tasks.spawn(self._close(number), name="aiotrack close on signal"))

    async def _close(self, number: int) -> None:
        try:
            await self._client.aclose()
        finally:
            self._go_on(number)

    def _go_on(self, number: int, frame: FrameType | None = None) -> None:
        """Do what the signal did before."""
        self()
        previous = self._before[number]
        if callable(previous):
            previous(number, frame)
        elif previous == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def close_on_signal(client: Client, *signals: int) -> CloseOnSignal:
    """Close the client on a signal (default: SIGTERM), then do what the signal did before.

        with aiotrack.close_on_signal(client):
            ...

    Works from the call on; the end of the `with` block, or a call of the result, undoes it. To be called on the main
    thread, while the client's event loop runs. The process ends after the client has closed, at most `shutdown_timeout`
    seconds later, or at once on a second signal. Raises RuntimeError where no loop runs, and ValueError on another
    thread.
    """
    return CloseOnSignal(client, signals or (signal.SIGTERM,))
