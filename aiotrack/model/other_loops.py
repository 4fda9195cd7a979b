"""Calls from other event loops and threads: carried to the client's loop, and answered within a second if it stops.

What makes such an answer's future done runs on the client's event loop; where that stops, and in a forked child, nobody
would, so a thread watches them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import attrs

from .errors import WrongLoop
from .forks import in_child

__all__ = ["Home", "Withdrawn", "answer_of", "watch"]

INTERVAL = 0.4  # seconds

T = TypeVar("T")
Future = concurrent.futures.Future[Any]


class Withdrawn(WrongLoop):
    """A call was not begun in time on the client's event loop, and won't be."""


@attrs.frozen
class Home:
    """The event loop and the process that something lives on."""

    loop: asyncio.AbstractEventLoop
    process: int

    @classmethod
    def here(cls) -> Home:
        """Return the running event loop's."""
        return cls(asyncio.get_running_loop(), os.getpid())

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on it."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    @property
    def runs(self) -> bool:
        """Whether it can be called from elsewhere: a forked child has only a copy of its parent's loop."""
        return self.process == os.getpid() and self.loop.is_running()

    async def call(self, name: str, function: Callable[[], Coroutine[Any, Any, T]], begin_within: float | None) -> T:
        """Run `function()` there, and wait here, on another event loop, for its end.

        Raises WrongLoop where that loop does not run, or stops, and Withdrawn where it does not begin within so many
        seconds (None: as long as it takes).
        """
        if not self.runs:
            raise WrongLoop(f"{name}: the client's event loop does not run")
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()
        begun: list[asyncio.Task[T]] = []

        def begin() -> None:
            if answer.set_running_or_notify_cancel():
                begun.append(self.loop.create_task(function(), name=f"aiotrack {name} for another loop"))
                begun[0].add_done_callback(lambda task: _copy_end(task, answer, name))

        self.loop.call_soon_threadsafe(begin)
        watch(answer, self.loop, name)
        try:
            return await answer_of(answer, name, begin_within)
        finally:
            if begun and not answer.done():  # the caller is cancelled
                with contextlib.suppress(RuntimeError):  # the loop is closed by now
                    self.loop.call_soon_threadsafe(begun[0].cancel)


async def answer_of(
    answer: concurrent.futures.Future[T], name: str, begin_within: float | None, end_within: float | None = None
) -> T:
    """Wait for the answer to a call on another event loop.

    Raises Withdrawn where it is not begun, and TimeoutError where it does not end, within so many seconds from now.
    """
    end = None if end_within is None else asyncio.get_running_loop().time() + end_within
    waiting = asyncio.wrap_future(answer)
    try:
        await asyncio.wait({waiting}, timeout=begin_within)
        if answer.cancel():
            raise Withdrawn(f"{name}: the client's event loop did not take the call within {begin_within:g} s")
        async with asyncio.timeout_at(end):
            return await waiting
    finally:
        waiting.cancel()


def _copy_end(task: asyncio.Task[T], answer: concurrent.futures.Future[T], name: str) -> None:
    with contextlib.suppress(concurrent.futures.InvalidStateError):  # it has failed: the loop had stopped for a while
        if task.cancelled():
            answer.set_exception(WrongLoop(f"{name}: the task on the client's event loop was cancelled"))
        elif (exc := task.exception()) is not None:
            answer.set_exception(exc)
        else:
            answer.set_result(task.result())


class _LoopWatch:
    """A thread that looks now and then, for as long as there is anything to look at."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may track while this very thread is in here
        self._watched: dict[Future, tuple[asyncio.AbstractEventLoop, str]] = {}
        self._thread: threading.Thread | None = None

    def add(self, future: Future, loop: asyncio.AbstractEventLoop, call: str) -> None:
        """Watch a future until it is done."""
        with self._lock:
            self._watched[future] = loop, call
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="aiotrack loop watch", daemon=True)
                self._thread.start()
        future.add_done_callback(self._forget)

    def _forget(self, future: Future) -> None:
        with self._lock:
            self._watched.pop(future, None)

    def _look(self) -> None:
        stopped: set[asyncio.AbstractEventLoop] = set()  # at the last look: a loop may stop for a moment
        while True:
            time.sleep(INTERVAL)
            with self._lock:
                if not self._watched:
                    self._thread = None
                    return
                watched = tuple(self._watched.items())
            now_stopped = {loop for loop in {loop for _, (loop, _) in watched} if not loop.is_running()}
            for future, (loop, call) in watched:
                if loop in now_stopped and (loop in stopped or loop.is_closed()):
                    _fail(future, f"{call}: the client's event loop has stopped")
            stopped = now_stopped

    def after_fork(self) -> None:
        """In a forked child: nobody will ever make these done."""
        self._lock, self._thread = threading.RLock(), None
        watched, self._watched = tuple(self._watched.items()), {}
        for future, (_, call) in watched:
            future._condition = threading.Condition()  # noqa: SLF001 - another thread may have held it
            _fail(future, f"{call}: it was begun before this process was forked")


def _fail(future: Future, why: str) -> None:
    with contextlib.suppress(concurrent.futures.InvalidStateError):  # it is done by now
        future.set_exception(WrongLoop(f"{why}; what became of the call is not known"))


_watch = _LoopWatch()
watch = _watch.add
in_child(_watch.after_fork)
