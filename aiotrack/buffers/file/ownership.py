"""Who owns a file: one process at a time, for as long as it lives; a forked child owns nothing of its parent's."""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

from aiotrack.model.forks import in_child, never_free

__all__ = ["Lock", "sync_folder"]


class Lock:
    """A locked file beside the one that is owned. The system unlocks it when the process dies, however it dies."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._never_freed: list[object] = []
        _locks.add(self)

    @classmethod
    def acquire(cls, path: Path) -> Lock | None:
        """Lock, or return None where another owner lives. Raises OSError."""
        while True:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_still(path, descriptor):
                    return cls(path, descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # its last owner deleted it meanwhile

    def keep(self, connection: object) -> None:
        """Have a connection outlive every forked child: freeing it there would write to the owner's file."""
        self._never_freed.append(connection)

    def release(self, *, delete: bool = False) -> None:
        """Give the file up; `delete` when there is nothing left to own."""
        if self._descriptor >= 0:
            if delete:
                self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1
        self._never_freed.clear()

    def abandon(self) -> None:
        """In a forked child: let go without unlocking, and without freeing what is the parent's."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        for connection in self._never_freed:
            never_free(connection)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def _in_child() -> None:
    for lock in _locks:
        lock.abandon()


in_child(_in_child)


def _is_still(path: Path, descriptor: int) -> bool:
    """Tell whether the open file still bears its name."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
