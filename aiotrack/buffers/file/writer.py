"""Group commit: what comes while a group is written shares the next write."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

import attrs

from aiotrack.buffers.base import BufferListener
from aiotrack.buffers.dead_letters import MOST, MOST_BYTES, DeadLetter
from aiotrack.model.errors import BufferFailed
from aiotrack.model.log import logger
from aiotrack.model.worker import Worker

from .backlog import Segment
from .holdings import Holdings
from .log import Done, Run, SegmentLog, Work
from .segment_file import Appended, SegmentFile

__all__ = ["LONGEST_WAIT", "Buried", "Writer"]

LONGEST_WAIT = 5.0  # seconds at the interpreter's end for what is being written

Callers = list["asyncio.Future[int]"]


@attrs.frozen
class Buried:
    """A dead letter, and the record that it was: that ends only when the letter is safe."""

    letter: DeadLetter
    segment: Segment | None = None
    index: int = 0


@attrs.frozen
class Failed:
    """Entries that could not be written."""

    callers: Callers
    size: int
    why: BufferFailed


class Writer:
    """Writes to one lane's segments, one group at a time, on their thread; everything else is on the loop."""

    def __init__(
        self,
        worker: Worker,
        log: SegmentLog,
        listener: BufferListener,
        holdings: Holdings,
    ) -> None:
        self.unsafe = 0  # bytes of entries that are not among the holdings
        self.held: dict[int, Buried] = {}  # dead letters that are not written yet, or can't be, by id
        self._given: set[int] = set()  # those of them that are being written
        self._unlanded: list[Done] = []
        self._loop = asyncio.get_running_loop()
        self._new_future = self._loop.create_future
        self._worker = worker
        self._log = log
        self._listener = listener
        self._holdings = holdings
        self._runs: list[Run] = []
        self._entries: list[bytes] = []  # of the newest run
        self._batch_header: bytes | None = None  # its own
        self._callers: Callers = []
        self._forgotten: set[int] = set()
        self._touched: dict[Segment, None] = {}  # something has ended there that is not noted on disk
        # Written, and the lane does not know yet; in one order, whether they were appended or taken over.
        self._untold: deque[tuple[Appended, Callers] | SegmentFile | Failed] = deque()
        self._changed = self._writing = self._closed = False
        self._landings = 0  # groups that were written, or could not be
        self._landing: asyncio.Future[bool] | None = None

    # -- what the next group brings -----------------------------------------------------------------

    def append(self, entry: bytes, batch_header: bytes) -> asyncio.Future[int]:
        """Write an entry; return a future of its number."""
        number: asyncio.Future[int] = self._new_future()
        self.unsafe += len(entry)
        if batch_header is not self._batch_header:
            self._begin_run(batch_header)
        self._entries.append(entry)
        self._callers.append(number)
        if not self._changed:
            self._change()
        return number

    def _begin_run(self, batch_header: bytes) -> None:
        if not self._runs or self._runs[-1][0] != batch_header:
            self._runs.append((batch_header, []))
        self._batch_header, self._entries = batch_header, self._runs[-1][1]

    def touch(self, segment: Segment) -> None:
        """Note on disk what has ended in a segment; delete one that is over."""
        self._touched[segment] = None
        self._change()

    def bury(self, buried: Iterable[Buried]) -> None:
        """Write dead letters."""
        self.held.update((one.letter.id, one) for one in buried)
        self._change()

    def forget(self, ids: Collection[int]) -> None:
        """Delete dead letters."""
        for number in set(ids) - self._given:
            self.held.pop(number, None)
        self._forgotten.update(ids)
        self._change()

    def _change(self) -> None:
        if not self._changed:
            self._changed = True
            if not self._writing and not self._closed:
                self._loop.call_soon(self._begin)

    # -- groups -------------------------------------------------------------------------------------

    def _work(self) -> tuple[Work, Callers]:
        letters = [one.letter for number, one in self.held.items() if number not in self._given]
        self._given.update(letter.id for letter in letters)
        work = Work(self._runs, letters, self._forgotten, at=self._listener.time())
        for segment in self._touched:
            if segment.is_over:
                work.ended.append(segment.file)
            else:
                work.notes.append((segment.file, segment.notes.changed()))
        callers = self._callers
        self._runs, self._callers, self._forgotten, self._touched, self._batch_header = [], [], set(), {}, None
        self._changed = False
        return work, callers

    def _begin(self) -> None:
        if self._changed and not self._writing and not self._closed:
            self._writing = True
            self._worker.submit(functools.partial(self._write, *self._work()))

    def _write(self, work: Work, callers: Callers) -> None:
        """Commit; on the thread."""
        done = self._commit(work)
        self._on_loop(lambda: self._landed(work, callers, done))

    def _commit(self, work: Work) -> Done:
        try:
            done = self._log.write(work)
        except Exception as exc:  # noqa: BLE001 - whatever it is, those who wait are told
            done = Done(failure=exc)
        self._unlanded.append(done)
        return done

    def take_over(self, seconds: float) -> bool:
        """Take over what dead processes have left, for so long; tell whether there was anything. On the thread."""
        found = self._log.take_over(seconds)
        self._on_loop(lambda: self.queue(found))
        return bool(found)

    def _on_loop(self, work: Callable[[], object]) -> None:
        """Have the loop do it, after what the thread asked for before."""
        with contextlib.suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(work)

    def _landed(self, work: Work, callers: Callers, done: Done) -> None:
        """Tell all that waited for a group, and begin the next."""
        self._writing = False
        self._landings += 1
        if done.gone:
            self._holdings.gone(done.gone)
        if self.held and not self._closed:
            self._letters_written()
        elif not self._closed:
            self._unlanded.clear()
        waiting = iter(callers)
        told: list[tuple[Appended, Callers] | SegmentFile | Failed] = [
            (appended, list(itertools.islice(waiting, len(appended)))) for appended in done.appended
        ]
        if left := list(waiting):
            entries = [entry for _, entries in work.runs for entry in entries]
            size = sum(map(len, entries[-len(left) :]))
            told.append(Failed(left, size, BufferFailed(f"{type(done.failure).__name__}: {done.failure}")))
        self.queue(told)
        if self._landing is not None:
            self._landing.set_result(done.failure is None)
            self._landing = None
        if self._changed:
            self._loop.call_soon(self._begin)  # after those who were told: what they bring now shares the group

    def _letters_written(self) -> None:
        """Let go of dead letters that are safe, and of the oldest of those that are not, where they become many."""
        written = [self.held.pop(number) for done in self._unlanded for number in done.letters]
        self._unlanded.clear()
        self._given.clear()
        for one in written:
            if one.segment is not None:
                one.segment.end([one.index], [len(one.letter.entry)])
                self._holdings.ended(one.segment)
                self._touched[one.segment] = None
        size = sum(one.letter.size for one in self.held.values())
        while len(self.held) > MOST or (size > MOST_BYTES and len(self.held) > 1):
            size -= self.held.pop(next(iter(self.held))).letter.size

    def queue(self, told: Sequence[tuple[Appended, Callers] | SegmentFile | Failed]) -> None:
        """Tell the lane, one after the other."""
        idle = not self._untold
        self._untold.extend(told)
        if idle and self._untold:
            self._tell()

    async def tell(self, found: Sequence[SegmentFile]) -> None:
        """Tell the lane of segments that were there at its start."""
        for file in found:
            self.queue([file])
            await asyncio.sleep(0)

    def _tell(self) -> None:
        """Tell some hundred callers that their entries are safe, and others in the loop's next turn."""
        match self._untold.popleft():
            case Failed(callers, size, why):
                self._failed(callers, size, why)
            case (appended, callers):
                self._tell_stored(appended, callers)
            case file:
                for last, events, since in self._holdings.stored(file).ages():
                    self._listener.recovered(last, events, since)
        if self._untold:
            self._loop.call_soon(self._tell)

    def _tell_stored(self, appended: Appended, callers: Callers) -> None:
        first = self._holdings.stored(appended).first + appended.first
        self.unsafe -= appended.size
        self._listener.stored(first + len(appended) - 1, len(appended), appended.size)
        for number, caller in enumerate(callers, first):
            if not caller.done():
                caller.set_result(number)

    def _failed(self, callers: Callers, size: int, why: BufferFailed) -> None:
        self.unsafe -= size
        waiting = [caller for caller in callers if not caller.done()]
        for caller in waiting:
            caller.set_exception(why)
        self._listener.not_stored(why, len(callers), len(callers) - len(waiting))

    async def written(self) -> None:
        """Wait until all that was brought so far is in a file, or can't be written."""
        last = self._landings + self._writing + self._changed
        while self._landings < last:
            if self._landing is None:
                self._landing = self._loop.create_future()
            if not await asyncio.shield(self._landing):
                return

    # -- the end ------------------------------------------------------------------------------------

    def close(self) -> asyncio.Future[None]:
        """Write what is left; then give the files up, and delete what is over."""
        self._closed = True
        return self._worker.run(functools.partial(self._close, *self._work()))

    def _close(self, work: Work, callers: Callers) -> None:
        """Do so, on the thread; nobody else changes segments any more."""
        try:
            done = self._commit(work)
            self._letters_written()
            self._log.write(self._work()[0])
            if lost := sum(one.segment is None for one in self.held.values()):  # others are sent again after a restart
                logger.error("%s: %d dead letters can't be written, and are lost", self._log.path, lost)
            self._on_loop(lambda: self._landed(work, callers, done))
        finally:
            newest = self._holdings.newest
            self._log.close({newest.file: newest.notes.ended} if newest is not None else {})

    def rescue(self) -> None:
        """At the interpreter's end, on any thread: write what was accepted and has not been written."""
        if not self._worker.wait(LONGEST_WAIT):
            logger.error("%s: the disk does not answer; %d events may be lost", self._log.path, len(self._callers))
        elif self._runs:
            self._log.write(self._work()[0])
