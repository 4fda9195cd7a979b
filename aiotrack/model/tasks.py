"""The one place that makes tasks: each has a name, and an owner that awaits it. And awaiting with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from .log import logger
from .state import State, misuse

__all__ = ["FOREIGN", "Overdue", "Tasks", "raise_if_ours", "within"]

T = TypeVar("T")

FOREIGN = (Exception, asyncio.CancelledError)
"""What foreign code may raise, and must not get past its guard: a cancellation that it found in a task, too."""

GRACE = 0.5  # seconds for foreign code to clean up after itself, once its time is over


class Overdue(TimeoutError):
    """Foreign code did not end in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"did not end within {seconds:g} s")
        self.seconds = seconds


def raise_if_ours(exc: BaseException) -> None:
    """Raise a cancellation that is meant for the running task, and not for something that foreign code awaited."""
    task = asyncio.current_task()
    if isinstance(exc, asyncio.CancelledError) and (task is None or task.cancelling()):
        raise exc


async def within(seconds: float, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine, at most so many seconds. One that does not wait for anything sets no timer.

    Raises Overdue.
    """
    try:
        waiting_for = coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    limit = asyncio.timeout(seconds)
    try:
        async with asyncio.timeout(seconds + GRACE), limit:
            return await _rest_of(coroutine, waiting_for)
    except TimeoutError as exc:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # by somebody else, while the coroutine did not listen
            raise asyncio.CancelledError from exc
        if limit.expired():
            raise Overdue(seconds) from exc
        raise


@types.coroutine
def _rest_of(coroutine: Coroutine[Any, Any, T], waiting_for: Any) -> Generator[Any, Any, T]:
    """Go on with a coroutine that has begun, and waits. One that does not end when cancelled is left behind."""
    cancelled = False
    while True:
        try:
            answer = yield waiting_for
        except BaseException as exc:
            raised: BaseException | None = exc
            answer = None
            if isinstance(exc, asyncio.CancelledError):
                if cancelled:
                    with contextlib.suppress(RuntimeError):  # it ignores that, too
                        coroutine.close()
                    raise
                cancelled = True
        else:
            raised = None
        try:
            waiting_for = coroutine.send(answer) if raised is None else coroutine.throw(raised)
        except StopIteration as done:
            result: T = done.value
            return result


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
