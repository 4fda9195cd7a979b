"""A buffer on disk: what it has taken outlives the process, however that ends."""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar, get_args

from aiotrack.buffer import MIB, Claim, Depth, Outcome, Released, Taker
from aiotrack.dead import Cause, DeadLetter
from aiotrack.errors import BufferFailed, BufferFull, ConfigError, EntriesLost
from aiotrack.log import logger

from .backlog import Backlog, Range, Ranges, Run
from .berths import Berths
from .spool import Spool
from .writer import CANT_WRITE, Writer

__all__ = ["FileBuffer"]

T = TypeVar("T")
Sync = Literal["full", "normal"]

MOST_UNSAFE = 16 * MIB  # bytes that wait for the disk


class FileBuffer:
    """Entries in a folder of SQLite files, bounded by their encoded size in bytes (a lane). Nothing taken is lost.

    `await track_event` returns when the event is committed, together with all that came meanwhile. With
    `sync="full"` a commit is on the disk, and outlives a power cut; with "normal" it is in the system's hands:
    it outlives the process, and a power cut may take the last seconds.

    Each process has a file of its own for each lane, of mode 0600, and takes over those of processes that are
    dead. What belongs to a destination that is no longer configured stays until `discard`. The folder must be on
    a local disk. Raises ConfigError.
    """

    durable = True

    def __init__(self, path: str | os.PathLike[str], max_bytes: int = 1024 * MIB, sync: Sync = "full") -> None:
        if not isinstance(path, str | os.PathLike) or not str(path):
            raise ConfigError(f"path: expected the path of a folder, got {type(path).__name__} {path!r}")
        if type(max_bytes) is not int or max_bytes < 1:
            raise ConfigError(f"max_bytes: expected an integer >= 1, got {max_bytes!r}")
        if sync not in get_args(Sync):
            raise ConfigError(f"sync: expected 'full' or 'normal', got {sync!r}")
        self.path = Path(path)
        self.max_bytes = max_bytes
        self.sync: Sync = sync
        self._lanes: set[str] = set()  # of all buffers in this folder
        self._berths = Berths(self.path, "events", sync)
        self._thread: ThreadPoolExecutor | None = None
        self._process = 0
        self._spool: Spool | None = None
        self._writer: Writer | None = None
        self._orphan: Spool | None = None  # a dead process's file that is being moved to ours
        self._recovering = asyncio.Lock()
        self._backlog = Backlog()
        self._released = Released()
        self._events = self._bytes = self._claimed_bytes = 0

    def __repr__(self) -> str:
        return f"FileBuffer({str(self.path)!r}, max_bytes={self.max_bytes}, sync={self.sync!r})"

    def for_lane(self, name: str) -> FileBuffer:
        """Return a buffer with files of its own in the same folder."""
        buffer = FileBuffer(self.path, self.max_bytes, self.sync)
        buffer._berths = Berths(self.path, name, self.sync)
        buffer._lanes = self._lanes
        self._lanes.add(name)
        return buffer

    async def discard(self, lane: str) -> int:
        """Delete what a destination that is no longer configured has left; return how many events that was.

        Files that a living process owns stay. Raises OSError.
        """
        return await asyncio.to_thread(Berths(self.path, lane, self.sync).discard)

    # -- life ---------------------------------------------------------------------------------------

    async def open(self, taker: Taker) -> None:
        """Open a file that nobody owns; a damaged one is set aside, and what is sound of it recovered."""
        self._process = os.getpid()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aiotrack file buffer")
        spool, settled = await self._in_thread(self._open)
        self._writer = Writer(self._thread, spool, settled, taker, self._stored)
        self._backlog = spool.backlog
        self._events, self._bytes = self._backlog.events, self._backlog.size
        if self._events:
            taker.recovered(self._backlog.last, self._events)
            logger.info("%s: %d events of an earlier process are here", self.path, self._events)
        _opened.add(self)

    def _open(self) -> tuple[Spool, Ranges]:
        self._spool = self._berths.own()
        return self._spool, Ranges(self._spool.settled())

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> int:
        """Write what is left to write, and give the file up; one with nothing in it is deleted."""
        _opened.discard(self)
        thread, self._thread = self._thread, None
        writer, self._writer = self._writer, None
        if thread is not None:
            try:
                thread.submit(self._give_up, opened=writer is not None)
                if writer is not None:
                    await writer.close()
            finally:
                thread.shutdown(wait=False)
        return 0

    def _give_up(self, *, opened: bool) -> None:
        """Release what the writer does not."""
        for spool in (self._orphan, None if opened else self._spool):
            if spool is not None:
                spool.release()

    def rescue(self) -> None:
        """At the interpreter's end: write what was taken without waiting and has not been written."""
        if self._writer is not None and os.getpid() == self._process:
            self._writer.rescue()

    # -- taking entries over ------------------------------------------------------------------------

    async def recover(self) -> None:
        """Take over the files of processes that are dead."""
        async with self._recovering:
            try:
                if self._thread is not None:
                    await self._in_thread(self._warn_of_strays)
                while self._thread is not None and await self._in_thread(self._adopt):
                    pass
            except CANT_WRITE as exc:
                logger.error("%s: events of a dead process can't be taken over now: %s", self.path, exc)

    def _adopt(self) -> bool:
        """Move some entries of a dead process's file to ours; other work of the thread goes between."""
        writer = self._writer
        if self._orphan is None:
            self._orphan = self._berths.orphan()
        if writer is None or self._orphan is None:
            return False
        if not writer.adopt(self._orphan):
            orphan, self._orphan = self._orphan, None
            logger.info("%s: the events of a dead process are taken over", orphan.path)
            orphan.release(delete=True)
        return True

    def _warn_of_strays(self) -> None:
        for lane in self._berths.strays(self._lanes):
            self._lanes.add(lane)
            logger.warning(
                "%s holds events of %r, which is no destination now: they stay. FileBuffer.discard deletes them",
                *(self.path, lane),
            )

    def _stored(self, run: Run) -> None:
        self._backlog.add(run)
        self._events += len(run)
        self._bytes += run.size

    # -- entries ------------------------------------------------------------------------------------

    def append(self, entry: bytes, envelope: bytes) -> asyncio.Future[int]:
        """Take an entry if it fits; it is safe when the future is done."""
        writer = self._writer
        if writer is None:
            raise BufferFailed("the buffer is not open")
        size, unsafe = len(entry), writer.unsafe
        if self._bytes + unsafe + size > self.max_bytes:
            raise BufferFull(f"{self._bytes + unsafe} of {self.max_bytes} bytes are taken")
        if unsafe and unsafe + size > MOST_UNSAFE:
            raise BufferFull("the disk does not keep up")
        return writer.append(entry, envelope)

    async def claim(self, max_events: int, max_bytes: int) -> Claim | None:
        """Take the oldest."""
        released = self._released.take(max_events, max_bytes)
        if released is not None:
            self._claimed_bytes += released.size
            return released
        run, spool = self._backlog.take(max_events, max_bytes), self._spool
        if run is None or spool is None:
            return None
        numbers = range(run.first, run.last + 1)
        self._claimed_bytes += run.size
        try:
            entries = await self._in_thread(lambda: spool.read(run.first, run.last))
        except LookupError as exc:
            self._claimed_bytes -= run.size
            sound = await self._in_thread(lambda: spool.readable(run.first, run.last))
            lost = self._backlog.put_back_some(run, sound)
            size = sum(run.sizes[number - run.first] for number in lost)
            self._end([(number, number) for number in lost], len(lost), size)
            raise EntriesLost(lost, f"damaged on disk: {exc}") from exc
        except BaseException:
            self._claimed_bytes -= run.size
            self._backlog.put_back(run)
            raise
        return Claim(numbers, entries, run.envelope)

    def make_room(self, size: int) -> Sequence[int]:
        """Drop the oldest."""
        dropped: list[int] = []
        unsafe = self._writer.unsafe if self._writer is not None else 0
        if self._claimed_bytes + unsafe + size > self.max_bytes:
            return dropped
        while (wanted := self._bytes + unsafe + size - self.max_bytes) > 0:
            released = self._released.take(1, 1)
            if released is not None:
                dropped += released.seqs
                self._end(_ranges(released.seqs), 1, released.size)
                continue
            run = self._backlog.take_bytes(wanted)
            if run is None:
                break
            dropped += range(run.first, run.last + 1)
            self._end([(run.first, run.last)], len(run), run.size)
        return dropped

    async def settle(self, claim: Claim, outcome: Outcome, cause: Cause | None = None) -> None:
        """End a claim. It is written with the next transaction: after a crash it may come back."""
        self._claimed_bytes -= claim.size
        if outcome is Outcome.RELEASED:
            self._released.add(claim)
            return
        if outcome is Outcome.DEAD:
            self.bury(claim, cause)
        self._end(_ranges(claim.seqs), len(claim), claim.size)

    def bury(self, claim: Claim, cause: Cause | None) -> None:
        """Add dead letters, of whatever buffer."""
        if self._writer is not None:
            why = cause or Cause("dead")
            self._writer.bury([DeadLetter(0, why, entry, claim.envelope) for entry in claim.entries])

    def _end(self, ranges: Iterable[Range], events: int, size: int) -> None:
        self._events -= events
        self._bytes -= size
        if self._writer is not None:
            self._writer.settle(ranges)

    async def dead_letters(self) -> Sequence[DeadLetter]:
        """Return those in the file."""
        if self._writer is None or self._spool is None:
            return []
        await self._writer.written()
        return await self._in_thread(self._spool.dead)

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


_opened: weakref.WeakSet[FileBuffer] = weakref.WeakSet()


@atexit.register
def _rescue() -> None:
    for buffer in tuple(_opened):
        buffer.rescue()
