"""The one place that makes tasks. Each has a name, and an owner that awaits it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from .log import logger
from .state import State, misuse

__all__ = ["Tasks", "raise_if_ours"]

T = TypeVar("T")


def raise_if_ours(exc: BaseException) -> None:
    """Raise a cancellation that is meant for the running task, and not for something that foreign code awaited."""
    task = asyncio.current_task()
    if isinstance(exc, asyncio.CancelledError) and (task is None or task.cancelling()):
        raise exc


class Tasks:
    """Tasks that live no longer than their owner."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self.stopped = False

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run a coroutine as a task; one that fails is named in the log. Raises ClientClosed once stopped."""
        if self.stopped:
            coro.close()
            raise misuse(State.CLOSING, "spawn")
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            logger.error("task %r failed with %s", task.get_name(), type(exc).__name__)

    async def stop(self, timeout: float) -> None:
        """Cancel all tasks but the calling one, and wait for them at most `timeout` seconds."""
        self.stopped = True
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=timeout)
            for task in stuck:
                logger.error("task %r does not end when cancelled; it is left behind", task.get_name())
