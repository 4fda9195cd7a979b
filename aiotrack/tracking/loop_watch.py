"""Futures that threads wait for, watched: they fail within a second where their event loop stops, or in a forked child.

Nobody else would: what makes a future done runs on that event loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import time
from typing import Any

from aiotrack.model.errors import WrongLoop

__all__ = ["watch"]

INTERVAL = 0.4  # seconds

Future = concurrent.futures.Future[Any]


class _LoopWatch:
    """A thread that looks now and then, for as long as there is anything to look at."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may track while this very thread is in here
        self._watched: dict[Future, asyncio.AbstractEventLoop] = {}
        self._thread: threading.Thread | None = None

    def add(self, future: Future, loop: asyncio.AbstractEventLoop) -> None:
        """Watch a future until it is done."""
        with self._lock:
            self._watched[future] = loop
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
            now_stopped = {loop for loop in {loop for _, loop in watched} if not loop.is_running()}
            for future, loop in watched:
                if loop in now_stopped and (loop in stopped or loop.is_closed()):
                    _fail(future, "the client's event loop has stopped")
            stopped = now_stopped

    def after_fork(self) -> None:
        """In a forked child: nobody will ever make these done."""
        self._lock, self._thread = threading.RLock(), None
        watched, self._watched = tuple(self._watched), {}
        for future in watched:
            future._condition = threading.Condition()  # noqa: SLF001 - another thread may have held it
            _fail(future, "it was begun before this process was forked")


def _fail(future: Future, why: str) -> None:
    with contextlib.suppress(concurrent.futures.InvalidStateError):  # it is done by now
        future.set_exception(WrongLoop(f"track_event_threadsafe: {why}; whether the event was accepted is not known"))


_watch = _LoopWatch()
watch = _watch.add
os.register_at_fork(after_in_child=_watch.after_fork)
