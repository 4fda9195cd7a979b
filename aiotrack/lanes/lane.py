"""A lane: one destination's buffer, the callers that bring events, and the senders that take them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from .buffer import Buffer, Claim, Outcome
from .dead import Cause, DeadLetter
from .errors import BufferFailed, BufferFull, EntriesLost, EventRefused
from .event import Reason, Refusal
from .intake import Intake
from .ledger import Ledger
from .log import EpisodeLog, logger
from .result import Number, Receipt, Rejected
from .schedule import Schedule
from .stats import LaneState, LaneStats

if TYPE_CHECKING:
    from .catalog import Catalog
    from .clock import Clock
    from .destination import Destination
    from .plugins import Plugins
    from .settings import Settings

__all__ = ["Lane"]

WATCH = 30.0  # seconds between two looks for what dead processes left


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
        self.ledger = Ledger()
        self._plugins = plugins
        self._count_refusal = count_refusal
        self._log = log
        self._max_events = min(settings.batch_size, destination.max_batch_events or settings.batch_size)
        self._max_bytes = min(settings.batch_bytes, destination.max_batch_bytes or settings.batch_bytes)
        self._claiming = asyncio.Lock()
        self._replaying = asyncio.Lock()
        self._schedule = Schedule(
            self._max_events, self._max_bytes, settings.flush_interval, clock, max_age=settings.max_age
        )
        self._intake = Intake(
            destination, buffer, self.ledger, self._schedule, settings, clock, self._drop_oldest, self.refuse
        )
        self.take = self._intake.take
        self.append = self._intake.append
        self.unheard = self._intake.unheard

    # -- callers ------------------------------------------------------------------------------------

    def refuse(self, event_key: str, refusal: Refusal) -> None:
        """Count and log the refusal of what came by `append`."""
        self._count_refusal(event_key, attrs.evolve(refusal, destination=self.name))

    def _drop_oldest(self, size: int) -> None:
        self._drop(self.buffer.make_room(size), "pushed out by newer events")

    # -- the senders --------------------------------------------------------------------------------

    async def claim(self, most: int | None = None) -> Claim:
        """Wait until something is due, and claim the next batch of it, of at most so many events."""
        while True:
            async with self._claiming:
                due = self._schedule.due
                if self.ledger.claimed < due or self.ledger.on_offer:
                    claim = await self._claim(min(most or self._max_events, self._max_events), due)
                    if claim is not None:
                        return claim
                    continue
            await self._schedule.idle()

    async def _claim(self, most: int, due: int) -> Claim | None:
        self.ledger.begin_claim()
        try:
            claim = await self.buffer.claim(most, self._max_bytes)
            if claim is None:
                self.ledger.claimed_up_to(due)
            else:
                self.ledger.claim(claim)
        except EntriesLost as lost:
            self._drop(lost.numbers, lost.why)
            self._intake.settled()
            return None
        finally:
            self.ledger.end_claim()
        return claim

    async def rest(self, delay: float, *, deaf: bool) -> None:
        """Wait `delay` seconds; a flush or a close cuts it short, unless `deaf` (the server set the delay)."""
        await self._schedule.rest(delay, deaf=deaf)

    def narrow(self, size: int) -> None:
        """Make batches smaller from now on: one of `size` bytes was too large."""
        self._max_bytes = max(min(self._max_bytes, size // 2), 1)

    async def settle(self, part: Claim, outcome: Outcome, cause: Cause | None = None) -> None:
        """End a claim, or a part of one, and count it."""
        await self.buffer.settle(part, outcome, cause)
        self.ledger.settle(part, outcome, cause.reason if cause else "")
        self._intake.settled()

    async def release(self, claim: Claim | None = None) -> None:
        """Put back what was claimed and not settled, to be claimed again."""
        async with self._claiming:
            for part in self.ledger.left(claim):
                await self.buffer.settle(part, Outcome.RELEASED)
                self.ledger.release(part)
        self._schedule.wake()

    def _drop(self, numbers: Sequence[int], why: str) -> None:
        if numbers:
            self.ledger.drop(numbers, why)
            self._log.once(logging.WARNING, (self.name, "dropped"), "%s: events are dropped: %s", self.name, why)

    def up(self) -> None:
        """Note that the destination has answered well."""
        if self.ledger.state is not LaneState.UP:
            self.ledger.state = LaneState.UP
            self._log.over((self.name, "down"))
            logger.info("%s: delivering again", self.name)

    def down(self, state: LaneState, why: str, delay: float) -> None:
        """Note that the destination takes no events now; nobody is held for it."""
        self.ledger.state = state
        self.ledger.retries += 1
        self._log.once(
            logging.ERROR if state is LaneState.PAUSED else logging.WARNING,
            (self.name, "down"),
            "%s: %s; %d events wait, next try in %.1f s",
            *(self.name, why, self.buffer.depth().events, delay),
            until_over=True,
        )
        self._intake.turn_away(f"the buffer is full and the lane is {state}")

    def is_old(self, part: Claim) -> bool:
        """Tell whether these entries have been here longer than they are worth keeping."""
        return self._schedule.is_old(part.seqs[-1])

    # -- those who wait for an end ------------------------------------------------------------------

    def hurry(self) -> None:
        """Send all that is here now; a resting sender tries at once, unless the server set the delay."""
        self._schedule.hurry()

    async def flush(self) -> None:
        """Send all that is here now, and wait until it has ended."""
        await self._look()
        await self._intake.written()
        self.hurry()
        await self.ledger.ended(self._schedule.due)

    async def drain(self) -> None:
        """Flush until nothing is left, those included who are let in meanwhile."""
        while self._intake.busy or self.ledger.pending:
            await self.flush()
            await asyncio.sleep(0)

    async def outcome(self, number: Number) -> Receipt:
        """Wait for one entry's end."""
        try:
            known = number if isinstance(number, int) else await asyncio.shield(number)
        except Exception:  # noqa: BLE001 - whatever a buffer raises
            return Rejected(Reason.BUFFER_ERROR)
        return await self.ledger.receipt(known)

    def stats(self) -> LaneStats:
        """Return the counters."""
        return self.ledger.stats(self.buffer.depth().bytes)

    async def dead_letters(self) -> list[DeadLetter]:
        """Return what is dead, oldest first."""
        return [attrs.evolve(letter, destination=self.name) for letter in await self.buffer.dead_letters()]

    async def replay(self, letters: Iterable[DeadLetter]) -> int:
        """Take this lane's dead letters in again; return how many there was room for."""
        wanted = {letter.id for letter in letters if letter.destination == self.name}
        taken: list[int] = []
        async with self._replaying:
            try:
                for letter in await self.buffer.dead_letters():
                    if letter.id in wanted and await self._taken_again(letter):
                        taken.append(letter.id)  # noqa: PERF401 - kept when it is cut short
            except (BufferFull, BufferFailed):
                pass  # the others stay dead letters
            finally:
                await asyncio.shield(self.buffer.forget(taken))
        return len(taken)

    async def _taken_again(self, letter: DeadLetter) -> bool:
        try:
            number = self.append(letter.entry, letter.envelope, True)
        except EventRefused:
            return False
        if not isinstance(number, int):
            await number
        return True

    async def forget(self, letters: Iterable[DeadLetter]) -> None:
        """Delete this lane's dead letters."""
        await self.buffer.forget([letter.id for letter in letters if letter.destination == self.name])

    # -- life ---------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make the buffer ready to accept."""
        await self.buffer.open(self._intake)
        self.ledger.state = LaneState.UP
        if self.destination.needs_catalog:
            self._intake.shut_door(self.destination.ready_timeout)
        if self.destination.catalog is not None:
            self.catalog_updated(self.destination.catalog)

    async def watch(self) -> None:
        """Look for what dead processes have left in a durable buffer, again and again."""
        while True:
            await self._look()
            await self.rest(WATCH, deaf=True)

    async def _look(self) -> None:
        try:
            await self.buffer.recover()
        except Exception as exc:  # noqa: BLE001 - a buffer is foreign code
            self._plugins.record(self.name, "buffer", exc)

    def catalog_updated(self, catalog: Catalog) -> None:
        """Announce a destination's new catalog, and let in the events that waited for the first one."""
        self._intake.open_door()
        self._plugins.notify("aiotrack_catalog_updated", self.destination, catalog)

    async def close(self) -> None:
        """Take nothing more, put unfinished claims back, count what a memory buffer loses, close the buffer."""
        self._intake.close()
        self._schedule.stop()
        try:
            await self.release()
        finally:
            self.ledger.close(0 if self.buffer.durable else self.ledger.pending)
            self.ledger.state = LaneState.CLOSED
            lost = await self.buffer.close()
            if self.buffer.durable:
                self.ledger.close(lost)
