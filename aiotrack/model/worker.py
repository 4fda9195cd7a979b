"""A thread for work that blocks: files, compression, parsing."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from .log import logger

__all__ = ["Worker", "off_loop"]

T = TypeVar("T")


class Worker:
    """Does one job after the other in a daemon thread of its own, which starts with the first.

    The event loop's default executor is the application's: its threads may all be busy, and are joined when the
    interpreter ends. This one waits for nobody, and holds up no exit.
    """

    def __init__(self, name: str) -> None:
        self._name = f"aiotrack {name}"
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[], object]) -> None:
        """Have a job done, from any thread; one that raises is named in the log."""
        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def run(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """Have a job done; return a future of what it returns or raises. Who stops waiting does not stop the job."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                result = job()
            except BaseException as exc:  # noqa: BLE001 - it belongs to who waits
                _tell(loop, future, future.set_exception, exc)
            else:
                _tell(loop, future, future.set_result, result)

        self.submit(run)
        return future

    def stop(self) -> None:
        """End the thread once all that was asked of it is done; another job would start another."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until all that was asked of it is done; tell whether it is. Blocks."""
        if self._thread is None or not self._thread.is_alive():
            return True
        done = threading.Event()
        self._jobs.put(done.set)
        return done.wait(timeout)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception as exc:  # noqa: BLE001 - the next jobs are somebody else's
                logger.error("%s: a job failed with %s", self._name, type(exc).__name__)
            del job  # with all that it refers to, and not only when the next one comes


async def off_loop(name: str, job: Callable[[], T]) -> T:
    """Do one job in a daemon thread of its own."""
    worker = Worker(name)
    done = worker.run(job)
    worker.stop()
    return await done


def _tell(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], answer: Callable[[Any], None], value: object
) -> None:
    """Answer a future from another thread."""

    def tell() -> None:
        if not future.done():
            answer(value)

    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(tell)
