"""Group commit: what comes while a transaction is written shares the next one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import attrs

from aiotrack.buffers.base import BufferListener
from aiotrack.buffers.dead_letters import DeadLetter
from aiotrack.model.errors import BufferFailed
from aiotrack.model.log import logger
from aiotrack.model.worker import Worker

from .backlog import Ranges, Run
from .store import EventStore, Work

__all__ = ["CANT_WRITE", "LONGEST_WAIT", "Writer"]

CANT_WRITE = (sqlite3.Error, OSError)

LONGEST_WAIT = 5.0  # seconds at the interpreter's end for what is being written


class Writer:
    """Writes to one store, one transaction at a time, on the store's thread; everything else is on the loop."""

    def __init__(
        self,
        worker: Worker,
        store: EventStore,
        ended: Ranges,
        listener: BufferListener,
        stored: Callable[[Run], None],
    ) -> None:
        self.unsafe = 0  # bytes of entries that `stored` has not heard of
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._worker = worker
        self._store = store
        self._listener = listener
        self._stored = stored
        self._entries: list[tuple[bytes, bytes]] = []
        self._callers: list[asyncio.Future[int]] = []
        self._dead: list[DeadLetter] = []
        self._forgotten: list[int] = []
        # Committed, and the lane does not know yet; in one order, whether they were appended or adopted.
        self._untold: deque[tuple[Run, list[asyncio.Future[int]] | None]] = deque()
        self._changed = self._writing = False
        self._landings = 0  # transactions that have ended
        self._landing: asyncio.Future[bool] | None = None

    # -- what the next transaction brings -----------------------------------------------------------

    def append(self, entry: bytes, batch_header: bytes) -> asyncio.Future[int]:
        """Write an entry; return a future of its number."""
        number: asyncio.Future[int] = self._loop.create_future()
        self.unsafe += len(entry)
        self._entries.append((entry, batch_header))
        self._callers.append(number)
        self._change()
        return number

    def end(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Note that entries have ended."""
        for first, last in ranges:
            self._ended.add(first, last)
        self._change()

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Write dead letters."""
        self._dead += letters
        self._change()

    def forget(self, ids: Iterable[int]) -> None:
        """Delete dead letters."""
        self._forgotten += ids
        self._change()

    def _change(self) -> None:
        if not self._changed:
            self._changed = True
            if not self._writing:
                self._loop.call_soon(self._begin)

    # -- transactions -------------------------------------------------------------------------------

    def _work(self) -> tuple[Work, list[asyncio.Future[int]]]:
        entries, self._entries = self._entries, []
        callers, self._callers = self._callers, []
        dead, self._dead = self._dead, []
        forgotten, self._forgotten = self._forgotten, []
        self._changed = False
        work = Work(
            entries=entries, settled=list(self._ended), dead=dead, forgotten=forgotten, at=self._listener.time()
        )
        return work, callers

    def _begin(self) -> None:
        if self._changed and not self._writing:
            self._writing = True
            self._worker.submit(functools.partial(self._write, *self._work()))

    def _write(self, work: Work, callers: list[asyncio.Future[int]]) -> None:
        """Commit; on the store's thread."""
        runs: list[Run] = []
        failure: Exception | None = None
        try:
            runs = self._store.write(work)
        except Exception as exc:  # noqa: BLE001 - whatever it is, those who wait are told
            failure = exc
            if isinstance(exc, CANT_WRITE):
                with contextlib.suppress(Exception):  # what frees room goes through where nothing else does
                    self._store.write(attrs.evolve(work, entries=()))
                    work = attrs.evolve(work, dead=(), forgotten=())
            else:  # one of them can't be stored at all, and would fail every transaction
                logger.error("%d dead letters can't be kept: %s", len(work.dead), type(exc).__name__)
                work = attrs.evolve(work, dead=(), forgotten=())
        self._on_loop(lambda: self._landed(work, callers, runs, failure))

    def adopt(self, source: EventStore) -> bool:
        """Take over some of another file's entries; tell whether there were any. On the store's thread."""
        runs = self._store.adopt(source)
        self._on_loop(lambda: self._queue((run, None) for run in runs))
        return bool(runs)

    def _on_loop(self, work: Callable[[], object]) -> None:
        """Have the loop do it, after what the thread asked for before."""
        with contextlib.suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(work)

    def _landed(
        self, work: Work, callers: list[asyncio.Future[int]], runs: list[Run], failure: Exception | None
    ) -> None:
        """Tell all that waited for a transaction, and begin the next."""
        self._writing = False
        self._landings += 1
        if failure is not None:
            self._failed(work, callers, failure)
        else:
            waiting = iter(callers)
            self._queue((run, list(itertools.islice(waiting, len(run)))) for run in runs)
        if self._landing is not None:
            self._landing.set_result(failure is None)
            self._landing = None
        self._begin()

    def _queue(self, stored: Iterable[tuple[Run, list[asyncio.Future[int]] | None]]) -> None:
        idle = not self._untold
        self._untold.extend(stored)
        if idle and self._untold:
            self._tell()

    def _tell(self) -> None:
        """Tell the callers of one row that their entries are safe, and others in the loop's next turn."""
        run, callers = self._untold.popleft()
        self._stored(run)
        if callers is None:
            self._listener.recovered(run.last, len(run), run.since)
        else:
            self.unsafe -= run.size
            self._listener.stored(run.last, len(run), run.size)
            for number, caller in enumerate(callers, run.first):
                if not caller.done():
                    caller.set_result(number)
        if self._untold:
            self._loop.call_soon(self._tell)

    def _failed(self, work: Work, callers: list[asyncio.Future[int]], failure: Exception) -> None:
        self._dead[:0] = work.dead
        self._forgotten[:0] = work.forgotten
        self.unsafe -= sum(len(entry) for entry, _ in work.entries)
        why = f"{type(failure).__name__}: {failure}"
        waiting = [caller for caller in callers if not caller.done()]
        for caller in waiting:
            caller.set_exception(BufferFailed(why))
        self._listener.not_stored(BufferFailed(why), len(callers), len(callers) - len(waiting))

    async def written(self) -> None:
        """Wait until all that was brought so far is in the file, or can't be written."""
        last = self._landings + self._writing + self._changed
        while self._landings < last:
            if self._landing is None:
                self._landing = self._loop.create_future()
            if not await asyncio.shield(self._landing):
                return

    # -- the end ------------------------------------------------------------------------------------

    def close(self) -> asyncio.Future[None]:
        """Write what is left; then close the file, and delete it if there is nothing in it."""
        return self._worker.run(functools.partial(self._close, *self._work()))

    def _close(self, work: Work, callers: list[asyncio.Future[int]]) -> None:
        empty = False
        try:
            self._write(work, callers)
            with contextlib.suppress(*CANT_WRITE):
                empty = self._store.is_empty()
        finally:
            self._store.release(delete=empty)

    def rescue(self) -> None:
        """At the interpreter's end, on any thread: write what was accepted and has not been written."""
        if not self._worker.wait(LONGEST_WAIT):
            logger.error("%s: the disk does not answer; %d events may be lost", self._store.path, len(self._entries))
        elif self._entries:
            with contextlib.suppress(*CANT_WRITE):
                self._store.write(self._work()[0])
