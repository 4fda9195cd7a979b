"""A buffer on disk: what it has accepted outlives the process, however that ends."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

from aiotrack.buffers.base import MIB, LaneBuffer
from aiotrack.buffers.fallback import with_fallback
from aiotrack.model.identity import Identity
from aiotrack.model.log import logger
from aiotrack.model.mistakes import Mistakes
from aiotrack.model.settings import at_least, file_path, one_of
from aiotrack.model.worker import off_loop

from .lane_buffer import FileLaneBuffer
from .log import SegmentLog
from .moves import discard
from .ownership import system_lacks
from .survey import folder_name, old_files, survey

__all__ = ["FileBuffer"]

LOOK_EVERY = 29.0  # seconds

Sync = Literal["full", "normal"]
Fallback = Literal["memory"]


class FileBuffer:
    """Events wait in segment files in a folder, bounded by their encoded size in bytes, for each destination.

    `await track_event` returns when the event is committed, together with all that came meanwhile. With
    `sync="full"` a commit is on the disk, and outlives a power cut; with "normal" it is in the system's hands:
    it outlives the process, and a power cut may take the last seconds.

    Each destination has a folder of its own for what its events are for (account, project, address): those of another
    account are never sent to this one. Each process has files of its own there, of mode 0600, and takes over those of
    processes that are dead. The folder must be on a local disk. With `fallback="memory"`, a client whose folder can't
    be used starts all the same, and says so: its events wait in memory. Raises ConfigError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_bytes: int = 1024 * MIB,
        sync: Sync = "full",
        fallback: Fallback | None = None,
    ) -> None:
        with Mistakes() as mistakes:
            mistakes.check(file_path, "path", "folder", path)
            self.max_bytes = mistakes.check(at_least, 1, "max_bytes", max_bytes)
            self.sync: Sync = mistakes.check(one_of, Sync, "sync", sync)
            if fallback is not None:
                mistakes.check(one_of, Fallback, "fallback", fallback)
            elif lacks := system_lacks():
                mistakes.add(f"path: {lacks}; fallback='memory' starts all the same")
        self.path = Path(os.path.abspath(path))
        self.fallback: Fallback | None = fallback
        self._known: set[str] = set()  # folders that lanes have, or that were told of
        self._looked = -LOOK_EVERY

    def __repr__(self) -> str:
        fallback = "" if self.fallback is None else f", fallback={self.fallback!r}"
        return f"FileBuffer({str(self.path)!r}, max_bytes={self.max_bytes}, sync={self.sync!r}{fallback})"

    def for_lane(self, name: str, identity: Identity | None = None) -> LaneBuffer:
        """Return a buffer with files of its own in the folder, for what its events are for."""
        lane = self.lane(name, identity)
        return lane if self.fallback is None else with_fallback(lane, self.max_bytes)

    def lane(self, name: str, identity: Identity | None = None) -> FileLaneBuffer:
        """Return that buffer without its fallback."""
        identity = identity or Identity()
        about = {"lane": name, "kind": identity.kind, "account": identity.account}
        folder = folder_name(name, identity)
        self._known.add(folder)
        log = SegmentLog(self.path, folder, about, self.max_bytes, sync=self.sync == "full")
        return FileLaneBuffer(log, self.max_bytes, self._look)

    def _look(self) -> None:
        """Say, once, what waits here for nobody; look at most twice a minute, however many lanes and flushes ask."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        for waiting in survey(self.path, but=self._known):
            if not waiting.events and not waiting.left_out:
                continue
            self._known.add(waiting.name)
            what = f"{waiting.kind} {waiting.account}".strip() or "an account that is not named"
            logger.warning(
                "%s holds %d events of %r for %s (%s), and no destination now is for that: they stay. "
                "`aiotrack buffer adopt` gives them to another, FileBuffer.discard deletes them",
                *(self.path, waiting.events, waiting.lane, what, waiting.name),
            )
        for name in set(old_files(self.path)) - self._known:
            self._known.add(name)
            logger.warning(
                "%s is a file of an earlier aiotrack (SQLite) and is left there: that version sends what is in it",
                self.path / name,
            )

    async def discard(self, lane: str) -> int:
        """Delete what a destination that is no longer configured has left; return how many events that was.

        Files that a living process owns stay. Raises OSError.
        """
        return await off_loop("discard", lambda: self._discard(lane))

    def _discard(self, lane: str) -> int:
        events = 0
        for waiting in survey(self.path):
            if waiting.lane == lane:
                events += discard(self.path, waiting.name)
        return events
