"""What a lane's folder holds, deleted or given to another lane, as far as no living process owns it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .folder import Home, open_home
from .segment_file import Foreign, SegmentFile

__all__ = ["adopt", "discard"]


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
    """Give what is in a lane's folder to another lane; return how many events that was. Raises OSError."""
    events, home = 0, open_home(root, name)
    try:
        adopter = open_home(root, by)
        try:
            for file in _files(home):
                events += file.left if file.name.kind == "seg" else 0
                adopter.take(file.name, home)
        finally:
            adopter.release()
    finally:
        home.release()
    return events


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
