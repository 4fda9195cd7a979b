"""How large a batch may be: by what the server refused as too large, and by what was too slow for the time there is."""

from __future__ import annotations

__all__ = ["Window"]

LIKE = 0.5  # of a batch's size: one that passed and was no smaller than that says that the size is no trouble
MEMORY = 60.0  # seconds
WIDER = 1.25


class Window:
    """The most bytes of a batch. What was too large stays so; what was too slow is tried again, little by little."""

    def __init__(self, most: int) -> None:
        self.bytes = self._most = most
        self._passed: tuple[int, float] = (0, 0.0)  # size and time of the largest batch that passed lately

    def narrow(self, size: int, *, slow: bool, now: float) -> None:
        """Make batches half of one of `size` bytes, unless one like it was in time a moment ago."""
        largest, at = self._passed
        if slow and largest >= size * LIKE and now - at < MEMORY:
            return
        self.bytes = max(min(self.bytes, size // 2), 1)
        if not slow:
            self._most = self.bytes

    def passed(self, size: int, now: float) -> None:
        """Note a batch that was taken in time; one that filled the window makes it wider."""
        largest, at = self._passed
        if size >= largest or now - at >= MEMORY:
            self._passed = size, now
        if self.bytes < self._most and size >= self.bytes * LIKE:
            self.bytes = min(int(self.bytes * WIDER) + 1, self._most)
