"""A lane's counters: what was accepted, claimed and ended; receipts and flushes wait for it here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from aiotrack.buffers.base import Claim
from aiotrack.model.result import Receipt, Rejected, Unknown
from aiotrack.model.stats import LaneState, LaneStats

from .receipts import ReceiptTracker

__all__ = ["Accounting"]


class Accounting:
    """Every entry that is accepted is pending until it is delivered, dead, dropped or handed over."""

    def __init__(self) -> None:
        self.state = LaneState.NEW
        self.claimed = 0  # entries up to this sequence number were claimed once, but for the requeued ones
        self.requeued: set[int] = set()  # claimed once, and put back
        self._aside: set[int] = set()  # claimed, and tried only now and then: no flush waits for them
        self.retries = 0
        self.accepted = 0
        self._claiming_from: int | None = None  # while a claim is being made: what had been claimed before
        self._recovered = self._delivered = self._dead = self._dropped = self._handed_over = 0
        self._open: dict[int, Claim] = {}  # claims, or what is left of them, by their first number
        self._receipts = ReceiptTracker()

    @property
    def pending(self) -> int:
        """How many entries have not ended."""
        return self.accepted - self._delivered - self._dead - self._dropped - self._handed_over

    @property
    def awaited(self) -> int:
        """How many entries have not ended, but for those that no flush waits for."""
        return self.pending - len(self._aside)

    def set_aside(self, part: Claim, *, aside: bool) -> None:
        """Note that no flush waits for the entries of a claim, or that it does again."""
        if aside:
            self._aside.update(part.numbers)
            self._tell()
        else:
            self._aside.difference_update(part.numbers)

    @property
    def flushed_up_to(self) -> int:
        """The sequence number up to which everything has ended, but for what no flush waits for."""
        return self._lowest([number for number in self._open if number not in self._aside])

    @property
    def ended_up_to(self) -> int:
        """The sequence number up to which everything has ended."""
        return self._lowest(self._open)

    def _lowest(self, claimed: Iterable[int]) -> int:
        unended = [*claimed, *self.requeued]
        ended = min(self.claimed, min(unended) - 1) if unended else self.claimed
        return ended if self._claiming_from is None else min(ended, self._claiming_from)

    def recovered(self, events: int) -> None:
        """Count entries that another process had left."""
        self.accepted += events
        self._recovered += events  # in this order: see `stats`

    def late(self, events: int) -> None:
        """Count entries that are stored after all, though their callers were told that it is not known."""
        self._recovered += events

    # -- claims -------------------------------------------------------------------------------------

    def begin_claim(self) -> None:
        """Note that entries may be on their way out of the buffer, and are no claim yet."""
        self._claiming_from = self.ended_up_to

    def end_claim(self) -> None:
        """End what `begin_claim` began: the entries are claimed, or still in the buffer."""
        self._claiming_from = None
        self._tell()

    def claim(self, claim: Claim) -> None:
        """Note a claim."""
        self.requeued.difference_update(claim.numbers)
        self.claimed = max(self.claimed, claim.numbers[-1])
        self._open[claim.numbers[0]] = claim

    def claimed_up_to(self, number: int) -> None:
        """Note that nothing is left to claim up to this number; what was not claimed here has gone another way."""
        if number > self.claimed:
            self._receipts.unclaimed(self.claimed + 1, number)
            self.claimed = number
        if self.requeued:
            self._receipts.undelivered(sorted(self.requeued), Unknown())
            self.requeued.clear()

    def replace(self, part: Claim, *pieces: Claim) -> None:
        """Go on with a claim as several, or as one that failed once more."""
        del self._open[part.numbers[0]]
        self._open.update((piece.numbers[0], piece) for piece in pieces)

    def open_claims(self, claim: Claim | None = None) -> list[Claim]:
        """Return what is left of a claim, or of all, in order."""
        numbers = self._open if claim is None else self._open.keys() & set(claim.numbers)
        return [self._open[number] for number in sorted(numbers)]

    def requeue(self, part: Claim) -> None:
        """Note that a claim, or a part of one, is to be claimed again."""
        self._end(part)
        self.requeued.update(part.numbers)

    def _end(self, part: Claim) -> None:
        """Forget a claim."""
        del self._open[part.numbers[0]]
        if self._aside:
            self._aside.difference_update(part.numbers)

    # -- ends ---------------------------------------------------------------------------------------

    def delivered(self, part: Claim) -> None:
        """Note the good end of a claim, or of a part of one."""
        self._end(part)
        self._delivered += len(part)
        self._tell()

    def dead(self, part: Claim, why: str) -> None:
        """Note the bad end of a claim, or of a part of one."""
        self._end(part)
        self._dead += len(part)
        self._receipts.undelivered(part.numbers, Rejected(why))
        self._tell()

    def drop(self, numbers: Sequence[int], why: str) -> None:
        """Note entries that are given up on unsent."""
        self._dropped += len(numbers)
        self._left(numbers, Rejected(f"dropped: {why}"))

    def hand_over(self, numbers: Sequence[int]) -> None:
        """Note entries that another process has claimed from a shared engine."""
        self._handed_over += len(numbers)
        self._left(numbers, Unknown())

    def _left(self, numbers: Sequence[int], receipt: Rejected | Unknown) -> None:
        self.requeued.difference_update(numbers)
        self._receipts.undelivered(numbers, receipt)
        self._tell()

    def _tell(self) -> None:
        self._receipts.ended_up_to(self.ended_up_to)
        self._receipts.flushed_up_to(self.flushed_up_to)

    # -- those who wait -----------------------------------------------------------------------------

    async def wait_up_to(self, number: int) -> None:
        """Wait until all entries up to this number have ended, but for those set aside, or the lane is closed."""
        if self.flushed_up_to < number:
            await self._receipts.wait_up_to(number)

    async def receipt(self, number: int) -> Receipt:
        """Wait for one entry's end."""
        return await self._receipts.receipt(number, ended=number <= self.ended_up_to)

    def close(self, *, dropped: int = 0, handed_over: int = 0) -> None:
        """Answer all who wait, and note what a memory buffer loses and what a shared engine keeps for others."""
        self._receipts.close(self.ended_up_to)
        self._dropped += dropped
        self._handed_over += handed_over

    def stats(self, **others: Any) -> LaneStats:
        """Return the counters, and what others know of the lane.

        They reconcile when another thread asks, too: what has ended is read before what was accepted.
        """
        delivered, dead, dropped, handed_over = self._delivered, self._dead, self._dropped, self._handed_over
        recovered = self._recovered
        accepted = self.accepted
        return LaneStats(
            accepted=accepted,
            recovered=recovered,
            delivered=delivered,
            dead=dead,
            dropped=dropped,
            handed_over=handed_over,
            pending=accepted - delivered - dead - dropped - handed_over,
            retries=self.retries,
            state=self.state,
            **others,
        )
