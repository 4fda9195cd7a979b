"""Who owns files: one process at a time, for as long as it lives; a forked child owns nothing of its parent's."""

from __future__ import annotations

import errno
import importlib
import os
from contextlib import suppress

__all__ = ["Lock", "check_system", "system_lacks"]


def system_lacks() -> str:
    """Say what of a file buffer's needs a system does not have, Windows, say; empty where it has all."""
    try:
        importlib.import_module("fcntl")
    except ImportError:
        return "a FileBuffer needs POSIX file locks (fcntl), which this system does not have"
    return ""


def check_system() -> None:
    """Raise OSError on such a system."""
    if lacks := system_lacks():
        raise OSError(errno.ENOSYS, lacks)


class Lock:
    """A locked file beside those that are owned. The system unlocks it when the process dies, however it dies."""

    def __init__(self, name: str, folder: int, descriptor: int) -> None:
        self._name = name
        self._folder = folder
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, name: str, folder: int) -> Lock | None:
        """Lock in the folder of that descriptor, or return None where another owner lives. Raises OSError."""
        import fcntl  # noqa: PLC0415 - Windows has none

        while True:
            flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(name, flags, 0o600, dir_fd=folder)
            lock = cls(name, folder, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if lock.is_there():
                    with suppress(OSError):  # for people only
                        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
                    return lock
            except BlockingIOError:
                lock.abandon()
                return None
            except BaseException:
                lock.abandon()
                raise
            lock.abandon()  # its last owner deleted it meanwhile

    def is_there(self) -> bool:
        """Tell whether the locked file still bears its name."""
        try:
            there = os.stat(self._name, dir_fd=self._folder)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._descriptor))

    def release(self) -> None:
        """Give up what is owned; the file goes, and where there is still something to own, another makes it anew."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder)
            self.abandon()

    def abandon(self) -> None:
        """Close the file. In a forked child that unlocks nothing: the parent still has it open."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
