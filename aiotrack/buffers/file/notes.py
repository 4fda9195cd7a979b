"""Which records of a segment have ended: a bit for each, in sectors that are written in place."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

import attrs

from .format import BITS, SECTORS

__all__ = ["Notes", "Sector"]


@attrs.frozen
class Sector:
    """A sector of the notes as it is to be written."""

    number: int
    generation: int
    ended: int
    """The size in bytes of its entries that have ended."""
    bits: bytes = attrs.field(repr=False)


class Notes:
    """The ends of one segment's records, by index."""

    def __init__(self, sectors: Sequence[Sector] = ()) -> None:
        self._bits = bytearray(SECTORS * BITS // 8)
        self._sizes, self._generations = [0] * SECTORS, [0] * SECTORS
        self._dirty: set[int] = set()
        for one in sectors:
            self._bits[one.number * BITS // 8 : (one.number + 1) * BITS // 8] = one.bits
            self._sizes[one.number], self._generations[one.number] = one.ended, one.generation
        self.ended = int.from_bytes(self._bits, "little").bit_count()

    @property
    def size(self) -> int:
        """The size in bytes of all that has ended."""
        return sum(self._sizes)

    def has(self, index: int) -> bool:
        """Tell whether a record has ended."""
        return bool(self._bits[index >> 3] >> (index & 7) & 1)

    def between(self, start: int, stop: int) -> int:
        """Count those that have ended, from `start` up to, not including, `stop`."""
        word = int.from_bytes(self._bits[start >> 3 : (stop + 7) >> 3], "little") >> (start & 7)
        return (word & ((1 << (stop - start)) - 1)).bit_count()

    def end(self, indices: Sequence[int], sizes: Sequence[int]) -> None:
        """Note that records have ended, ascending, each of that size."""
        start = 0
        for number in range(indices[0] // BITS, indices[-1] // BITS + 1):
            stop = bisect.bisect_left(indices, (number + 1) * BITS)
            if stop > start:
                self._sizes[number] += sum(sizes[start:stop])
                self._dirty.add(number)
            start = stop
        self.ended += len(indices)
        for first, last in _stretches(indices):
            cut = slice(first >> 3, (last >> 3) + 1)
            mask = ((1 << (last - first + 1)) - 1) << (first & 7)
            word = int.from_bytes(self._bits[cut], "little") | mask
            self._bits[cut] = word.to_bytes(cut.stop - cut.start, "little")

    def changed(self) -> list[Sector]:
        """Return the sectors that were not returned since they changed."""
        changed = []
        for number in sorted(self._dirty):
            self._generations[number] += 1
            bits = bytes(self._bits[number * BITS // 8 : (number + 1) * BITS // 8])
            changed.append(Sector(number, self._generations[number], self._sizes[number], bits))
        self._dirty.clear()
        return changed


def _stretches(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each stretch of indices that follow each other."""
    if isinstance(indices, range):
        yield indices[0], indices[-1]
        return
    first = last = indices[0]
    for index in indices[1:]:
        if index != last + 1:
            yield first, last
            first = index
        last = index
    yield first, last
