"""What a lane's segments hold, on the event loop: what can be claimed, what is, and what has ended. No payload."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Sequence

import attrs

from .index import Index
from .segment_file import Appended, SegmentFile

__all__ = ["Backlog", "Pick", "Segment"]

WIDEST = 1 << 20  # bytes of a file, from the first to the last of a claim, that are read for it


@attrs.frozen
class Pick:
    """Records of one segment, ascending, that are taken out to be sent or dropped."""

    segment: Segment
    indices: Sequence[int]
    starts: Sequence[int]
    sizes: Sequence[int]
    batch_header: bytes

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def size(self) -> int:
        """The size of all in bytes."""
        return sum(self.sizes)

    @property
    def numbers(self) -> Sequence[int]:
        """Their sequence numbers."""
        return self.segment.numbers(self.indices)


class Segment:
    """The records of one file; the first has the sequence number `first`, and the others follow."""

    def __init__(self, file: SegmentFile, first: int, index: Index | None) -> None:
        self.file = file
        self.first = first
        self.notes = file.notes
        self.index = index  # None: not read yet, or not needed any more
        self.count = file.header.count if index is None else 0
        self.size = max(file.header.size - self.notes.size, 0) if index is None else 0  # bytes of what has not ended
        self.unclaimed = self.count - self.notes.ended
        self.open = index is not None  # whether more is appended
        self._next = 0  # nothing before this index is unclaimed
        self._out = 0  # bytes of what is taken out and has not ended

    @property
    def left(self) -> int:
        """How many records have not ended."""
        return self.count - self.notes.ended

    @property
    def is_over(self) -> bool:
        """Whether the file is not wanted any more."""
        return not self.open and not self.left

    def ages(self) -> Iterator[tuple[int, int, float]]:
        """Yield the last number, count and time of records that came at about one time and have not ended."""
        times = self.file.header.times
        starts = [0, *(start for start, _ in times[1:]), self.count]
        until = [*(at for _, at in times[1:]), self.file.header.newest]
        for (start, stop), since in zip(itertools.pairwise(starts), until, strict=True):
            events = stop - start - self.notes.between(start, stop)
            if events:
                last = next(index for index in range(stop - 1, start - 1, -1) if not self.notes.has(index))
                yield self.first + last, events, since

    def numbers(self, indices: Sequence[int]) -> Sequence[int]:
        """Return the sequence numbers of records."""
        if isinstance(indices, range):
            return range(self.first + indices.start, self.first + indices.stop)
        return [self.first + index for index in indices]

    def indices(self, numbers: Sequence[int]) -> Sequence[int]:
        """Return the indices of sequence numbers."""
        if isinstance(numbers, range):
            return range(numbers.start - self.first, numbers.stop - self.first)
        return [number - self.first for number in numbers]

    def extend(self, appended: Appended) -> None:
        """Take in what was appended."""
        if self.index is not None:  # it is, while more is appended
            self.index.extend(appended.starts, appended.sizes, appended.batch_header)
        self.count += len(appended)
        self.unclaimed += len(appended)
        self.size += appended.size

    def waiting(self) -> tuple[Sequence[int], int]:
        """Return all that is unclaimed, and its size in bytes."""
        indices: Sequence[int] = range(self._next, self.count)
        if self.notes.between(self._next, self.count):
            indices = [index for index in indices if not self.notes.has(index)]
        return indices, self.size - self._out if self.index is None else sum(self.index.sizes_of(indices))

    def found(self, index: Index) -> tuple[list[int], int]:
        """Take in where the records are; return which are missing, and by how much the size was wrong for that."""
        index.pad(self.count)
        self.index, was = index, self.size
        unclaimed, size = self.waiting()
        self.size = size + self._out
        return [at for at in unclaimed if not index.starts[at]] if 0 in index.starts else [], self.size - was

    def pop(self, index: Index, max_events: int, enough: Callable[[int, int], bool]) -> Pick:
        """Take out the oldest that are unclaimed, at least one, with one batch header.

        `enough` tells from the size of those taken and the next one's whether that is one too many.
        """
        while self.notes.has(self._next):
            self._next += 1
        first = self._next
        batch_header, stop = index.batch_header(first)
        picked: list[int] = []
        size, has_ended = 0, self.notes.has if self.notes.between(first, stop) else None
        for at in range(first, stop):
            if has_ended is not None and has_ended(at):
                continue
            one = index.sizes[at]
            if picked and (enough(size, one) or index.starts[at] - index.starts[first] > WIDEST):
                break
            picked.append(at)
            size += one
            if len(picked) == max_events:
                break
        self._next = picked[-1] + 1
        self.unclaimed -= len(picked)
        self._out += size
        indices: Sequence[int] = picked if has_ended is not None else range(first, self._next)
        return Pick(self, indices, index.starts_of(indices), index.sizes_of(indices), batch_header)

    def put_back(self, pick: Pick) -> None:
        """Put back what was taken out last."""
        self._next = min(self._next, pick.indices[0])
        self.unclaimed += len(pick)
        self._out -= pick.size

    def drop(self, indices: Sequence[int], size: int) -> None:
        """Note the end of unclaimed records, of that size together."""
        self.unclaimed -= len(indices)
        self._out += size
        self.end(indices, [size, *[0] * (len(indices) - 1)])

    def end(self, indices: Sequence[int], sizes: Sequence[int]) -> None:
        """Note the end of records that are out."""
        self.notes.end(indices, sizes)
        size = sum(sizes)
        self.size -= size
        self._out -= size


class Backlog:
    """Segments, oldest first. Who ends the last record of one removes it."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self._last = 0  # the newest record's number

    def stored(self, stored: Appended | SegmentFile) -> Segment:
        """Take in records that were appended, or a segment that another process has left; return the segment."""
        file = stored if isinstance(stored, SegmentFile) else stored.file
        newest = self.newest
        if newest is not None and newest.open and newest.file is not file:
            self._seal(newest)
        return self._found(stored) if isinstance(stored, SegmentFile) else self._appended(stored)

    def _appended(self, appended: Appended) -> Segment:
        newest = self.newest
        if newest is None or newest.file is not appended.file:
            newest = Segment(appended.file, self._last + 1, Index())
            self.segments.append(newest)
        newest.extend(appended)
        self._last += len(appended)
        return newest

    def _found(self, file: SegmentFile) -> Segment:
        segment = Segment(file, self._last + 1, None)
        self.segments.append(segment)
        self._last += segment.count
        return segment

    @property
    def newest(self) -> Segment | None:
        """The segment that is appended to, if any is."""
        return self.segments[-1] if self.segments else None

    def _seal(self, segment: Segment) -> None:
        """Note that no more is appended to a segment; unless its records are wanted soon, they are looked up later."""
        segment.open = False
        if segment is not self.oldest():
            segment.index = None

    def oldest(self) -> Segment | None:
        """Return the oldest segment with something to claim."""
        return next((segment for segment in self.segments if segment.unclaimed), None)

    def by_segment(
        self, numbers: Sequence[int], sizes: Sequence[int]
    ) -> Iterator[tuple[Segment, Sequence[int], Sequence[int]]]:
        """Yield the segments of sequence numbers, and the indices and sizes that are in each."""
        segments = tuple(self.segments)  # some may be removed meanwhile
        firsts = [segment.first for segment in segments]
        segment = segments[bisect.bisect_right(firsts, numbers[0]) - 1]
        if numbers[-1] < segment.first + segment.count:
            yield segment, segment.indices(numbers), sizes
            return
        by = itertools.groupby(
            zip(numbers, sizes, strict=True), key=lambda one: bisect.bisect_right(firsts, one[0]) - 1
        )
        for place, group in by:
            pairs = list(group)
            segment = segments[place]
            yield segment, segment.indices([number for number, _ in pairs]), [size for _, size in pairs]
