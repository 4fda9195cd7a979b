"""A lane's segments on disk, as their owner writes them. Everything here blocks, and belongs to one thread."""

from __future__ import annotations

import errno
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import attrs
import orjson

from aiotrack.buffers.base import MIB
from aiotrack.buffers.dead_letters import DeadLetter
from aiotrack.model.log import logger

from .folder import FileName, Home, open_home
from .format import Foreign
from .letters import Letters
from .moves import carry_out
from .notes import Sector
from .segment_file import SMALLEST, Appended, SegmentFile

__all__ = ["Done", "Run", "SegmentLog", "Work"]

FIRST, LARGEST = MIB // 4, 8 * MIB  # bytes of a segment; each is twice as large as the one before
SHARE = 16  # of a lane's bytes that a segment may take
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Run = tuple[bytes, list[bytes]]
"""A batch header, and entries under it."""


@attrs.frozen
class Work:
    """What a lane wants written at once."""

    runs: list[Run] = attrs.field(factory=list, repr=False)
    letters: list[DeadLetter] = attrs.field(factory=list, repr=False)
    forgotten: Collection[int] = ()
    notes: list[tuple[SegmentFile, list[Sector]]] = attrs.field(factory=list, repr=False)
    ended: list[SegmentFile] = attrs.field(factory=list)
    """Segments of which nothing is wanted any more."""
    at: float = 0.0


@attrs.define
class Done:
    """What has become of it."""

    appended: list[Appended] = attrs.field(factory=list)
    letters: list[int] = attrs.field(factory=list)
    """The ids of dead letters that are safe."""
    failure: Exception | None = None
    """Why entries that are not among the appended could not be stored."""
    gone: list[SegmentFile] = attrs.field(factory=list)
    """Segments that somebody has deleted."""


