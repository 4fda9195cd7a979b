"""What a lane's folder holds, deleted or given to another lane: now, or by the process that owns it when it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .folder import LANE_NAME, LOCK_NAME, FileName, Home, open_home
from .segment_file import Foreign, SegmentFile

__all__ = ["adopt", "carry_out", "discard"]

REQUEST = "adopt"  # a file that names the folder of the lane that is to have what is in this one


def discard(root: Path, name: str) -> int:
    """Delete what is in a lane's folder; return how many events that was. Raises OSError."""
    events, home = 0, open_home(root, name)
    try:
        for file in _files(home):
            events += file.left if file.name.kind == "seg" else 0
            home.unlink(file.name)
    finally:
        home.release()
    return events


def adopt(root: Path, name: str, by: str) -> int:
    """Give what is in a lane's folder to another lane; return how many events that was. Raises OSError.

    Who owns files there gives them up when it closes.
    """
    events, home = 0, open_home(root, name)
    try:
        adopter = open_home(root, by)
        try:
            for file in _files(home):
                events += file.left if file.name.kind == "seg" else 0
                adopter.take(file.name, home)
            home.unlink(REQUEST)
            if any(LOCK_NAME.fullmatch(text) and home.owner not in text for text in home.names()):
                descriptor = home.create(REQUEST)
                os.write(descriptor, by.encode())
                home.close(descriptor)
        finally:
            adopter.release()
    finally:
        home.release()
    return events


def carry_out(root: Path, home: Home) -> str | None:
    """Give our files in a folder to the lane that was asked for; return its folder's name, or None. Raises OSError."""
    try:
        with home.opened(REQUEST) as descriptor:
            by = os.read(descriptor, 1000).decode()
    except FileNotFoundError:
        return None
    if not LANE_NAME.fullmatch(by):
        return None
    adopter = open_home(root, by)
    try:
        for text in home.names():
            name = FileName.of(text)
            if name is not None and name.owner == home.owner and name.kind != "damaged":
                adopter.take(name, home)
    finally:
        adopter.release()
    return by


def _files(home: Home) -> Iterator[SegmentFile]:
    """Yield, locked, what dead processes have left and can be read."""
    passed_over: set[str] = set()
    while (dead := home.dead_owner(passed_over)) is not None:
        lock, names = dead
        try:
            for name in names:
                passed_over.add(str(name))
                try:
                    yield SegmentFile.found(home, name)
                except Foreign:
                    continue
        finally:
            lock.release()
