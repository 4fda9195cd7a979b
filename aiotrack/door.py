"""The door of a lane whose destination does not know its events yet: they wait in order, bounded, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from .errors import BufferFull, EventRefused
from .event import Event, Reason, Refusal
from .room import WaitingRoom

if TYPE_CHECKING:
    from .clock import Clock
    from .lane import Lane
    from .result import Number

__all__ = ["Door"]

MOST = 10_000  # callers that wait
AT_ONCE = 100  # callers let in before the event loop gets a turn


class Door:
    """Closed until the first catalog; whoever knocks waits for it, at most until the deadline after the start."""

    def __init__(self, lane: Lane, clock: Clock, timeout: float) -> None:
        self._lane = lane
        self._room = WaitingRoom(clock, None, self._not_ready)
        self._late = False
        self._opening = False
        self._timer = clock.call_later(timeout, self._give_up)

    def _not_ready(self) -> EventRefused:
        message = "there is no datafile or settings document yet"
        return EventRefused(Refusal(Reason.NOT_READY, message, destination=self._lane.name))

    def knock(self, event: Event, wait: bool) -> Number:
        """Hold an event until the door is open. Raises EventRefused where it may not wait."""
        if not wait or len(self._room.callers) >= MOST or (self._late and not self._opening):
            raise self._not_ready()
        return self._room.hold(lambda: self._enter(event))

    def _enter(self, event: Event) -> Number:
        lane = self._lane
        try:
            return lane.append(lane.encode(event), lane.destination.envelope, True)
        except BufferFull as exc:  # final: who waits for room does so in the lane's own waiting room
            raise EventRefused(Refusal(Reason.BUFFER_FULL, str(exc), destination=lane.name)) from exc

    def _give_up(self) -> None:
        self._late = True
        self._room.turn_away(self._not_ready)

    def open(self, opened: Callable[[], None]) -> None:
        """Let all in, some at a time and in order; then call back."""
        if not self._opening:
            self._opening = True
            self._timer.cancel()
            self._let_in(opened)

    def _let_in(self, opened: Callable[[], None]) -> None:
        self._room.admit(AT_ONCE)
        if self._room.callers:
            asyncio.get_running_loop().call_soon(self._let_in, opened)
        else:
            opened()

    def close(self) -> None:
        """Turn away all who wait."""
        self._timer.cancel()
        self._room.turn_away(self._not_ready)
