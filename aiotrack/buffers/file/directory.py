"""The folder of a file buffer: which file is whose, and which belongs to nobody any more."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from aiotrack.buffers.planted import refuse_planted
from aiotrack.model.log import logger

from .ownership import Lock, sync_folder
from .repair import open_store
from .store import EventStore

__all__ = ["SpoolDirectory"]


class SpoolDirectory:
    """The files of one lane, `LANE.NUMBER.db`. Everything here blocks. Raises sqlite3.Error and OSError."""

    def __init__(self, folder: Path, lane: str, sync: str) -> None:
        self._folder = folder
        self._lane = lane
        self._sync = sync
        self._planted: set[Path] = set()  # by somebody else, and said

    def own(self) -> EventStore:
        """Open the first file that has no living owner, a new one if need be."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_planted(self._folder)
        stores = (self._open_ours(self._path(number)) for number in itertools.count())
        store = next(store for store in stores if store is not None)
        sync_folder(self._folder)
        return store

    def orphan(self) -> EventStore | None:
        """Open a file whose owner is dead, if there is one; one that can't be read is left for another time."""
        for path in self._paths():
            try:
                store = self._open_ours(path)
            except (sqlite3.Error, OSError) as exc:
                logger.error("%s can't be taken over now: %s", path, exc)
                continue
            if store is not None:
                return store
        return None

    def _open_ours(self, path: Path) -> EventStore | None:
        """Open a file that has no living owner, and was not put there by somebody else."""
        try:
            refuse_planted(path)
            refuse_planted(path.with_suffix(".lock"))
        except PermissionError as exc:
            if path not in self._planted:
                self._planted.add(path)
                logger.error("%s is left alone: %s", path, exc)
            return None
        return self._open_unowned(path)

    def _open_unowned(self, path: Path) -> EventStore | None:
        lock = Lock.acquire(path.with_suffix(".lock"))
        if lock is None:
            return None
        try:
            return open_store(path, lock, self._sync)
        except BaseException:
            lock.release()
            raise

    def _path(self, number: int) -> Path:
        return self._folder / f"{quote(self._lane, safe=' ')}.{number}.db"

    def _paths(self) -> list[Path]:
        return sorted(path for lane, path in self._files() if lane == self._lane)

    def _files(self) -> Iterator[tuple[str, Path]]:
        for path in self._folder.glob("*.*.db"):
            lane, number, _ = path.name.rsplit(".", 2)
            if number.isdecimal():
                yield unquote(lane), path

    def strays(self, known: set[str]) -> list[str]:
        """Return the lanes that have files here and are not among those known."""
        return sorted({lane for lane, _ in self._files()} - known)

    def discard(self) -> int:
        """Delete the files of dead owners; return how many events were in them."""
        events = 0
        while (store := self.orphan()) is not None:
            try:
                events += sum(len(run) for run, _ in store.found())
            finally:
                store.release(delete=True)
        return events
