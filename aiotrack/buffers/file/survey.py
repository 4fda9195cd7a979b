"""What waits in a file buffer's folder, for whom: read without locks, beside those who write."""

from __future__ import annotations

import contextlib
import math
import os
from bisect import bisect_right
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import attrs
import orjson

from aiotrack.model.identity import Identity

from .entries import waiting_in
from .folder import ABOUT, LANE_NAME, LOCK_NAME, FileName, Folder
from .format import Foreign
from .segment_file import SegmentFile

__all__ = ["Waiting", "files_of", "folder_name", "old_files", "survey", "waiting_entries"]


def folder_name(lane: str, identity: Identity) -> str:
    """Return the name of a lane's folder."""
    return f"{quote(lane, safe=' ')}~{identity.fingerprint}"


@attrs.define
class Waiting:
    """What a lane's folder holds."""

    name: str
    """The folder's."""
    lane: str
    kind: str = ""
    account: str = ""
    """What the events are for."""
    events: int = 0
    size: int = 0
    """Of the events in bytes."""
    since: float | None = None
    """When the oldest of them came, in Unix seconds."""
    dead_letters: int = 0
    damaged: int = 0
    """Files with what could not be read."""
    left_out: list[str] = attrs.field(factory=list)
    """Files that this version can't read, and why."""
    owners: list[int] = attrs.field(factory=list)
    """The processes that write there, or will."""


def survey(root: Path, but: Collection[str] = ()) -> list[Waiting]:
    """Return what waits in each lane's folder, but for some. Raises OSError for the folder of all."""
    names = [name for name in sorted(os.listdir(root)) if LANE_NAME.fullmatch(name) and name not in but]
    return [_waiting(root / name) for name in names]


def files_of(folder: Folder, waiting: Waiting) -> Iterator[SegmentFile]:
    """Yield the files of a lane's folder that can be read; say which can't."""
    for text in folder.names():
        name = FileName.of(text)
        if name is None or name.kind == "damaged":
            waiting.damaged += name is not None
            continue
        try:
            yield SegmentFile.found(folder, name)
        except FileNotFoundError:
            continue  # it was delivered meanwhile
        except (Foreign, OSError) as exc:
            waiting.left_out.append(f"{text}: {exc}")


def _waiting(path: Path) -> Waiting:
    waiting = Waiting(path.name, unquote(path.name.rpartition("~")[0]))
    try:
        folder = Folder(path)
    except OSError as exc:
        waiting.left_out.append(f"{path.name}: {exc}")
        return waiting
    try:
        with contextlib.suppress(OSError, ValueError, AttributeError), folder.opened(ABOUT) as descriptor:
            about = orjson.loads(os.read(descriptor, 1 << 16))
            waiting.kind, waiting.account = str(about.get("kind", "")), str(about.get("account", ""))
        for file in files_of(folder, waiting):
            if file.name.kind == "dead":
                waiting.dead_letters += file.left
            elif file.left:
                waiting.events += file.left
                waiting.size += file.header.size - file.notes.size
                since = file.header.times[0][1] if file.header.times else file.header.newest
                waiting.since = since if waiting.since is None else min(waiting.since, since)
        waiting.owners = [pid for text in folder.names() if LOCK_NAME.fullmatch(text) and (pid := _owner(folder, text))]
    finally:
        folder.abandon()
    return waiting


def _owner(folder: Folder, lock: str) -> int:
    """Return the process that a lock file names, if it lives; else 0."""
    pid = 0
    with contextlib.suppress(PermissionError):  # it is another user's, and lives
        try:
            with folder.opened(lock) as descriptor:
                pid = int(os.read(descriptor, 20) or 0)
            os.kill(pid, 0)
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return 0
    return pid


def old_files(root: Path) -> list[str]:
    """Return the names of the SQLite files that earlier versions kept events in."""
    return [path.name for path in sorted(root.glob("*.*.db")) if path.name.rsplit(".", 2)[1].isdecimal()]


def waiting_entries(root: Path) -> Iterator[tuple[Waiting, bytes, bytes, float]]:
    """Yield what waits: whose it is, the entry, its batch header, and about when it came, in Unix seconds.

    Raises OSError.
    """
    for waiting in survey(root):
        folder = Folder(root / waiting.name)
        try:
            for file in files_of(folder, Waiting(waiting.name, waiting.lane)):
                with contextlib.suppress(FileNotFoundError):  # it was delivered meanwhile
                    for entry, batch_header, at in _entries(file) if file.name.kind == "seg" else ():
                        yield waiting, entry, batch_header, at
        finally:
            folder.abandon()


def _entries(file: SegmentFile) -> Iterator[tuple[bytes, bytes, float]]:
    """Yield what had not ended and is sound: payload, batch header, and about when it came. Raises OSError."""
    times = file.header.times or ((0, file.header.newest),)
    for at, payload, batch_header in waiting_in(file):
        yield payload, batch_header, times[max(bisect_right(times, (at, math.inf)) - 1, 0)][1]
