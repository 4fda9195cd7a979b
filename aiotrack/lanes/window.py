"""How large a batch may be: by what the server refused as too large, and by what was too slow for the time there is."""

from __future__ import annotations

import math

__all__ = ["Window"]

LIKE = 0.5  # of a batch's size: one that passed and was no smaller than that says that the size is no trouble
MEMORY = 60.0  # seconds for which that holds
WIDER = 1.25
CEILING = 0.8  # of what was in time no longer: no wider than that for a while
HOLDS, LONGER, LONGEST = 1.0, 5.0, 120.0  # seconds, and times that each time it was right, at most so many


class Window:
    """The most bytes of a batch. What was too large stays so; what was too slow is tried again, little by little.

    A batch that times out says nothing by itself. Where a smaller one passes next, batches of its size are avoided for
    a while; and where that one is much smaller, and none of its size has passed lately, it was too slow.
    """

    def __init__(self, most: int) -> None:
        self.bytes = self._most = most
        self.slow_from: float = math.inf
        """From which size on what had timed out was too slow, as the last request that passed has shown."""
        self._passed: tuple[int, float] = (0, -math.inf)  # size and time of the largest batch that passed lately
        self._timed_out: dict[int, int] = {}  # since one passed: the smallest of each magnitude
        self._ceiling: tuple[int, float] = (most, -math.inf)  # size, and until when it holds
        self._holds = HOLDS

    def too_large(self, size: int) -> None:
        """Make batches half of one of `size` bytes, for good."""
        self.bytes = self._most = max(min(self.bytes, size // 2), 1)

    def timed_out(self, size: int) -> None:
        """Note a batch that was not taken in time."""
        magnitude = size.bit_length()
        self._timed_out[magnitude] = min(size, self._timed_out.get(magnitude, size))

    def passed(self, size: int, now: float) -> None:
        """Note a batch that was taken in time: others were too slow; or it filled the window, and makes it wider."""
        largest, at = self._passed
        larger = sorted(other for other in self._timed_out.values() if other > size)
        self._timed_out.clear()
        known = max(size, largest if now - at < MEMORY else 0)
        self.slow_from = next((float(other) for other in larger if other * LIKE > known), math.inf)
        ceiling, until = self._ceiling
        if larger:
            self._ceiling = max(int(larger[0] * CEILING), 1), now + self._holds
            self._holds = min(self._holds * LONGER, LONGEST)
            self.bytes = int(min(self.bytes, self._ceiling[0], max(self.slow_from // 2, 1)))
        elif self.bytes < self._most and size >= self.bytes * LIKE:
            most = self._most if now >= until else min(self._most, ceiling)
            self.bytes = max(self.bytes, min(int(self.bytes * WIDER) + 1, most))
        if size * CEILING > ceiling:  # it was wrong
            self._holds = HOLDS
        if size >= largest or now - at >= MEMORY:
            self._passed = size, now
