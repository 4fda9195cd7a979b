"""The life of a client: new, starting, started, closing, closed. It never goes back."""

from __future__ import annotations

from enum import StrEnum

from .errors import ClientClosed, NotStarted, StateError, WrongLoop

__all__ = ["State", "misuse"]


class State(StrEnum):
    """Where a client is in its life."""

    NEW = "new"
    STARTING = "starting"
    STARTED = "started"
    CLOSING = "closing"
    CLOSED = "closed"


def misuse(state: State, call: str) -> StateError:
    """Return the error for a call that this state does not allow."""
    if state is State.STARTED:
        return WrongLoop(f"{call}: the client was started on another event loop, thread or process than this")
    if state in {State.CLOSING, State.CLOSED}:
        return ClientClosed(f"{call}: the client is {state}; a client never reopens, make a new one")
    return NotStarted(f"{call}: the client is {state}; use `async with client` or `await client.start()`")
