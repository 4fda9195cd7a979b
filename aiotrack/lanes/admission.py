"""Admit events to a lane: encode them, append them to the buffer, and apply the overflow policy when it is full."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from aiotrack.buffers.base import MIB
from aiotrack.model.errors import BufferFailed, BufferFull, EventRefused, failure_of, refusal_of
from aiotrack.model.log import logger
from aiotrack.model.neutral import NEUTRAL, encode_neutral
from aiotrack.model.refusal import CLOSING, NO_CATALOG, NOT_KNOWN, Reason, Refusal
from aiotrack.model.result import SequenceNumber
from aiotrack.model.stats import LaneState

from .progress import Progress
from .promises import Promises
from .room import Room
from .wait_queue import WaitQueue

if TYPE_CHECKING:
    from aiotrack.buffers.base import LaneBuffer
    from aiotrack.destinations.base import Destination
    from aiotrack.model.clock import Clock, Timer
    from aiotrack.model.event import Event
    from aiotrack.model.settings import Settings

    from .accounting import Accounting
    from .routing import Encode
    from .schedule import Schedule

__all__ = ["Admission"]

UNAWAITED = "tracked without waiting"  # in place of a key: the event itself is not kept for it
SOON = 0.001  # seconds: a timer may fire a little early
SHORTEST_WRITE = 0.25  # seconds that a durable buffer has at least to store something: disks are slow at times
MOST_HELD = 10_000  # callers that wait for room; more are refused
MOST_HELD_BYTES = 16 * MIB  # of their events


class Admission:
    """Appends events to the buffer, makes callers wait for room, and is the buffer's listener."""

    def __init__(
        self,
        destination: Destination,
        encode: Encode,
        buffer: LaneBuffer,
        accounting: Accounting,
        schedule: Schedule,
        settings: Settings,
        clock: Clock,
        drop_oldest: Callable[[int], None],  # makes room for newer events
        refuse: Callable[[str, Refusal], None],  # counts a refusal that no caller is told any more
    ) -> None:
        self.name = destination.name
        self.destination = destination
        self.encode = encode
        self._buffer = buffer
        self._append_to_buffer = buffer.append
        self._limit = destination.max_batch_bytes or None
        self._accounting = accounting
        self._schedule = schedule
        self._settings = settings
        self._clock = clock
        self._drop_oldest = drop_oldest
        self._refuse = refuse
        self._queue = WaitQueue(clock, settings.overflow_timeout, self._held_too_long)
        self.held = self._queue.callers
        self.progress = Progress(clock)
        self.room = Room(buffer, schedule)
        self._watchdog: Timer | None = None  # while callers are held
        self.ready = True  # whether events can be encoded: not before the first catalog of a destination that needs one
        self._ready_by = 0.0  # by the monotonic clock: when those who wait for the first catalog give up
        self.trouble = ""  # why events are not taken, until there is room again or one is stored
        self._is_closed = False
        self._promises = Promises(max(settings.overflow_timeout, SHORTEST_WRITE), self._hangs)
        self.flush = self._promises.flush

    def admit(self, event: Event, wait: float) -> SequenceNumber | None:
        """Encode and append an event; return its number, or a future of it when it can't be had at once.

        None for an event that can't be encoded yet, see `admit_unencoded`. Raises BufferFull where the overflow policy
        says so, EventRefused for what never fits, and what the destination's encoding raises. The future may end in
        each of these, too.
        """
        if not self.ready:
            return None
        encode = self.encode
        return self.append(encode(event), self.destination.batch_header, wait)

    def append(self, entry: bytes, batch_header: bytes, wait: float) -> SequenceNumber:
        """Append an encoded event."""
        if type(entry) is not bytes or type(batch_header) is not bytes:
            got = f"{type(entry).__name__} and {type(batch_header).__name__}"
            raise TypeError(f"expected an entry and a batch header of bytes, got {got}")
        if self._limit is not None and len(entry) > self._limit:
            raise self._too_large(entry, self._limit)
        if not self.held:
            try:
                return self._store(entry, batch_header)
            except BufferFull:
                pass
        return self._overflow(entry, batch_header, wait)

    def _store(self, entry: bytes, batch_header: bytes) -> SequenceNumber:
        append = self._append_to_buffer
        try:
            number = append(entry, batch_header)
        except (BufferFull, EventRefused, OSError):
            raise
        except Exception as exc:  # a buffer is foreign code
            raise BufferFailed(type(exc).__name__) from exc
        if isinstance(number, int):
            self._accounting.accepted += 1
            self._schedule.add(number, 1, len(entry))
        elif isinstance(number, asyncio.Future):
            self._promises.made(number)
        else:
            raise BufferFailed(f"append must return an int or a future, got {type(number).__name__}")
        return number

    # -- what the buffer tells ----------------------------------------------------------------------

    def time(self) -> float:
        """Return the time in Unix seconds."""
        return self._clock.time()

    def recovered(self, last: int, events: int, since: float | None = None) -> None:
        """Count entries of another process; they are due at once."""
        self._accounting.recovered(events)
        self._schedule.recovered(last, since)

    def stored(self, last: int, events: int, size: int) -> None:
        """Count entries that were promised and are stored now; nobody was told of those that took too long."""
        self.trouble = ""
        self._accounting.accepted += events
        self._accounting.late(self._promises.end(events))
        self._schedule.add(last, events, size)
        self._admit_held()

    def not_stored(self, exc: Exception, events: int, unawaited: int) -> None:
        """Count entries that a durable buffer could not store; those whose callers have left are refused here."""
        self.trouble = f"its buffer can't store events: {refusal_of(exc).message}"
        self._promises.end(events)
        for _ in range(unawaited):
            self._refuse(UNAWAITED, refusal_of(exc))
        self._admit_held()

    def _hangs(self, events: int) -> None:
        """Say that the buffer stores nothing, and for how many events nobody waits any longer."""
        self.trouble = f"its buffer has stored nothing for {self._settings.overflow_timeout:g} s (overflow_timeout)"
        logger.error("%s: %s; whether %d events are stored is not known", self.name, self.trouble, events)

    def handed_over(self, numbers: Sequence[int]) -> None:
        """Count entries that another process has claimed."""
        if numbers:
            self._accounting.hand_over(numbers)
            self.ended()

    def unawaited(self, number: asyncio.Future[int]) -> None:
        """Count it if an entry that nobody waits for could not be stored; the event itself is not kept for it."""
        if (exc := failure_of(number)) is not None and (refusal := refusal_of(exc)) is not NOT_KNOWN:
            self._refuse(UNAWAITED, refusal)

    # -- refusals and overflow ----------------------------------------------------------------------

    def _closed(self, entry: bytes, batch_header: bytes) -> SequenceNumber:
        raise self._closing()

    def _closing(self) -> EventRefused:
        return EventRefused(attrs.evolve(CLOSING, destination=self.name))

    def _too_large(self, entry: bytes, limit: int) -> EventRefused:
        message = f"an encoded event of {len(entry)} bytes can't fit in {limit}"
        return EventRefused(Refusal(Reason.TOO_LARGE, message, destination=self.name))

    def _overflow(self, entry: bytes, batch_header: bytes, wait: float) -> SequenceNumber:
        limit = getattr(self._buffer, "max_bytes", None)
        if limit is not None and len(entry) > limit:
            raise self._too_large(entry, limit)
        self._schedule.trigger()
        self.trouble = "its buffer is full"
        policy = self._settings.overflow
        if policy == "drop_oldest":
            self._drop_oldest(len(entry))
            return self._store(entry, batch_header)
        moves = self.ready and self._accounting.state is LaneState.UP and self.progress.left > 0
        if policy == "wait" and wait and moves and not self._is_crowded(len(entry)):
            number = self._queue.hold(lambda: self._store(entry, batch_header), len(entry))
            if self._watchdog is None:
                self._watch()
            return number
        raise BufferFull(self._why_full(wait))

    def _is_crowded(self, size: int) -> bool:
        """Tell whether so many callers, or so many bytes, wait for room that one more may not."""
        return len(self.held) >= MOST_HELD or (bool(self.held) and self._queue.bytes + size > MOST_HELD_BYTES)

    def _why_full(self, wait: float) -> str:
        """Say to a user why an event is not accepted, and not held either."""
        if not self.ready:
            return f"there is no room, and {self.name} {NO_CATALOG}: nothing leaves that could make some"
        if self._accounting.state is not LaneState.UP:
            return f"there is no room, and {self.name} is {self._accounting.state}: nothing leaves that could make some"
        if self.progress.left <= 0:
            return self.progress.why_stalled(self.name)
        if self._settings.overflow != "wait" or not wait:
            return "there is no room for it now"
        return f"there is no room, and {len(self.held)} callers wait for some already"

    def _held_too_long(self) -> BufferFull:
        self.progress.stalled()
        return BufferFull(f"there was no room for it within {self._settings.overflow_timeout:g} s (overflow_timeout)")

    # -- those who wait -----------------------------------------------------------------------------

    def ended(self) -> None:
        """Admit who waits: entries have ended, so there may be room."""
        self.trouble = ""
        self.progress.ended()
        self._admit_held()

    def _admit_held(self) -> None:
        self.room.made()
        self._queue.admit()
        if self.held:
            self._schedule.trigger()

    def _watch(self) -> None:
        """Refuse those who wait as soon as the lane no longer moves; look again when that may be."""
        self._watchdog = None
        if not self.held:
            return
        left = self.progress.left
        if left > 0:
            self._watchdog = self._clock.call_later(max(left, SOON), self._watch)
        else:
            self.reject_held(self.progress.why_stalled(self.name))

    def reject_held(self, why: str) -> None:
        """Refuse those who wait for room."""
        self._queue.reject_all(lambda: BufferFull(why))

    @property
    def busy(self) -> bool:
        """Whether events are on their way in."""
        return bool(self.held or self._promises)

    # -- before the first catalog -------------------------------------------------------------------

    def await_catalog(self, timeout: float) -> None:
        """Store events unencoded until the destination's first catalog is there; who must wait does so that long."""
        self.ready = False
        self._ready_by = self._clock.monotonic() + timeout

    def catalog_is_there(self) -> None:
        """Encode events from now on."""
        if not self.ready:
            self.ready = True
            self._schedule.wake()

    def admit_unencoded(self, event: Event, wait: float, *, told: bool) -> SequenceNumber:
        """Append an event in its neutral form, as `admit` does; `told`: whether its listeners have been told of it."""
        return self.append(encode_neutral(event, told=told), NEUTRAL, wait)

    async def admit_when_ready(self, event: Event, within: float) -> SequenceNumber:
        """Admit an event once the first catalog is there. Raises EventRefused where that does not come in time, too."""
        ready_by = min(self._ready_by, self._clock.monotonic() + within)
        while not self.ready:
            if self._is_closed:
                raise self._closing()
            left = ready_by - self._clock.monotonic()
            if left <= 0:
                raise EventRefused(Refusal(Reason.NOT_READY, f"{self.name} {NO_CATALOG}", destination=self.name))
            await self._schedule.triggered(left)
        return self.append(self.encode(event), self.destination.batch_header, True)

    def close(self) -> None:
        """Admit nothing more."""
        self._append_to_buffer = self._closed
        self._is_closed = True
        self._schedule.wake()
        self.room.close()
        self._promises.close()
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._queue.reject_all(self._closing)
