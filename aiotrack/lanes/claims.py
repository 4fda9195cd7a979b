"""What senders do with a lane's entries: they claim them, end them, and put them back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiotrack.buffers.base import Claim
from aiotrack.buffers.dead_letters import DeadLetter
from aiotrack.model.errors import EntriesLost
from aiotrack.model.neutral import NEUTRAL

if TYPE_CHECKING:
    from aiotrack.buffers.base import LaneBuffer
    from aiotrack.buffers.dead_letters import Cause
    from aiotrack.hooks.plugins import Plugins
    from aiotrack.model.log import EpisodeLog

    from .accounting import Accounting
    from .admission import Admission
    from .late_encoding import LateEncoding
    from .schedule import Schedule
    from .window import Window

__all__ = ["LOST", "Claims"]

LOST = "aiotrack_event_lost"


class Claims:
    """The claims on one lane's buffer, which sees each as it has handed it out."""

    def __init__(
        self,
        buffer: LaneBuffer,
        admission: Admission,
        accounting: Accounting,
        schedule: Schedule,
        window: Window,
        late: LateEncoding,
        max_events: int,
        plugins: Plugins,
        log: EpisodeLog,
    ) -> None:
        self._name = admission.name
        self._destination = admission.destination
        self._plugins = plugins
        self._buffer = buffer
        self._admission = admission
        self._accounting = accounting
        self._schedule = schedule
        self._window = window
        self._late = late
        self._max_events = max_events
        self._log = log
        self._claiming = asyncio.Lock()
        self._held: Claim | None = None  # claimed, and not handed out: it can't be encoded yet, or was too much

    async def claim(self, most: int | None = None, *, ahead: bool = False) -> Claim | None:
        """Claim the next batch of what is due, of at most so many events; `ahead`: of all that is here."""
        most = min(most or self._max_events, self._max_events)
        async with self._claiming:
            if ahead:
                self._schedule.trigger()
            due = self._schedule.due
            while self._held is None and (self._accounting.claimed < due or self._accounting.requeued):
                self._held = await self._claim(most, due)
            return self._hand_out(most)

    async def _claim(self, most: int, due: int) -> Claim | None:
        accounting = self._accounting
        accounting.begin_claim()
        try:
            claim = await self._buffer.claim(most, self._window.bytes)
            if claim is None:
                accounting.claimed_up_to(due)
            else:
                accounting.claim(claim)
        except EntriesLost as lost:
            self.drop(lost.numbers, lost.why)
            self._admission.ended()
            return None
        finally:
            accounting.end_claim()
        return claim

    def _hand_out(self, most: int) -> Claim | None:
        claim = self._held
        if claim is None or (claim.batch_header == NEUTRAL and not self._admission.ready):
            return None
        self._held = None
        if len(claim) > most:
            whole, (claim, self._held) = claim, claim.split(most)
            self._accounting.replace(whole, claim, self._held)
        return claim

    async def encode(self, claim: Claim) -> Claim | None:
        """Encode what was tracked before the first catalog, at least in part; None where none of it can be sent."""
        return await self._late.encode(claim, self._window.bytes) if claim.batch_header == NEUTRAL else claim

    async def ack(self, part: Claim) -> None:
        """End a claim, or a part of one: it is delivered."""
        await self._buffer.ack(self._late.stored(part))
        self._late.forget(part.numbers)
        self._accounting.delivered(part)
        self._admission.ended()

    async def bury(self, part: Claim, cause: Cause) -> None:
        """End a claim, or a part of one: it is dead."""
        self._log.once(
            logging.ERROR,
            (self._name, "dead", cause.reason),
            "%s: %d events are dead letters (%s)",
            *(self._name, len(part), cause.reason),
        )
        stored = self._late.stored(part)
        await self._buffer.bury(stored, cause)
        self._late.forget(part.numbers)
        self._accounting.dead(part, cause.reason)
        self._admission.ended()
        for entry in stored.entries if self._plugins.calls[LOST] else ():
            letter = DeadLetter(0, cause, entry, stored.batch_header, self._name)
            self._plugins.notify(LOST, self._destination, letter, cause.reason)

    async def release(self, claim: Claim | None = None) -> None:
        """Put back what is left of a claim, or of all, to be claimed again."""
        async with self._claiming:
            if claim is None:
                self._held = None
            for part in self.open(claim):
                await self._buffer.release(part)
                self._accounting.requeue(part)
        self._schedule.wake()

    def open(self, claim: Claim | None = None) -> list[Claim]:
        """Return what is left of a claim, or of all, as the buffer knows it."""
        return [self._late.stored(part) for part in self._accounting.open_claims(claim)]

    def drop(self, numbers: Sequence[int], why: str) -> None:
        """Count entries that the buffer has let go of."""
        if numbers:
            self._late.forget(numbers)
            self._accounting.drop(numbers, why)
            self._log.once(logging.WARNING, (self._name, "dropped"), "%s: events are dropped: %s", self._name, why)
            self._plugins.notify(LOST, self._destination, len(numbers), why)
