"""What a file holds that nobody has claimed, in memory: numbers and sizes, four bytes an entry, and no payload."""

from __future__ import annotations

import bisect
from array import array
from collections import deque
from collections.abc import Iterator, Sequence

import attrs

__all__ = ["Backlog", "Range", "Ranges", "Run"]

LONGEST = 32_768  # entries of a run, so that taking from its head stays cheap

Range = tuple[int, int]
"""The first and the last number of some that follow each other."""


@attrs.frozen
class Run:
    """Entries that follow each other, with one batch header; `sizes` are theirs in bytes.

    `since` is when they were stored first, in Unix seconds; of a row that another process has written only.
    """

    first: int
    sizes: array[int]
    batch_header: bytes
    since: float | None = None

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def last(self) -> int:
        """The number of the newest."""
        return self.first + len(self.sizes) - 1

    @property
    def size(self) -> int:
        """The size of all of them in bytes."""
        return sum(self.sizes)


class Backlog:
    """Runs of entries, oldest first."""

    def __init__(self) -> None:
        self.events = self.size = 0
        self._runs: deque[Run] = deque()

    @property
    def last(self) -> int:
        """The number of the newest entry; 0 where there is none."""
        return self._runs[-1].last if self._runs else 0

    def add(self, run: Run) -> None:
        """Add what is newest."""
        self.events += len(run)
        self.size += run.size
        newest = self._runs[-1] if self._runs else None
        follows = newest is not None and newest.last + 1 == run.first and newest.batch_header == run.batch_header
        if newest is not None and follows and len(newest) + len(run) <= LONGEST:
            newest.sizes.extend(run.sizes)
        else:
            self._runs.append(Run(run.first, run.sizes[:], run.batch_header))

    def pop(self, max_events: int, max_bytes: int) -> Run | None:
        """Remove and return the oldest, at least one where there is any."""
        most = size = 0
        for one in self._runs[0].sizes[:max_events] if self._runs else ():
            size += one
            if most and size > max_bytes:
                break
            most += 1
        return self._cut(most)

    def pop_bytes(self, wanted: int) -> Run | None:
        """Remove and return the oldest, as few as make up so many bytes, or all of one run."""
        most = size = 0
        for one in self._runs[0].sizes if self._runs else ():
            size += one
            most += 1
            if size >= wanted:
                break
        return self._cut(most)

    def _cut(self, most: int) -> Run | None:
        if not most:
            return None
        oldest = self._runs.popleft()
        if most < len(oldest):
            self._runs.appendleft(Run(oldest.first + most, oldest.sizes[most:], oldest.batch_header))
        run = Run(oldest.first, oldest.sizes[:most], oldest.batch_header)
        self.events -= len(run)
        self.size -= run.size
        return run

    def put_back(self, run: Run) -> None:
        """Put back what was popped last."""
        self.events += len(run)
        self.size += run.size
        self._runs.appendleft(run)

    def put_back_some(self, run: Run, ranges: Sequence[Range]) -> list[int]:
        """Put back what of a run is in these ranges; return the other numbers."""
        others = set(range(run.first, run.last + 1))
        for first, last in reversed(ranges):
            others -= set(range(first, last + 1))
            self.put_back(Run(first, run.sizes[first - run.first : last + 1 - run.first], run.batch_header))
        return sorted(others)


class Ranges:
    """A set of numbers that grows together: it is kept as ranges, and they merge."""

    def __init__(self, ranges: list[Range] | None = None) -> None:
        self._ranges = ranges or []

    def __iter__(self) -> Iterator[Range]:
        return iter(self._ranges)

    def add(self, first: int, last: int) -> None:
        """Add numbers that are not in it yet."""
        at = bisect.bisect_left(self._ranges, (first, last))
        if at < len(self._ranges) and self._ranges[at][0] == last + 1:
            last = self._ranges.pop(at)[1]
        if at and self._ranges[at - 1][1] == first - 1:
            first = self._ranges[at - 1][0]
            at -= 1
            del self._ranges[at]
        self._ranges.insert(at, (first, last))
