"""A buffer on disk: what it has accepted outlives the process, however that ends."""

from __future__ import annotations

import os
from pathlib import Path

from aiotrack.buffers.base import MIB
from aiotrack.model.settings import at_least, file_path, one_of
from aiotrack.model.worker import off_loop

from .directory import SpoolDirectory
from .lane_buffer import FileLaneBuffer, Sync

__all__ = ["FileBuffer"]


class FileBuffer:
    """Events wait in a folder of SQLite files, bounded by their encoded size in bytes, for each destination.

    `await track_event` returns when the event is committed, together with all that came meanwhile. With
    `sync="full"` a commit is on the disk, and outlives a power cut; with "normal" it is in the system's hands:
    it outlives the process, and a power cut may take the last seconds.

    Each process has a file of its own for each destination, of mode 0600, and takes over those of processes that are
    dead. What belongs to a destination that is no longer configured stays until `discard`. The folder must be on
    a local disk. Raises ConfigError.
    """

    def __init__(self, path: str | os.PathLike[str], max_bytes: int = 1024 * MIB, sync: Sync = "full") -> None:
        self.path = Path(file_path("path", "folder", path))
        self.max_bytes = at_least(1, "max_bytes", max_bytes)
        self.sync: Sync = one_of(Sync, "sync", sync)
        self._known_lanes: set[str] = set()

    def __repr__(self) -> str:
        return f"FileBuffer({str(self.path)!r}, max_bytes={self.max_bytes}, sync={self.sync!r})"

    def for_lane(self, name: str) -> FileLaneBuffer:
        """Return a buffer with files of its own in the folder."""
        self._known_lanes.add(name)
        return FileLaneBuffer(self.path, name, self.max_bytes, self.sync, self._known_lanes)

    async def discard(self, lane: str) -> int:
        """Delete what a destination that is no longer configured has left; return how many events that was.

        Files that a living process owns stay. Raises OSError.
        """
        return await off_loop("discard", SpoolDirectory(self.path, lane, self.sync).discard)
