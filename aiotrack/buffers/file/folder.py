"""The folder of one lane's segments: made, checked, watched; which file is whose, and what dead processes left."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import weakref
from collections.abc import Collection, Generator
from pathlib import Path

import attrs

from aiotrack.buffers.planted import refuse_planted
from aiotrack.model.forks import in_child

from .ownership import Lock, check_system

__all__ = ["ABOUT", "LANE_NAME", "LOCK_NAME", "FileName", "Folder", "Home", "Replaced", "open_home"]

ABOUT = "lane.json"
FILE_NAME = re.compile(r"([0-9a-f]{16})\.(\d{8,})\.([0-9a-f]{16})\.(seg|dead|damaged)")
LANE_NAME = re.compile(r"[^/]+~[0-9a-f]{16}")
LOCK_NAME = re.compile(r"([0-9a-f]{16})\.lock")


class Replaced(OSError):
    """A folder or a file is not what it was: deleted, or another one has its name."""


@attrs.frozen
class FileName:
    """What a file's name says: whose it is, its place among its owner's, its salt, and what is in it."""

    owner: str
    sequence: int
    salt: str
    kind: str
    """`seg`: events; `dead`: dead letters; `damaged`: what could not be read."""

    def __str__(self) -> str:
        return f"{self.owner}.{self.sequence:08d}.{self.salt}.{self.kind}"

    @classmethod
    def of(cls, text: str) -> FileName | None:
        """Parse a name; None for a file that is none of ours."""
        match = FILE_NAME.fullmatch(text)
        return None if match is None else cls(match[1], int(match[2]), match[3], match[4])


class Folder:
    """A lane's folder, open. It goes on with that folder wherever it is moved."""

    def __init__(self, path: Path) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self.path = path  # an absolute one: the process may change its directory
        self.descriptor = os.open(path, flags)

    def names(self) -> list[str]:
        """Return the names of all files, in order."""
        return sorted(os.listdir(self.descriptor))

    @contextlib.contextmanager
    def opened(self, name: FileName | str, descriptor: int = -1, flags: int = os.O_RDONLY) -> Generator[int]:
        """Open a file for a while, unless it is open already."""
        if descriptor >= 0:
            yield descriptor
            return
        descriptor = os.open(str(name), flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self.descriptor)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Replaced(errno.EINVAL, "this is no file", f"{self.path}/{name}")
            yield descriptor
        finally:
            os.close(descriptor)

    def exists(self, name: FileName) -> bool:
        """Tell whether there is a file of that name."""
        try:
            os.stat(str(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def abandon(self) -> None:
        """Close it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Home(Folder):
    """A lane's folder, and what this process owns in it. Raises OSError."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.owner = secrets.token_hex(8)
        self._open: set[int] = set()
        self._sequence = 0
        self._lock: Lock | None = None
        try:
            refuse_planted(path)
            if os.fstat(self.descriptor).st_mode & stat.S_IWOTH:
                raise PermissionError(errno.EPERM, "everybody may write to this folder: chmod 700", str(path))
            self._lock = Lock.acquire(f"{self.owner}.lock", self.descriptor)
        except BaseException:
            self.abandon()
            raise
        _homes.add(self)

    # -- files --------------------------------------------------------------------------------------

    def new_name(self, salt: str, kind: str) -> FileName:
        """Return the name of our next file."""
        self._sequence += 1
        return FileName(self.owner, self._sequence, salt, kind)

    def create(self, name: FileName | str) -> int:
        """Make a file, open for reading and writing."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(str(name), flags, 0o600, dir_fd=self.descriptor)
        self._open.add(descriptor)
        return descriptor

    def close(self, descriptor: int) -> None:
        """Close a file that `create` made."""
        self._open.discard(descriptor)
        os.close(descriptor)

    def unlink(self, name: FileName | str) -> None:
        """Delete a file."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(str(name), dir_fd=self.descriptor)

    def describe(self, about: bytes) -> None:
        """Say to people what the folder is for, in a file."""
        with contextlib.suppress(FileExistsError):
            descriptor = self.create(ABOUT)
            os.write(descriptor, about)
            self.close(descriptor)

    @property
    def room(self) -> int:
        """How many bytes the disk still has for us."""
        disk = os.fstatvfs(self.descriptor)
        return disk.f_bavail * disk.f_frsize

    def sync(self) -> None:
        """Have the names in the folder outlive a power cut."""
        os.fsync(self.descriptor)

    # -- watch --------------------------------------------------------------------------------------

    @property
    def is_there(self) -> bool:
        """Whether the folder is still what its path says. Raises OSError."""
        try:
            there = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return os.path.samestat(there, os.fstat(self.descriptor))

    def lock_again(self) -> None:
        """Lock what is ours if somebody has deleted the lock, and look busy to who cleans up. Raises OSError."""
        if self._lock is not None and not self._lock.is_there():
            self._lock.abandon()
            self._lock = Lock.acquire(f"{self.owner}.lock", self.descriptor)
        os.utime(f"{self.owner}.lock", dir_fd=self.descriptor)

    # -- what others left ---------------------------------------------------------------------------

    def dead_owner(self, passed_over: Collection[str] = ()) -> tuple[Lock, list[FileName]] | None:
        """Lock what a dead process left, and return its files; None where there is nothing but those passed over."""
        names = [name for name in self.names() if name not in passed_over]
        files = [name for text in names if (name := FileName.of(text)) is not None and name.kind != "damaged"]
        locks = [match[1] for text in names if (match := LOCK_NAME.fullmatch(text)) is not None]
        for owner in dict.fromkeys([*(name.owner for name in files), *locks]):
            if owner != self.owner and (lock := Lock.acquire(f"{owner}.lock", self.descriptor)) is not None:
                own = [name for name in files if name.owner == owner and self.exists(name)]
                if own:
                    return lock, sorted(own, key=lambda name: name.sequence)
                lock.release()
        return None

    def take(self, name: FileName, from_folder: Folder | None = None) -> FileName:
        """Make a dead process's file ours, perhaps from another folder."""
        ours, source = self.new_name(name.salt, name.kind), from_folder or self
        os.rename(str(name), str(ours), src_dir_fd=source.descriptor, dst_dir_fd=self.descriptor)
        return ours

    # -- the end ------------------------------------------------------------------------------------

    def release(self) -> None:
        """Give up what is in the folder."""
        if self._lock is not None:
            self._lock.release()
        self.abandon()

    def abandon(self) -> None:
        """Close everything, in a forked child, too; what is locked stays so as long as its owner lives."""
        if self._lock is not None:
            self._lock.abandon()
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()
        super().abandon()


def open_home(root: Path, name: str) -> Home:
    """Open a lane's folder in a file buffer's, both made if need be. Raises OSError."""
    check_system()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_planted(root)
    with contextlib.suppress(FileExistsError):
        (root / name).mkdir(mode=0o700)
    return Home(root / name)


_homes: weakref.WeakSet[Home] = weakref.WeakSet()


def _in_child() -> None:
    for home in _homes:
        home.abandon()


in_child(_in_child)
