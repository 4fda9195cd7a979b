"""A lane: one destination's buffer, its counters, and the callers and flushes that wait for it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from .buffer import Buffer, Claim, Outcome
from .door import Door
from .errors import BufferFull, EventRefused
from .event import Reason, Refusal
from .log import EpisodeLog, logger
from .result import Number, Outcomes, Receipt, Rejected
from .room import WaitingRoom, promised
from .schedule import Schedule, wake
from .stats import LaneState, LaneStats

if TYPE_CHECKING:
    from .catalog import Catalog
    from .clock import Clock
    from .destination import Destination
    from .event import Event
    from .plugins import Plugins
    from .settings import Settings

__all__ = ["Lane"]

MOST_HELD = 10_000  # callers that wait for room; more are refused


class Lane:
    """What one destination has accepted and not yet settled. Shares nothing with other lanes."""

    def __init__(
        self,
        destination: Destination,
        buffer: Buffer,
        plugins: Plugins,
        count_refusal: Callable[[str, Refusal], None],
        settings: Settings,
        clock: Clock,
        log: EpisodeLog,
    ) -> None:
        self.name = destination.name
        self.destination = destination
        self.buffer = buffer
        self.encode = destination.encode
        self.state = LaneState.NEW
        self._plugins = plugins
        self._count_refusal = count_refusal
        self._settings = settings
        self._clock = clock
        self._log = log
        self._append = buffer.append
        self._max_events = min(settings.batch_size, destination.max_batch_events or settings.batch_size)
        self._limit = destination.max_batch_bytes or sys.maxsize
        self._max_bytes = min(settings.batch_bytes, destination.max_batch_bytes or settings.batch_bytes)
        self._accepted = self._delivered = self._dead = self._dropped = 0
        self._retries = 0
        self._claimed = 0  # entries up to this number were claimed once
        self._open: dict[int, Claim] = {}  # claims, or what is left of them, by their first number
        self._resting: asyncio.Future[None] | None = None  # the sender lets a failing destination rest
        self._schedule = Schedule(self._max_events, self._max_bytes, settings.flush_interval, clock)
        full_for = f"the buffer stayed full for {settings.overflow_timeout:g} s"
        self._room = WaitingRoom(clock, settings.overflow_timeout, lambda: BufferFull(full_for))
        self._door: Door | None = None
        self._held = self._room.callers
        self._outcomes = Outcomes()

    # -- callers ------------------------------------------------------------------------------------

    def take(self, event: Event, wait: bool) -> Number:
        """Encode an event and take it; return its number, or a future of it when it can't be had at once.

        Raises BufferFull where the overflow policy says so, EventRefused for what never fits, and what
        the destination's encoding raises. The future may end in each of these, too.
        """
        if self._door is not None:
            return self._door.knock(event, wait)
        return self.append(self.encode(event), self.destination.envelope, wait)

    def append(self, entry: bytes, envelope: bytes, wait: bool) -> Number:
        """Take an encoded event."""
        if type(entry) is not bytes:
            raise TypeError(f"encode must return bytes, got {type(entry).__name__}")
        if len(entry) > self._limit:
            raise self._too_large(entry, self._limit)
        if self._held:
            return self._overflow(entry, envelope, wait)
        try:
            return self._enter(entry, envelope)
        except BufferFull:
            return self._overflow(entry, envelope, wait)

    def _enter(self, entry: bytes, envelope: bytes) -> Number:
        number = self._append(entry, envelope)
        if isinstance(number, int):
            self._took(number, len(entry))
            return number
        return promised(number, lambda number: self._took(number, len(entry)))

    def _took(self, number: int, size: int) -> None:
        self._accepted += 1
        self._schedule.took(number, size)

    def _closed(self, entry: bytes, envelope: bytes) -> Number:
        raise EventRefused(Refusal(Reason.CLOSING, "the client takes no more events", destination=self.name))

    def _too_large(self, entry: bytes, limit: int) -> EventRefused:
        message = f"an encoded event of {len(entry)} bytes can't fit in {limit}"
        return EventRefused(Refusal(Reason.TOO_LARGE, message, destination=self.name))

    def _overflow(self, entry: bytes, envelope: bytes, wait: bool) -> Number:
        limit = getattr(self.buffer, "max_bytes", None)
        if limit is not None and len(entry) > limit:
            raise self._too_large(entry, limit)
        self._schedule.trigger()
        policy = self._settings.overflow
        if policy == "drop_oldest":
            self._drop(self.buffer.make_room(len(entry)), "pushed out by newer events")
            return self._enter(entry, envelope)
        if policy == "wait" and wait and self.state is LaneState.UP and len(self._held) < MOST_HELD:
            return self._room.hold(lambda: self._enter(entry, envelope))
        raise BufferFull(f"the buffer is full and the lane is {self.state}")

    def refuse(self, event_key: str, refusal: Refusal) -> None:
        """Count and log the refusal of what came by `append`."""
        self._count_refusal(event_key, attrs.evolve(refusal, destination=self.name))

    # -- the sender ---------------------------------------------------------------------------------

    async def claim(self) -> Claim:
        """Wait until something is due, and claim the next batch of it."""
        while True:
            due = self._schedule.due
            if self._claimed < due:
                claim = await self.buffer.claim(self._max_events, self._max_bytes)
                if claim is not None:
                    self._claimed = max(self._claimed, claim.seqs[-1])
                    self._open[claim.seqs[0]] = claim
                    return claim
                self._claimed = due
                self._tell_settled()
            else:
                await self._schedule.idle()

    async def rest(self, delay: float, *, deaf: bool) -> None:
        """Wait `delay` seconds; a flush or a close cuts it short, unless `deaf` (the server set the delay)."""
        resting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(delay, lambda: wake(resting))
        self._resting = None if deaf else resting
        try:
            await resting
        finally:
            self._resting = None
            timer.cancel()

    def halve(self, part: Claim) -> tuple[Claim, Claim]:
        """Go on with a claim as two."""
        halves = part.halves()
        del self._open[part.seqs[0]]
        self._open.update((half.seqs[0], half) for half in halves)
        return halves

    async def settle(self, part: Claim, outcome: Outcome, why: str = "") -> None:
        """End a claim, or a part of one, and count it."""
        await self.buffer.settle(part, outcome)
        del self._open[part.seqs[0]]
        if outcome is Outcome.DELIVERED:
            self._delivered += len(part)
        else:
            self._dead += len(part)
            self._outcomes.lost(part.seqs, Rejected(why))
        self._tell_settled()
        self._room.admit()
        if self._held:
            self._schedule.trigger()

    async def release(self) -> None:
        """Put back what was claimed and not settled, to be claimed again."""
        while self._open:
            first = min(self._open)
            self._claimed = min(self._claimed, first - 1)
            await self.buffer.settle(self._open.pop(first), Outcome.RELEASED)

    def _drop(self, numbers: Sequence[int], why: str) -> None:
        if numbers:
            self._dropped += len(numbers)
            self._claimed = max(self._claimed, numbers[-1])
            self._outcomes.lost(numbers, Rejected(f"dropped: {why}"))
            self._log.once(logging.WARNING, (self.name, "dropped"), "%s: events are dropped: %s", self.name, why)
            self._tell_settled()

    def up(self) -> None:
        """Note that the destination has answered well."""
        if self.state is not LaneState.UP:
            self.state = LaneState.UP
            self._log.over((self.name, "down"))
            logger.info("%s: delivering again", self.name)

    def down(self, state: LaneState, why: str, delay: float) -> None:
        """Note that the destination takes no events now; nobody is held for it."""
        self.state = state
        self._retries += 1
        self._log.once(
            logging.ERROR if state is LaneState.PAUSED else logging.WARNING,
            (self.name, "down"),
            "%s: %s; %d events wait, next try in %.1f s",
            *(self.name, why, self.buffer.depth().events, delay),
            until_over=True,
        )
        self._room.turn_away(lambda: BufferFull(f"the buffer is full and the lane is {state}"))

    # -- those who wait for an end ------------------------------------------------------------------

    def _settled_up_to(self) -> int:
        """Return the number up to which everything has ended."""
        return min(self._open) - 1 if self._open else self._claimed

    def _tell_settled(self) -> None:
        self._outcomes.settled_up_to(self._settled_up_to())

    def hurry(self) -> None:
        """Send all that is here now; a resting sender tries at once, unless the server set the delay."""
        self._schedule.trigger()
        wake(self._resting)

    async def flush(self) -> None:
        """Send all that is here now, and wait until it has ended."""
        self.hurry()
        if self._settled_up_to() < self._schedule.due:
            await self._outcomes.all_up_to(self._schedule.due)

    async def drain(self) -> None:
        """Flush until nothing is left, those included who are let in meanwhile."""
        while self._held or self.stats().pending:
            await self.flush()

    async def outcome(self, number: Number) -> Receipt:
        """Wait for one entry's end."""
        try:
            known = number if isinstance(number, int) else await asyncio.shield(number)
        except Exception:  # noqa: BLE001 - whatever a buffer raises
            return Rejected(Reason.BUFFER_ERROR)
        return await self._outcomes.of(known, settled=known <= self._settled_up_to())

    def stats(self) -> LaneStats:
        """Return the counters."""
        return LaneStats(
            accepted=self._accepted,
            delivered=self._delivered,
            dead=self._dead,
            dropped=self._dropped,
            pending=self._accepted - self._delivered - self._dead - self._dropped,
            retries=self._retries,
            bytes_pending=self.buffer.depth().bytes,
            state=self.state,
        )

    # -- life ---------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make the buffer ready to accept."""
        await self.buffer.open()
        self.state = LaneState.UP
        if self.destination.needs_catalog:
            self._door = Door(self, self._clock, self.destination.ready_timeout)
        if self.destination.catalog is not None:
            self.catalog_updated(self.destination.catalog)

    def catalog_updated(self, catalog: Catalog) -> None:
        """Announce a destination's new catalog, and let in the events that waited for the first one."""
        if self._door is not None:
            self._door.open(self._door_is_open)
        self._plugins.notify("aiotrack_catalog_updated", self.destination, catalog)

    def _door_is_open(self) -> None:
        self._door = None

    async def close(self) -> None:
        """Take nothing more, put unfinished claims back, count what a memory buffer loses, close the buffer."""
        self._append = self._closed
        self._room.turn_away(lambda: BufferFull("the client is closing"))
        if self._door is not None:
            self._door.close()
        self._schedule.stop()
        self._outcomes.close(self._settled_up_to())
        await self.release()
        if not self.buffer.durable:
            self._dropped += self.buffer.depth().events
        await self.buffer.close()
        self.state = LaneState.CLOSED
