"""What a buffer tells its lane, noted by a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from aiotrack.buffers.base import LaneBuffer

__all__ = ["RecordingListener"]


class RecordingListener:
    """A buffer's listener that counts what it is told."""

    def __init__(self) -> None:
        self.last = self.events = self.size = self.recovered_events = self.handed_over_events = 0

    def time(self) -> float:
        """Return the time."""
        return time.time()

    def recovered(self, last: int, events: int, since: float | None = None) -> None:
        """Count entries of another process."""
        assert last > self.last
        assert since is None or since <= time.time()
        self.last = last
        self.recovered_events += events

    def append(self, buffer: LaneBuffer, entry: bytes, batch_header: bytes) -> int | asyncio.Future[int]:
        """Append as a lane does: an entry that got its number at once is counted here."""
        number = buffer.append(entry, batch_header)
        if isinstance(number, int):
            self.stored(number, 1, len(entry))
        return number

    def stored(self, last: int, events: int, size: int) -> None:
        """Count entries that are safe."""
        assert last > self.last
        self.last = last
        self.events += events
        self.size += size

    def not_stored(self, exc: Exception, events: int, unawaited: int) -> None:
        """Fail the test: nothing here keeps a buffer from storing."""
        raise AssertionError(f"{events} entries could not be stored") from exc

    def handed_over(self, numbers: Sequence[int]) -> None:
        """Count entries that another process has claimed."""
        self.handed_over_events += len(numbers)
