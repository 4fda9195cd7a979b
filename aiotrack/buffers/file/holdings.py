"""What a lane has on disk, on the event loop: counted, claimed, dropped, ended, and lost where it can't be read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from aiotrack.buffers.base import Claim, Requeued
from aiotrack.model.errors import EntriesLost
from aiotrack.model.log import logger

from .backlog import Backlog, Pick, Segment
from .moves import set_aside
from .segment_file import Appended, SegmentFile

__all__ = ["Holdings"]

T = TypeVar("T")

DAMAGED = "damaged on disk"


class InThread(Protocol):
    """Does a job in the thread that the files belong to."""

    def __call__(self, work: Callable[[], T]) -> Coroutine[Any, Any, T]: ...


class Holdings:
    """The records of one lane that have not ended. `touch` has it noted on disk that something has."""

    def __init__(self, in_thread: InThread, touch: Callable[[Segment], None]) -> None:
        self.events = self.bytes = self.claimed_bytes = 0
        self._in_thread = in_thread
        self._touch = touch
        self._backlog = Backlog()
        self._requeued = Requeued()
        self._lost: list[EntriesLost] = []  # and not told yet

    @property
    def newest(self) -> Segment | None:
        """The segment that is appended to, if any is."""
        return self._backlog.newest

    # -- what the thread has done -------------------------------------------------------------------

    def stored(self, stored: Appended | SegmentFile) -> Segment:
        """Take in records that are in a file, or a file with all that is in it."""
        before = self._backlog.newest
        segment = self._backlog.stored(stored)
        if before is not None and before is not segment:
            self.ended(before)  # it is sealed
        size, events = (segment.size, segment.left) if isinstance(stored, SegmentFile) else (stored.size, len(stored))
        self.bytes += size
        self.events += events
        return segment

    def ended(self, segment: Segment) -> None:
        """Have it noted on disk that something has ended in a segment, or that all has."""
        if segment.is_over and segment in self._backlog.segments:
            self._backlog.segments.remove(segment)
        elif not segment.open and not segment.unclaimed:
            segment.index = None
        self._touch(segment)

    def gone(self, files: Sequence[SegmentFile]) -> None:
        """Let go of what was in files that somebody has deleted, but for what is claimed."""
        gone = [segment for segment in self._backlog.segments if segment.file in files]
        lost = sum(self._lose(segment, *segment.waiting(), "their file was deleted") for segment in gone)
        if lost:
            logger.error("%s: %d events are lost: their files were deleted", files[0].home.path, lost)

    def _lose(self, segment: Segment, indices: Sequence[int], size: int, why: str) -> int:
        """Let go of unclaimed records that can't be read any more; return how many."""
        if indices:
            self._drop(segment, indices, size)
            self._lost.append(EntriesLost(segment.numbers(indices), why))
        return len(indices)

    def _drop(self, segment: Segment, indices: Sequence[int], size: int) -> None:
        """End unclaimed records of that size together."""
        segment.drop(indices, size)
        self.events -= len(indices)
        self.bytes -= size
        self.ended(segment)

    # -- claims -------------------------------------------------------------------------------------

    async def claim(self, max_events: int, max_bytes: int) -> Claim | None:
        """Claim the oldest. Raises EntriesLost."""
        requeued = self._requeued.claim(max_events, max_bytes)
        if requeued is not None:
            self.claimed_bytes += requeued.size
            return requeued
        while not self._lost and (segment := self._backlog.oldest()) is not None:
            if segment.index is None:
                await self._load(segment)
            else:
                pick = segment.pop(segment.index, max_events, lambda size, one: size + one > max_bytes)
                return await self._read(pick)
        if self._lost:
            raise self._lost.pop(0)
        return None

    async def _load(self, segment: Segment) -> None:
        """Look up where a segment's records are."""
        file = segment.file
        try:
            index, damage = await self._in_thread(file.load)
        except FileNotFoundError:
            self.gone([file])
            return
        if not segment.unclaimed:  # somebody has dropped them meanwhile
            return
        missing, size = segment.found(index)
        self.bytes += size
        if self._lose(segment, missing, 0, DAMAGED):
            logger.error("%s: %d events are lost: %s", file.path, len(missing), DAMAGED)
        if damage:
            await self._in_thread(functools.partial(set_aside, file, damage))

    async def _read(self, pick: Pick) -> Claim:
        segment = pick.segment
        self.claimed_bytes += pick.size
        try:
            payloads = await self._in_thread(
                functools.partial(segment.file.read, pick.starts, pick.sizes, pick.indices)
            )
        except BaseException as exc:
            self.claimed_bytes -= pick.size
            segment.put_back(pick)
            if isinstance(exc, FileNotFoundError):
                self.gone([segment.file])
                raise self._lost.pop(0) from exc
            raise
        claim = Claim(pick.numbers, [payload or b"" for payload in payloads], pick.batch_header)
        lost = [place for place, payload in enumerate(payloads) if payload is None]
        if not lost:
            return claim
        self.claimed_bytes -= pick.size
        if sound := [place for place, payload in enumerate(payloads) if payload is not None]:
            self._requeued.add(claim.only(sound))
        numbers = claim.only(lost).numbers
        self._end(numbers, [pick.sizes[place] for place in lost])
        logger.error("%s: %d events are lost: %s", segment.file.path, len(lost), DAMAGED)
        raise EntriesLost(numbers, DAMAGED)

    def drop(self, most: int) -> Sequence[int]:
        """Drop the oldest until there are at most so many bytes; a segment that nothing was read of goes as a whole."""
        dropped: list[int] = []
        while (wanted := self.bytes - most) > 0:
            requeued = self._requeued.claim(1, 1)
            segment = self._backlog.oldest()
            if requeued is not None:
                dropped += requeued.numbers
                self._end(requeued.numbers, [requeued.size])
            elif segment is None:
                break
            elif segment.index is None:
                indices, waiting = segment.waiting()
                dropped += segment.numbers(indices)
                self._drop(segment, indices, waiting)
            else:
                pick = segment.pop(segment.index, self.events, lambda size, _: size >= wanted)
                dropped += pick.numbers
                self._end(pick.numbers, pick.sizes)
        return dropped

    def end(self, claim: Claim) -> None:
        """End a claim, or a part of one."""
        self.claimed_bytes -= claim.size
        self._end(claim.numbers, list(map(len, claim.entries)))

    def release(self, claim: Claim) -> None:
        """Put a claim back, or a part of one."""
        self.claimed_bytes -= claim.size
        self._requeued.add(claim)

    def bury(self, claim: Claim) -> Iterator[tuple[Segment, int, int]]:
        """Count a claim as ended, and yield segment, index and place in the claim of each: they end on disk later."""
        self.claimed_bytes -= claim.size
        self.events -= len(claim)
        self.bytes -= claim.size
        for segment, indices, places in self._backlog.by_segment(claim.numbers, range(len(claim))):
            for index, place in zip(indices, places, strict=True):
                yield segment, index, place

    def _end(self, numbers: Sequence[int], sizes: Sequence[int]) -> None:
        self.events -= len(numbers)
        self.bytes -= sum(sizes)
        for segment, indices, its_sizes in self._backlog.by_segment(numbers, sizes):
            segment.end(indices, its_sizes)
            self.ended(segment)
