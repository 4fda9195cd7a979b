"""Tasks, each with a name and an owner that awaits it; and awaiting foreign code, at most so long."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from .errors import ClientClosed
from .log import logger

__all__ = ["PLUGIN_ERRORS", "Overdue", "OwnTask", "Tasks", "is_async", "reraise_exit", "run_with_timeout", "wake"]

T = TypeVar("T")

PLUGIN_ERRORS = (BaseException,)
"""What foreign code, a plugin, a destination or a buffer, may raise: test frameworks and compiled extensions have
BaseExceptions of their own, and a plugin may find a cancelled task. Whoever catches it calls `reraise_exit`, and
where it awaits, `OwnTask.reraise`."""

GRACE = 0.5  # seconds for foreign code to clean up after itself, once its time is over


class Overdue(TimeoutError):
    """Foreign code did not end in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"did not end within {seconds:g} s")
        self.seconds = seconds


def is_async(function: object) -> bool:
    """Tell whether calling a function, or an object, gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)  # noqa: B004 - its own, not whether it has one
    )


def reraise_exit(exc: BaseException) -> None:
    """Raise what ends the program, whoever happened to run when it came."""
    if isinstance(exc, (KeyboardInterrupt, SystemExit)):
        raise exc


class OwnTask:
    """The running task, before it awaits foreign code; tells afterwards whether an exception is meant for the task.

    A task that was cancelled before, and cleans up, may track all the same.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._requests = 0 if self._task is None else self._task.cancelling()

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody has cancelled the task since."""
        return self._task is None or self._task.cancelling() > self._requests

    def reraise(self, exc: BaseException) -> None:
        """Raise what ends the program or this task; what foreign code raised or found elsewhere does not."""
        reraise_exit(exc)
        if isinstance(exc, asyncio.CancelledError) and self.is_cancelled:
            raise exc
        if isinstance(exc, GeneratorExit) and not self._runs():
            raise exc

    def _runs(self) -> bool:
        try:
            return self._task is not None and asyncio.current_task() is self._task
        except RuntimeError:  # no event loop runs: the coroutine is thrown away
            return False


async def run_with_timeout(seconds: float, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine, at most so many seconds. One that does not wait for anything sets no timer.

    Raises Overdue.
    """
    own = OwnTask()
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
        if own.is_cancelled:  # by somebody else, while the coroutine did not listen
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
    """Tasks that live no longer than their owner, each in a context of its own.

    The context of whoever happens to start a client, or to track the first event, is a request's; a task that lives as
    long as the client would keep all that it holds.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self.stopped = False

    def spawn(
        self, coro: Coroutine[Any, Any, T], *, name: str, context: contextvars.Context | None = None
    ) -> asyncio.Task[T]:
        """Run a coroutine as a task; one that fails is named in the log. Raises ClientClosed once stopped."""
        if self.stopped:
            coro.close()
            raise ClientClosed(f"spawn: the client is closing, and starts no task {name!r}")
        context = contextvars.Context() if context is None else context
        task = asyncio.get_running_loop().create_task(coro, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._ended, context=context)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            logger.error("task %r failed with %s", task.get_name(), type(exc).__name__)

    async def join(self, timeout: float) -> None:
        """Wait for all tasks, at most `timeout` seconds, and stop those that are left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        await self.stop(timeout)

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


def wake(sleeper: asyncio.Future[None] | None) -> None:
    """End the wait for a future, if anybody waits for it."""
    if sleeper is not None and not sleeper.done():
        sleeper.set_result(None)
