"""Where the records of one segment are, in memory: eight bytes a record, and no payload."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence

from .format import HEAD

__all__ = ["Index"]


class Index:
    """The records of a segment by their index; one that is missing begins at 0."""

    def __init__(self) -> None:
        self.starts, self.sizes = array("I"), array("I")
        self.size = 0  # of all payloads in bytes
        self.end = 0  # where the last record ends
        self._firsts: list[int] = []  # of runs of records with one batch header
        self._batch_headers: list[bytes] = []  # theirs
        self._numbers: list[int] = []  # theirs, as a scan has found them

    def add(self, index: int, start: int, size: int, batch_header: int) -> None:
        """Add a record that was found; those between it and the one before are missing."""
        if index < len(self.starts):  # it is there already
            return
        missing = [0] * (index - len(self.starts))
        for numbers, number in ((self.starts, start), (self.sizes, size)):
            numbers.extend(missing)
            numbers.append(number)
        if not self._numbers or self._numbers[-1] != batch_header:
            self._firsts.append(index)
            self._numbers.append(batch_header)
        self.size += size
        self.end = start + HEAD.size + size

    def name(self, batch_headers: Mapping[int, bytes]) -> None:
        """Put batch headers in the place of their numbers; what has none that can be read is missing."""
        stops = [*self._firsts[1:], len(self.starts)]
        for first, stop, number in zip(self._firsts, stops, self._numbers, strict=False):
            if number not in batch_headers:
                self.size -= sum(self.sizes[first:stop])
                for numbers in (self.starts, self.sizes):
                    numbers[first:stop] = type(numbers)("I", [0] * (stop - first))
        self._batch_headers = [batch_headers.get(number, b"") for number in self._numbers]

    def pad(self, count: int) -> None:
        """Have as many records as that; what was not found is missing."""
        for numbers in (self.starts, self.sizes):
            numbers.extend([0] * (count - len(numbers)))

    def extend(self, starts: array[int], sizes: array[int], batch_header: bytes) -> None:
        """Add records that were appended."""
        if not self._batch_headers or self._batch_headers[-1] != batch_header:
            self._firsts.append(len(self.starts))
            self._batch_headers.append(batch_header)
        self.starts.extend(starts)
        self.sizes.extend(sizes)

    def batch_header(self, index: int) -> tuple[bytes, int]:
        """Return the batch header of a record, and the index of the first after it that has another."""
        run = bisect_right(self._firsts, index)
        return self._batch_headers[run - 1], self._firsts[run] if run < len(self._firsts) else len(self.starts)

    def sizes_of(self, indices: Sequence[int]) -> Sequence[int]:
        """Return the sizes of records in bytes."""
        if isinstance(indices, range):
            return self.sizes[indices.start : indices.stop]
        return [self.sizes[index] for index in indices]

    def starts_of(self, indices: Sequence[int]) -> Sequence[int]:
        """Return where records begin."""
        if isinstance(indices, range):
            return self.starts[indices.start : indices.stop]
        return [self.starts[index] for index in indices]
