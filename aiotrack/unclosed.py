"""Clients that nobody closed: what is lost with them is said when they are let go of, or when the program ends."""

from __future__ import annotations

import atexit
import os
import warnings
import weakref
from typing import TYPE_CHECKING

from .model.log import logger
from .model.state import State

if TYPE_CHECKING:
    from .model.state import ClientState
    from .tracking.pipeline import Pipeline

__all__ = ["Unclosed"]

CUT_SHORT = frozenset({State.SHUTTING_DOWN, State.CLOSING})


class Unclosed:
    """Says what one client loses, once. A warning would not be seen where a program ends."""

    def __init__(self, state: ClientState, pipeline: Pipeline) -> None:
        self._state = state
        self._pipeline = pipeline
        self._said = False
        _all.add(self)

    def say(self) -> None:
        """Say what the client still holds and no buffer keeps, unless it was closed, or another process's."""
        cut_short = self._state.current in CUT_SHORT
        open_here = (cut_short or self._state.current is State.STARTED) and self._state.process == os.getpid()
        if self._said or not open_here:
            return
        self._said = True
        how = (
            "its close was cut short"
            if cut_short
            else "nobody closed it: `async with client`, or `await client.aclose()`"
        )
        for lane in self._pipeline.lanes:
            if lane.unsaved:
                message = "%s: %d events are lost with their client: %s. A FileBuffer keeps them"
                logger.error(message, lane.name, lane.unsaved, how)

    def let_go(self, client: object) -> None:
        """Warn of a client that is collected as garbage, and was never closed."""
        ends = State is None  # the interpreter ends, and takes the modules' names away
        if ends or self._state.current is not State.STARTED or self._state.process != os.getpid():
            return
        self.say()
        pending = sum(lane.pending for lane in self._pipeline.lanes)
        warnings.warn(
            f"an aiotrack.Client was never closed, with {pending} events pending: await client.aclose()",
            ResourceWarning,
            source=client,
            stacklevel=3,
        )


_all: weakref.WeakSet[Unclosed] = weakref.WeakSet()


@atexit.register
def _say_all() -> None:
    for unclosed in tuple(_all):
        unclosed.say()