class SegmentLog:
    """The segments of one lane, in a folder that is made again where somebody has deleted or replaced it."""

    def __init__(self, root: Path, name: str, about: dict[str, str], max_bytes: int, *, sync: bool) -> None:
        self.path = root / name
        self.letters = Letters(sync=sync)
        self._root = root
        self._name = name
        self._about = about
        self._largest = max(min(LARGEST, max_bytes // SHARE), SMALLEST)
        self._size = min(FIRST, self._largest)
        self._sync = sync
        self._homes: list[Home] = []  # the newest last
        self._active: SegmentFile | None = None
        self._sealed: set[SegmentFile] = set()
        self._said: set[str] = set()
        self._foreign: set[str] = set()

    def open(self, seconds: float) -> list[SegmentFile]:
        """Make the folder, take over for so long, and begin a segment; a full disk does not keep from starting.

        Raises OSError.
        """
        self._open_home()
        found = self.take_over(seconds)
        try:
            self._roll(0)
        except OSError as exc:
            if exc.errno not in FULL:
                raise
            logger.error("%s: no event can be stored now: %s", self.path, exc)
        return found

    def _open_home(self) -> Home:
        home = open_home(self._root, self._name)
        self._homes.append(home)
        with suppress(OSError):
            home.describe(orjson.dumps(self._about))
        return home

    # -- writing ------------------------------------------------------------------------------------

    def write(self, work: Work) -> Done:
        """Write it, what makes room first. What can't be written is told, and not raised."""
        done = Done()
        if work.letters or work.forgotten:
            self._bury(work, done)
        for file, sectors in work.notes:
            with suppress(OSError):  # then some are sent again after a restart
                file.note(sectors)
        for file in work.ended:
            self._sealed.discard(file)
            with suppress(OSError):
                file.delete()
        if work.runs:
            done.failure = self._append(work.runs, work.at, done)
        return done

    def _bury(self, work: Work, done: Done) -> None:
        letters = list(work.letters)
        for _ in range(2):
            try:
                self.letters.forget(work.forgotten)
                self.letters.add(self._homes[-1], letters, work.at)
                break
            except OSError as exc:
                self._say("%s: dead letters can't be written, and are held in memory: %s", self.path, exc)
                with suppress(OSError):
                    self._heal_if_gone(done)
        done.letters = [letter.id for letter in work.letters[: len(work.letters) - len(letters)]]

    def _append(self, runs: list[Run], at: float, done: Done) -> Exception | None:
        """Append entries, in one piece for each segment. After a failure, whole again in another one, once."""
        failed = False
        while runs:
            try:
                active = self._active or self._roll(len(runs[0][0]) + len(runs[0][1][0]))
                appended, left = _stage(active, runs, at)
                if not appended:
                    self._seal()
                    continue
                active.flush(sync=self._sync)
            except OSError as exc:
                if failed or not self._recovers(done):
                    return exc
                failed = True
                continue
            done.appended += appended
            runs = left
        return None

    def _recovers(self, done: Done) -> bool:
        """After a failure, tell whether another try is worth it: in another segment, or in the folder made again."""
        was_open = self._active is not None
        try:
            if self._heal_if_gone(done):
                return True
        except OSError:
            return False
        self._seal()
        return was_open

    def _roll(self, first: int) -> SegmentFile:
        """Begin a segment, for a first entry of so many bytes."""
        self._active = SegmentFile.create(self._homes[-1], "seg", self._size, first, sync=self._sync)
        self._size = min(2 * self._size, self._largest)
        return self._active

    def _seal(self) -> None:
        if self._active is not None:
            self._active.seal()
            self._sealed.add(self._active)
            self._active = None

    # -- watch --------------------------------------------------------------------------------------

    def watch(self) -> Done:
        """Look whether the folder is still there. Raises OSError."""
        done = Done()
        self._heal_if_gone(done)
        return done

    def _heal_if_gone(self, done: Done) -> bool:
        """Make the folder again where it is gone, and write the open segment anew where that is. Raises OSError."""
        home, active = self._homes[-1], self._active
        if home.is_there:
            home.lock_again()
            if active is None or active.is_there:
                return False
        else:
            home = self._open_home()
        if active is not None:
            active.move(home)
        gone = [file for file in self._sealed if not file.home.exists(file.name)]
        self._sealed.difference_update(gone)
        done.gone += gone
        logger.error(
            "%s was deleted or replaced, and is made again; %d segments of events and %d dead letters are gone",
            *(self.path, len(gone), self.letters.drop_gone()),
        )
        return True

    # -- what others left ---------------------------------------------------------------------------

    def take_over(self, seconds: float) -> list[SegmentFile]:
        """Make what dead processes have left ours, for about so many seconds; none is found where none is left."""
        found: list[SegmentFile] = []
        until, home, passed_over = time.monotonic() + seconds, self._homes[-1], set(self._foreign)
        try:
            while time.monotonic() < until and (dead := home.dead_owner(passed_over)) is not None:
                lock, names = dead
                found += [file for name in names if (file := self._found(home, name, passed_over)) is not None]
                lock.release()
        except OSError as exc:
            self._say("%s: what dead processes have left can't be taken over: %s", self.path, exc)
        if found and self._active is not None and self._active.header.count:
            self._seal()  # what comes now is newer
        self._sealed.update(found)
        return found

    def _found(self, home: Home, name: FileName, passed_over: set[str]) -> SegmentFile | None:
        """Take one file over; return it if there are events in it."""
        try:
            file = SegmentFile.found(home, name)
            file.take()
        except (Foreign, OSError) as exc:
            self._say("%s is left where it is: %s", f"{home.path}/{name}", exc)
            passed_over.add(str(name))
            if isinstance(exc, Foreign):
                self._foreign.add(str(name))
            return None
        if file.damage:
            logger.error("%s is damaged: %s", file.path, file.damage)
        if not file.left:
            with suppress(OSError):
                file.delete()
        elif name.kind == "dead":
            self.letters.found(file)
        else:
            return file
        return None

    def _say(self, message: str, *arguments: object) -> None:
        """Log an error, once."""
        said = message % arguments
        if said not in self._said:
            self._said.add(said)
            logger.error("%s", said)

    # -- the end ------------------------------------------------------------------------------------

    def close(self, ended: Mapping[SegmentFile, int]) -> None:
        """Give the files up, and delete the open segment if all in it has ended: so many records have."""
        self.letters.seal()
        active, self._active = self._active, None
        if active is not None:
            active.seal()
            if ended.get(active, 0) == active.header.count:
                with suppress(OSError):
                    active.delete()
        for home in self._homes:
            try:
                by = carry_out(self._root, home)
                if by is not None:
                    logger.info("%s: what was left is given to %s, as was asked", self.path, by)
            except OSError as exc:
                logger.error("%s: what is left can't be given away, as was asked: %s", self.path, exc)
            home.release()


def _stage(file: SegmentFile, runs: list[Run], at: float) -> tuple[list[Appended], list[Run]]:
    """Take into the next write what there is room for; return it, and the rest."""
    staged: list[Appended] = []
    for place, (batch_header, entries) in enumerate(runs):
        left = entries
        while left:
            appended = file.stage(left, batch_header, at)
            if appended is None:
                return staged, [(batch_header, left), *runs[place + 1 :]]
            staged.append(appended)
            left = left[len(appended) :]
    return staged, []
