"""What a lane's folder holds: deleted, given to another lane (now, or by its owner when that ends), or set aside."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from .folder import LANE_NAME, LOCK_NAME, FileName, Home, open_home
from .format import Foreign
from .scan import read_at, write_at
from .segment_file import SegmentFile

__all__ = ["adopt", "carry_out", "discard", "set_aside"]

MOST_SET_ASIDE, MOST_DAMAGED = 1 << 20, 16  # bytes of damage that are kept of a file, and of how many

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


def set_aside(file: SegmentFile, damage: Sequence[tuple[int, int]]) -> None:
    """Keep a copy of what is damaged in a file, of so many bytes and files at most."""
    home = file.home
    if sum(name.endswith(".damaged") for name in home.names()) >= MOST_DAMAGED:
        return
    with suppress(OSError), home.opened(file.name) as source:
        fd, kept = home.create(attrs.evolve(file.name, kind="damaged")), 0
        try:
            for start, end in damage:
                piece = read_at(source, min(end - start, MOST_SET_ASIDE - kept), start)
                write_at(fd, piece, kept)
                kept += len(piece)
        finally:
            home.close(fd)


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
