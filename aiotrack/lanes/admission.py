"""The intake of a lane: an event is encoded and goes into the buffer, or its caller waits, or it is refused."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from .destination import Destination
from .door import Door
from .encoding import encode_event
from .errors import BufferFailed, BufferFull, EventRefused, refusal_of
from .event import Reason, Refusal
from .result import Number
from .room import WaitingRoom
from .schedule import wake
from .stats import LaneState

if TYPE_CHECKING:
    from .buffer import Buffer
    from .clock import Clock
    from .event import Event
    from .ledger import Ledger
    from .schedule import Schedule
    from .settings import Settings

__all__ = ["Intake"]

UNHEARD = "an event that nobody waited for"
BASE_ENCODE = Destination.encode
MOST_HELD = 10_000  # callers that wait for room; more are refused


class Intake:
    """Where callers come to. `drop` makes room for newer events, `refuse` counts what nobody else can."""

    def __init__(
        self,
        destination: Destination,
        buffer: Buffer,
        ledger: Ledger,
        schedule: Schedule,
        settings: Settings,
        clock: Clock,
        drop: Callable[[int], None],
        refuse: Callable[[str, Refusal], None],
    ) -> None:
        self.name = destination.name
        self.destination = destination
        # The base's own encoding is called without the method around it.
        inherited = getattr(destination.encode, "__func__", None) is BASE_ENCODE
        self.encode = encode_event if inherited else destination.encode
        self._buffer = buffer
        self._append = buffer.append
        self._limit = destination.max_batch_bytes or None
        self._ledger = ledger
        self._schedule = schedule
        self._settings = settings
        self._clock = clock
        self._drop = drop
        self._refuse = refuse
        self._room = WaitingRoom(clock, settings.overflow_timeout, self._held_too_long)
        self.held = self._room.callers
        self._moves = True  # whether anything was settled since a caller was last held too long
        self._door: Door | None = None
        self._promised = 0  # entries that the buffer has not written yet
        self._ended = 0  # those that it has
        self._flushes: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take(self, event: Event, wait: bool) -> Number:
        """Encode an event and take it; return its number, or a future of it when it can't be had at once.

        Raises BufferFull where the overflow policy says so, EventRefused for what never fits, and what
        the destination's encoding raises. The future may end in each of these, too.
        """
        if self._door is not None:
            return self._door.knock(event, wait)
        encode = self.encode
        return self.append(encode(event), self.destination.envelope, wait)

    def append(self, entry: bytes, envelope: bytes, wait: bool) -> Number:
        """Take an encoded event."""
        if type(entry) is not bytes or type(envelope) is not bytes:
            got = f"{type(entry).__name__} and {type(envelope).__name__}"
            raise TypeError(f"expected an entry and an envelope of bytes, got {got}")
        if self._limit is not None and len(entry) > self._limit:
            raise self._too_large(entry, self._limit)
        if not self.held:
            try:
                return self._enter(entry, envelope)
            except BufferFull:
                pass
        return self._overflow(entry, envelope, wait)

    def _enter(self, entry: bytes, envelope: bytes) -> Number:
        append = self._append
        try:
            number = append(entry, envelope)
        except (BufferFull, EventRefused, OSError):
            raise
        except Exception as exc:  # a buffer is foreign code
            raise BufferFailed(type(exc).__name__) from exc
        if isinstance(number, int):
            self._ledger.accepted += 1
            self._schedule.took(number, 1, len(entry))
        elif isinstance(number, asyncio.Future):
            self._promised += 1
        else:
            raise BufferFailed(f"append must return an int or a future, got {type(number).__name__}")
        return number

    # -- what the buffer tells ----------------------------------------------------------------------

    def recovered(self, last: int, events: int) -> None:
        """Count entries that an earlier or dead process had left; they are due at once."""
        self._ledger.recover(events)
        self._schedule.recovered(last)

    def taken(self, last: int, events: int, size: int) -> None:
        """Count entries that were promised and are written now."""
        self._ledger.accepted += events
        self._schedule.took(last, events, size)
        self._kept(events)

    def failed(self, exc: Exception, events: int, unheard: int) -> None:
        """Count entries that a durable buffer could not write; those whose callers have left are refused here."""
        for _ in range(unheard):
            self._refuse(UNHEARD, refusal_of(exc))
        self._kept(events)

    def _kept(self, events: int) -> None:
        self._promised -= events
        self._ended += events
        while self._flushes and self._flushes[0][0] <= self._ended:
            wake(self._flushes.popleft()[1])
        if self.held:
            self.let_in()

    def unheard(self, number: asyncio.Future[int]) -> None:
        """Count it if an entry that nobody waits for could not be written; the event itself is not kept for it."""
        if not number.cancelled() and (exc := number.exception()) is not None:
            self._refuse(UNHEARD, refusal_of(exc))

    # -- refusals and overflow ----------------------------------------------------------------------

    def _closed(self, entry: bytes, envelope: bytes) -> Number:
        raise EventRefused(Refusal(Reason.CLOSING, "the client takes no more events", destination=self.name))

    def _too_large(self, entry: bytes, limit: int) -> EventRefused:
        message = f"an encoded event of {len(entry)} bytes can't fit in {limit}"
        return EventRefused(Refusal(Reason.TOO_LARGE, message, destination=self.name))

    def _overflow(self, entry: bytes, envelope: bytes, wait: bool) -> Number:
        limit = getattr(self._buffer, "max_bytes", None)
        if limit is not None and len(entry) > limit:
            raise self._too_large(entry, limit)
        self._schedule.trigger()
        policy = self._settings.overflow
        if policy == "drop_oldest":
            self._drop(len(entry))
            return self._enter(entry, envelope)
        moves = self._ledger.state is LaneState.UP and self._moves
        if policy == "wait" and wait and moves and len(self.held) < MOST_HELD:
            return self._room.hold(lambda: self._enter(entry, envelope))
        raise BufferFull(
            f"the buffer is full and the lane {f'is {self._ledger.state}' if self._moves else 'stands still'}"
        )

    def _held_too_long(self) -> BufferFull:
        self._moves = False
        return BufferFull(f"the buffer stayed full for {self._settings.overflow_timeout:g} s")

    # -- those who wait -----------------------------------------------------------------------------

    def settled(self) -> None:
        """Note that there may be room."""
        self._moves = True
        self.let_in()

    def let_in(self) -> None:
        """Let waiting callers in while there is room."""
        self._room.admit()
        if self.held:
            self._schedule.trigger()

    def turn_away(self, why: str) -> None:
        """Refuse those who wait."""
        self._room.turn_away(lambda: BufferFull(why))

    @property
    def busy(self) -> bool:
        """Whether events are on their way in."""
        return bool(self.held or self._promised)

    async def written(self) -> None:
        """Wait until a durable buffer has written all that it was given so far."""
        if self._promised:
            written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._flushes.append((self._ended + self._promised, written))
            await written

    # -- the door -----------------------------------------------------------------------------------

    def shut_door(self, timeout: float) -> None:
        """Have events wait for a first catalog, at most so many seconds."""
        self._door = Door(self, self._clock, timeout)

    def open_door(self) -> None:
        """Let in the events that waited for a first catalog."""
        if self._door is not None:
            self._door.open(self._door_is_open)

    def _door_is_open(self) -> None:
        self._door = None

    def close(self) -> None:
        """Take nothing more."""
        self._append = self._closed
        self.turn_away("the client is closing")
        if self._door is not None:
            self._door.close()
