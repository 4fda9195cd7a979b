"""Events that come before their destination knows its catalog: they wait in order, bounded, with a deadline."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import orjson

from aiotrack.model.encoding import dumps
from aiotrack.model.errors import BufferFull, EventRefused
from aiotrack.model.event import NO_TAGS, Event, FlatDict
from aiotrack.model.refusal import CLOSING, Reason, Refusal

from .wait_queue import WaitQueue

if TYPE_CHECKING:
    from aiotrack.model.clock import Clock
    from aiotrack.model.result import SequenceNumber

__all__ = ["CatalogGate"]

MOST = 10_000  # callers that wait
MOST_BYTES = 64 * 1024 * 1024  # of their tags
AT_ONCE = 50  # callers admitted, or rejected, before the event loop gets a turn


class CatalogGate:
    """Holds events until the first catalog is there, at most until the deadline after the start.

    `store` encodes an event and stores it in the lane's buffer.
    """

    def __init__(
        self, destination: str, store: Callable[[Event], SequenceNumber], clock: Clock, timeout: float
    ) -> None:
        self._destination = destination
        self._store = store
        self._queue = WaitQueue(clock, None, self._not_ready, paused=True)
        self._late = False
        self._timer = clock.call_later(timeout, self._give_up)

    def _not_ready(self) -> EventRefused:
        message = "events that waited for the first datafile or settings document are still on their way in"
        if self._queue.paused:
            message = "there is no datafile or settings document yet"
        return EventRefused(Refusal(Reason.NOT_READY, message, destination=self._destination))

    def hold(self, event: Event, wait: bool) -> SequenceNumber:
        """Hold an event until the gate is open, with its tags as they are now. Raises EventRefused."""
        if not wait or len(self._queue.callers) >= MOST or (self._late and self._queue.paused):
            raise self._not_ready()
        size = 0
        if event.tags is not NO_TAGS:
            tags = dumps(event.tags)
            size = len(tags)
            if self._queue.bytes + size > MOST_BYTES:
                raise self._not_ready()
            event = attrs.evolve(event, tags=orjson.loads(tags))
        if type(event.attributes) is not FlatDict:  # what they hold may be the caller's still
            event = attrs.evolve(event, attributes=copy.deepcopy(dict(event.attributes)))
        return self._queue.hold(lambda: self._admit(event), size)

    def _admit(self, event: Event) -> SequenceNumber:
        try:
            return self._store(event)
        except BufferFull as exc:  # final: the lane's own queue is where callers wait for room
            raise EventRefused(Refusal(Reason.BUFFER_FULL, str(exc), destination=self._destination)) from exc

    def _give_up(self) -> None:
        self._late = True
        if self._queue.paused:
            self._queue.reject_all(self._not_ready, AT_ONCE)
            self._in_turns(self._give_up)

    def open(self, opened: Callable[[], None]) -> None:
        """Admit all, some at a time and in order; then call back."""
        if self._queue.paused:
            self._queue.paused = False
            self._timer.cancel()
            self._admit_some(opened)

    def _admit_some(self, opened: Callable[[], None]) -> None:
        self._queue.admit(AT_ONCE)
        if not self._in_turns(lambda: self._admit_some(opened)):
            opened()

    def _in_turns(self, go_on: Callable[[], None]) -> bool:
        """Go on at the loop's next turn if anybody is left; tell whether."""
        if self._queue.callers:
            asyncio.get_running_loop().call_soon(go_on)
            return True
        return False

    def close(self) -> None:
        """Reject all who wait."""
        self._timer.cancel()
        self._queue.reject_all(lambda: EventRefused(attrs.evolve(CLOSING, destination=self._destination)))
