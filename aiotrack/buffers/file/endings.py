"""At the interpreter's end, the threads that write end with it: what is not on disk yet is written before."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

from aiotrack.model.log import logger

from .writer import LONGEST_WAIT

__all__ = ["begin_close", "opened"]


class Rescuable(Protocol):
    """A buffer that may hold what is not written."""

    def rescue(self) -> None:
        """Write it, on this thread."""


_opened: weakref.WeakSet[Rescuable] = weakref.WeakSet()
_closing: dict[threading.Event, int] = {}  # closes that the disk has not finished, and their processes


def opened(buffer: Rescuable) -> None:
    """Have a buffer rescued, unless it is closed before."""
    _opened.add(buffer)


def begin_close(buffer: Rescuable) -> Callable[[], None]:
    """Note that a close has begun, and return what says that it is over, from any thread."""
    _opened.discard(buffer)
    done = threading.Event()
    _closing[done] = os.getpid()  # until it is, however short the wait for it is cut

    def closed() -> None:
        done.set()
        _closing.pop(done, None)

    return closed


@atexit.register
def _rescue() -> None:
    for buffer in tuple(_opened):
        buffer.rescue()
    for done, process in tuple(_closing.items()):
        if process == os.getpid() and not done.wait(LONGEST_WAIT):
            logger.error("the disk does not answer; a file buffer is not closed, and what it was to write may be lost")
