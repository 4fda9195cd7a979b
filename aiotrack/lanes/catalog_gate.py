"""The door of a lane whose destination does not know its events yet: they wait in order, bounded, with a deadline."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import orjson

from .encoding import dumps
from .errors import BufferFull, EventRefused
from .event import NO_TAGS, Event, FlatDict, Reason, Refusal
from .room import WaitingRoom

if TYPE_CHECKING:
    from .clock import Clock
    from .intake import Intake
    from .result import Number

__all__ = ["Door"]

MOST = 10_000  # callers that wait
MOST_BYTES = 64 * 1024 * 1024  # of their tags
AT_ONCE = 50  # callers let in, or turned away, before the event loop gets a turn


class Door:
    """Closed until the first catalog; whoever knocks waits for it, at most until the deadline after the start."""

    def __init__(self, intake: Intake, clock: Clock, timeout: float) -> None:
        self._intake = intake
        self._room = WaitingRoom(clock, None, self._not_ready, closed=True)
        self._bytes = 0
        self._late = False
        self._timer = clock.call_later(timeout, self._give_up)

    def _not_ready(self) -> EventRefused:
        message = "events that waited for the document go first"
        if self._room.closed:
            message = "there is no datafile or settings document yet"
        return EventRefused(Refusal(Reason.NOT_READY, message, destination=self._intake.name))

    def knock(self, event: Event, wait: bool) -> Number:
        """Hold an event until the door is open, with its tags as they are now. Raises EventRefused."""
        if not wait or len(self._room.callers) >= MOST or (self._late and self._room.closed):
            raise self._not_ready()
        if event.tags is not NO_TAGS:
            tags = dumps(event.tags)
            if self._bytes + len(tags) > MOST_BYTES:
                raise self._not_ready()
            self._bytes += len(tags)
            event = attrs.evolve(event, tags=orjson.loads(tags))
        if type(event.attributes) is not FlatDict:  # what they hold may be the caller's still
            event = attrs.evolve(event, attributes=copy.deepcopy(dict(event.attributes)))
        return self._room.hold(lambda: self._enter(event))

    def _enter(self, event: Event) -> Number:
        intake = self._intake
        try:
            return intake.append(intake.encode(event), intake.destination.envelope, True)
        except BufferFull as exc:  # final: who waits for room does so in the lane's own waiting room
            raise EventRefused(Refusal(Reason.BUFFER_FULL, str(exc), destination=intake.name)) from exc

    def _give_up(self) -> None:
        self._late = True
        if self._room.closed:
            self._room.turn_away(self._not_ready, AT_ONCE)
            self._in_turns(self._give_up)

    def open(self, opened: Callable[[], None]) -> None:
        """Let all in, some at a time and in order; then call back."""
        if self._room.closed:
            self._room.closed = False
            self._timer.cancel()
            self._let_in(opened)

    def _let_in(self, opened: Callable[[], None]) -> None:
        self._room.admit(AT_ONCE)
        if not self._in_turns(lambda: self._let_in(opened)):
            opened()

    def _in_turns(self, go_on: Callable[[], None]) -> bool:
        """Go on at the loop's next turn if anybody is left; tell whether."""
        if self._room.callers:
            asyncio.get_running_loop().call_soon(go_on)
            return True
        self._bytes = 0
        return False

    def close(self) -> None:
        """Turn away all who wait."""
        self._timer.cancel()
        self._room.turn_away(self._not_ready)
