"""Where a client is in its life: new, starting, started, shutting down, closing, closed. It never goes back."""

from __future__ import annotations

import asyncio
import os
from enum import StrEnum

from .errors import ClientClosed, NotStarted, StateError, WrongLoop
from .other_loops import Home

__all__ = ["NO_LOOP", "ClientState", "State", "state_error"]

NO_LOOP = object()


class State(StrEnum):
    """Where a client is in its life."""

    NEW = "new"
    STARTING = "starting"
    STARTED = "started"
    SHUTTING_DOWN = "shutting down"
    """The plugins shut down; they and others may still track."""
    CLOSING = "closing"
    """No event is accepted any more; what is pending is sent."""
    CLOSED = "closed"

    def is_before(self, other: State) -> bool:
        """Tell whether a client is in this state earlier in its life than in another."""
        order = tuple(State)
        return order.index(self) < order.index(other)


TRACKING = frozenset({State.STARTED, State.SHUTTING_DOWN})


class ClientState:
    """The one place that knows a client's state and its event loop. The lifecycle enters states; others only look."""

    def __init__(self) -> None:
        self.current = State.NEW
        self.home: Home | None = None
        """The event loop and the process that started the client; a forked child has only a copy."""
        self.tracking_loop: object = NO_LOOP
        """The event loop on which events can be tracked, while they can."""

    def enter(self, state: State) -> None:
        """Go on to a later state; STARTING binds the client to the running event loop."""
        if state.is_before(self.current):  # a close that was cancelled begins again
            return
        if state is State.STARTING:
            self.home = Home.here()
        self.current = state
        self.tracking_loop = self.loop if state in TRACKING else NO_LOOP

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that everything of the client lives on; None before it is started."""
        return None if self.home is None else self.home.loop

    @property
    def process(self) -> int:
        """The process that started the client; 0 before it is started."""
        return 0 if self.home is None else self.home.process

    @property
    def loop_is_gone(self) -> bool:
        """Whether the client was started on an event loop that is closed, and was not closed itself."""
        unfinished = self.current not in {State.NEW, State.CLOSED}
        return unfinished and self.loop is not None and self.loop.is_closed()

    @property
    def takes_no_more(self) -> bool:
        """Whether the client is closing or closed."""
        return self.current in {State.CLOSING, State.CLOSED}

    @property
    def problem(self) -> str:
        """Say why no event is accepted, if the client's state is why."""
        if self.home is None or self.current is not State.STARTED:
            return f"the client is {self.current}"
        if self.process != os.getpid():
            return "the client is another process's, and this is a fork of it"
        return "" if self.home.loop.is_running() else "the client's event loop does not run"

    @property
    def is_on_loop(self) -> bool:
        """Whether the caller runs on the client's event loop."""
        return self.home is not None and self.home.is_here

    def home_elsewhere(self, call: str) -> Home:
        """Return where the client lives, for a call from another event loop. Raises StateError where that can't be."""
        if self.home is None or self.current in {State.NEW, State.STARTING, State.CLOSED} or not self.home.runs:
            raise state_error(self, call)
        return self.home

    def check_on_loop(self, call: str) -> None:
        """Raise StateError unless a call comes from the event loop that everything of this client lives on."""
        if self.current in {State.NEW, State.CLOSED} or asyncio.get_running_loop() is not self.loop:
            raise state_error(self, call)


def state_error(state: ClientState, call: str) -> StateError:
    """Return the error for a call that a client's state, or the event loop it comes from, does not allow."""
    if state.loop_is_gone:
        return WrongLoop(f"{call}: the event loop that the client was started on is closed; make a new client")
    if state.takes_no_more:
        return ClientClosed(f"{call}: the client is {state.current}; a client never reopens, make a new one")
    if state.current in TRACKING:
        return WrongLoop(f"{call}: the client was started on another event loop, thread or process than this")
    return NotStarted(f"{call}: the client is {state.current}; use `async with client` or `await client.start()`")
