"""A client in a thread of its own, with an event loop of its own, which other threads call and wait for."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import functools
import math
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from aiotrack.model.errors import ClientClosed, StartError, WrongLoop
from aiotrack.model.forks import never_free
from aiotrack.model.log import logger

if TYPE_CHECKING:
    from aiotrack.client import Client

__all__ = ["Background"]

T = TypeVar("T")

GRACE = 1.0  # seconds more than a call may take by itself, and for the thread to end
PRIORITY = 10  # of all that is done when a process of multiprocessing ends


class Background:
    """Starts a client in a thread, and ends with it."""

    def __init__(self, client: Client, shutdown_timeout: float) -> None:
        self.client = client
        self._shutdown_timeout = shutdown_timeout
        self.process = os.getpid()
        self._started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._forget: list[Callable[[], object]] = []  # what was registered for the process's end
        self._thread = threading.Thread(target=self._run, name="aiotrack sync client", daemon=True)

    def start(self, timeout: float) -> None:
        """Start thread and client, within so many seconds. Raises what `Client.start` raises."""
        self._thread.start()
        try:
            self._started.result(_limit(timeout))
        except TimeoutError:
            raise StartError(f"start took longer than {timeout:g} s: something holds the client's thread up") from None
        self._end_with_process()

    def _end_with_process(self) -> None:
        """Have the client closed at the end of the process; some libraries end theirs in ways of their own."""
        atexit.register(self.end)
        self._forget = [functools.partial(atexit.unregister, self.end)]
        for name in ("multiprocessing.util", "billiard.util"):
            if (library := sys.modules.get(name)) is not None:
                self._forget.append(library.Finalize(None, self.end, exitpriority=PRIORITY).cancel)
        if (celery := sys.modules.get("celery.signals")) is not None:
            celery.worker_process_shutdown.connect(self.end, weak=False)
            self._forget.append(functools.partial(celery.worker_process_shutdown.disconnect, self.end))

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as exc:  # noqa: BLE001 - it belongs to who starts
            with contextlib.suppress(concurrent.futures.InvalidStateError):  # it had started
                self._started.set_exception(exc)

    async def _live(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        await self.client.start()
        self._started.set_result(None)
        await self._end.wait()
        await self.client.aclose(self._shutdown_timeout)  # where it was held up, it is not closed yet

    @property
    def is_here(self) -> bool:
        """Whether the caller is the thread itself: a plugin, say, that can't wait for what it would have to do."""
        return threading.current_thread() is self._thread

    def call(self, name: str, function: Callable[[], Coroutine[Any, Any, T]], timeout: float | None = None) -> T:
        """Run a coroutine function on the event loop, and wait for its end: so many seconds, and a little.

        Raises WrongLoop on the client's own thread, ClientClosed once that has ended, and TimeoutError.
        """
        if self.is_here:
            raise WrongLoop(f"{name}: called on the client's own thread, by a plugin say, it would wait for itself")
        if self._loop is None or not self._thread.is_alive():
            raise ClientClosed(f"{name}: the client is closed; a client never reopens, make a new one")
        coroutine = function()
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_limit(timeout))
        except RuntimeError:
            coroutine.close()
            raise

    def close(self, timeout: float) -> None:
        """Close the client, within so many seconds, and end the thread."""
        try:
            self.call("close", lambda: self.client.aclose(timeout), timeout)
        except TimeoutError:
            logger.error("a SyncClient is left behind: something holds its thread up")
        for forget in self._forget:
            forget()
        if self._loop is not None and self._end is not None:
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(GRACE)

    def end(self, **_: object) -> None:
        """Close the client when its owner is gone, or the process ends; whatever happens, the process goes on."""
        if self.process == os.getpid() and self._thread.is_alive():
            try:
                self.close(self._shutdown_timeout)
            except Exception as exc:  # noqa: BLE001 - nobody is left to be told
                logger.error("closing a SyncClient at the end raised %s", type(exc).__name__)

    def abandon(self) -> None:
        """In a forked child: leave everything to the parent, whose it is; only the plugins can be used again."""
        never_free(self)
        for lane in self.client._pipeline.lanes:  # noqa: SLF001 - the same library's
            never_free(dict(vars(lane.destination)))
            lane.destination.lane = None


def _limit(timeout: float | None) -> float | None:
    return None if timeout is None or timeout == math.inf else timeout + GRACE
