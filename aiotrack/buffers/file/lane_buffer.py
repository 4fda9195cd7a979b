"""A buffer on disk: what it has taken outlives the process, however that ends."""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from aiotrack.buffers.base import MIB, BufferListener, Claim, Depth, Requeued
from aiotrack.buffers.dead_letters import Cause, DeadLetter
from aiotrack.model.errors import BufferFailed, BufferFull, EntriesLost
from aiotrack.model.log import logger
from aiotrack.model.worker import Worker

from .backlog import Backlog, Range, Ranges, Run
from .directory import SpoolDirectory
from .store import EventStore
from .writer import CANT_WRITE, LONGEST_WAIT, Writer

__all__ = ["FileLaneBuffer", "Sync"]

T = TypeVar("T")
Sync = Literal["full", "normal"]

MOST_UNSAFE = 16 * MIB  # bytes that wait for the disk


class FileLaneBuffer:
    """One destination's entries, in files of its own."""

    durable = True
    lease: float | None = None

    def __init__(self, folder: Path, lane: str, max_bytes: int, sync: Sync, known_lanes: set[str]) -> None:
        self.path = folder
        self.max_bytes = max_bytes
        self._known_lanes = known_lanes  # of all buffers in this folder
        self._directory = SpoolDirectory(folder, lane, sync)
        self._worker: Worker | None = None
        self._process = 0
        self._store: EventStore | None = None
        self._writer: Writer | None = None
        self._orphan: EventStore | None = None  # a dead process's file that is being moved to ours
        self._recovering = asyncio.Lock()
        self._backlog = Backlog()
        self._requeued = Requeued()
        self._events = self._bytes = self._claimed_bytes = 0

    # -- open and close -----------------------------------------------------------------------------

    async def open(self, listener: BufferListener) -> None:
        """Open a file that nobody owns; a damaged one is set aside, and what is sound of it recovered."""
        self._process = os.getpid()
        self._worker = worker = Worker("file buffer")
        store, ended = await worker.run(self._open)
        self._writer = Writer(worker, store, ended, listener, self._stored)
        self._backlog = store.backlog
        self._events, self._bytes = self._backlog.events, self._backlog.size
        for last, events, since in store.recovered:
            listener.recovered(last, events, since)
        if self._events:
            logger.info("%s: %d events of an earlier process are here", self.path, self._events)
        _opened.add(self)

    def _open(self) -> tuple[EventStore, Ranges]:
        self._store = self._directory.own()
        return self._store, Ranges(self._store.settled())

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._worker is None:
            raise BufferFailed("the buffer is not open")
        return await self._worker.run(work)

    async def close(self) -> int:
        """Write what is left to write, and give the file up; one with nothing in it is deleted."""
        _opened.discard(self)
        worker, self._worker = self._worker, None
        writer, self._writer = self._writer, None
        if worker is not None:
            worker.submit(functools.partial(self._give_up, opened=writer is not None))
            done = threading.Event()
            _closing[done] = self._process  # until it is, however short the wait for it is cut
            closing = writer.close() if writer is not None else None
            worker.submit(functools.partial(_closed, done))
            worker.stop()
            if closing is not None:
                await closing
        return 0

    def _give_up(self, *, opened: bool) -> None:
        """Release what the writer does not."""
        for store in (self._orphan, None if opened else self._store):
            if store is not None:
                store.release()

    def rescue(self) -> None:
        """At the interpreter's end: write what was accepted without waiting and has not been written."""
        if self._writer is not None and os.getpid() == self._process:
            self._writer.rescue()

    # -- taking entries over ------------------------------------------------------------------------

    async def recover(self) -> None:
        """Take over the files of processes that are dead."""
        async with self._recovering:
            try:
                if self._worker is not None:
                    await self._in_thread(self._warn_of_strays)
                while self._worker is not None and await self._in_thread(self._adopt):
                    pass
            except CANT_WRITE as exc:
                logger.error("%s: events of a dead process can't be taken over now: %s", self.path, exc)

    def _adopt(self) -> bool:
        """Move some entries of a dead process's file to ours; other work of the thread goes between."""
        writer = self._writer
        if self._orphan is None:
            self._orphan = self._directory.orphan()
        if writer is None or self._orphan is None:
            return False
        if not writer.adopt(self._orphan):
            orphan, self._orphan = self._orphan, None
            logger.info("%s: the events of a dead process are taken over", orphan.path)
            orphan.release(delete=True)
        return True

    def _warn_of_strays(self) -> None:
        for lane in self._directory.strays(self._known_lanes):
            self._known_lanes.add(lane)
            logger.warning(
                "%s holds events of %r, which is no destination now: they stay. FileBuffer.discard deletes them",
                *(self.path, lane),
            )

    def _stored(self, run: Run) -> None:
        self._backlog.add(run)
        self._events += len(run)
        self._bytes += run.size

    @property
    def half_full(self) -> bool:
        """Whether bulk producers have to wait, for the sender or for the disk."""
        unsafe = 0 if self._writer is None else self._writer.unsafe
        return 2 * (self._bytes + unsafe) > self.max_bytes or 2 * unsafe > MOST_UNSAFE

    # -- entries ------------------------------------------------------------------------------------

    def append(self, entry: bytes, batch_header: bytes) -> asyncio.Future[int]:
        """Store an entry if it fits; it is safe when the future is done."""
        writer = self._writer
        if writer is None:
            raise BufferFailed("the buffer is not open")
        size, unsafe = len(entry), writer.unsafe
        if self._bytes + unsafe + size > self.max_bytes:
            raise BufferFull(f"{self._bytes + unsafe} of {self.max_bytes} bytes are taken")
        if unsafe and unsafe + size > MOST_UNSAFE:
            raise BufferFull("the disk does not keep up")
        return writer.append(entry, batch_header)

    async def written(self) -> None:
        """Wait until all that was appended is on disk, or can't be."""
        if self._writer is not None:
            await self._writer.written()

    async def claim(self, max_events: int, max_bytes: int) -> Claim | None:
        """Claim the oldest."""
        requeued = self._requeued.claim(max_events, max_bytes)
        if requeued is not None:
            self._claimed_bytes += requeued.size
            return requeued
        run, store = self._backlog.pop(max_events, max_bytes), self._store
        if run is None or store is None:
            return None
        numbers = range(run.first, run.last + 1)
        self._claimed_bytes += run.size
        try:
            entries = await self._in_thread(lambda: store.read(run.first, run.last))
        except LookupError as exc:
            self._claimed_bytes -= run.size
            sound = await self._in_thread(lambda: store.readable(run.first, run.last))
            lost = self._backlog.put_back_some(run, sound)
            size = sum(run.sizes[number - run.first] for number in lost)
            self._end([(number, number) for number in lost], len(lost), size)
            raise EntriesLost(lost, f"damaged on disk: {exc}") from exc
        except BaseException:
            self._claimed_bytes -= run.size
            self._backlog.put_back(run)
            raise
        return Claim(numbers, entries, run.batch_header)

    def make_room(self, size: int) -> Sequence[int]:
        """Drop the oldest."""
        dropped: list[int] = []
        unsafe = self._writer.unsafe if self._writer is not None else 0
        if self._claimed_bytes + unsafe + size > self.max_bytes:
            return dropped
        while (wanted := self._bytes + unsafe + size - self.max_bytes) > 0:
            requeued = self._requeued.claim(1, 1)
            if requeued is not None:
                dropped += requeued.numbers
                self._end(_ranges(requeued.numbers), 1, requeued.size)
                continue
            run = self._backlog.pop_bytes(wanted)
            if run is None:
                break
            dropped += range(run.first, run.last + 1)
            self._end([(run.first, run.last)], len(run), run.size)
        return dropped

    async def renew(self, claim: Claim) -> None:
        """Nothing to do: no other process sees a claim."""

    async def ack(self, claim: Claim) -> None:
        """Let go of what is delivered. It is written with the next transaction: after a crash it may come back."""
        self._claimed_bytes -= claim.size
        self._end(_ranges(claim.numbers), len(claim), claim.size)

    async def release(self, claim: Claim) -> None:
        """Put back what was not sent."""
        self._claimed_bytes -= claim.size
        self._requeued.add(claim)

    async def bury(self, claim: Claim, cause: Cause) -> None:
        """Keep what is dead apart."""
        self.add_dead_letters(claim, cause)
        await self.ack(claim)

    def add_dead_letters(self, claim: Claim, cause: Cause) -> None:
        """Add dead letters, of whatever buffer."""
        if self._writer is not None:
            self._writer.bury([DeadLetter(0, cause, entry, claim.batch_header) for entry in claim.entries])

    def _end(self, ranges: Iterable[Range], events: int, size: int) -> None:
        self._events -= events
        self._bytes -= size
        if self._writer is not None:
            self._writer.end(ranges)

    async def dead_letters(self) -> Sequence[DeadLetter]:
        """Return those in the file."""
        if self._writer is None or self._store is None:
            return []
        await self._writer.written()
        return await self._in_thread(self._store.letters.all)

    async def forget(self, ids: Collection[int]) -> None:
        """Delete some."""
        if self._writer is not None:
            self._writer.forget(ids)
            await self._writer.written()

    def depth(self) -> Depth:
        """Count what is committed."""
        return Depth(self._events, self._bytes)


def _ranges(numbers: Sequence[int]) -> list[Range]:
    if isinstance(numbers, range):
        return [(numbers[0], numbers[-1])]
    return [(number, number) for number in numbers]


_opened: weakref.WeakSet[FileLaneBuffer] = weakref.WeakSet()
_closing: dict[threading.Event, int] = {}  # closes that the disk has not finished, and their processes


def _closed(done: threading.Event) -> None:
    done.set()
    _closing.pop(done, None)


@atexit.register
def _rescue() -> None:
    """Write what is not written: the threads that would do it end with the interpreter."""
    for buffer in tuple(_opened):
        buffer.rescue()
    for done, process in tuple(_closing.items()):
        if process == os.getpid() and not done.wait(LONGEST_WAIT):
            logger.error("the disk does not answer; a file buffer is not closed, and what it was to write may be lost")
