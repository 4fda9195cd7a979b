"""A lane's accounts: what was accepted, claimed and settled, and who waits for which end."""

from __future__ import annotations

from collections.abc import Sequence

from .buffer import Claim, Outcome
from .result import Outcomes, Receipt, Rejected
from .stats import LaneState, LaneStats

__all__ = ["Ledger"]


class Ledger:
    """The books. Every entry that is accepted is pending until it is delivered, dead or dropped."""

    def __init__(self) -> None:
        self.state = LaneState.NEW
        self.claimed = 0  # entries up to this number were claimed once, but for those on offer
        self.on_offer: set[int] = set()  # claimed once, and put back
        self._claiming_from: int | None = None  # while a claim is being made: what had been claimed before
        self.retries = 0
        self.accepted = 0
        self._recovered = self._delivered = self._dead = self._dropped = 0
        self._open: dict[int, Claim] = {}  # claims, or what is left of them, by their first number
        self._outcomes = Outcomes()

    @property
    def pending(self) -> int:
        """How many entries have not ended."""
        return self.accepted - self._delivered - self._dead - self._dropped

    @property
    def settled_up_to(self) -> int:
        """The number up to which everything has ended."""
        unsettled = [*self._open, *self.on_offer]
        settled = min(self.claimed, min(unsettled) - 1) if unsettled else self.claimed
        return settled if self._claiming_from is None else min(settled, self._claiming_from)

    def recover(self, count: int) -> None:
        """Note entries that an earlier owner of the buffer had left."""
        self.accepted += count
        self._recovered += count

    def begin_claim(self) -> None:
        """Note that entries may be on their way out of the buffer, and are no claim yet."""
        self._claiming_from = self.settled_up_to

    def end_claim(self) -> None:
        """Note that they are."""
        self._claiming_from = None
        self._tell()

    def claim(self, claim: Claim) -> None:
        """Note a claim."""
        self.on_offer.difference_update(claim.seqs)
        self.claimed = max(self.claimed, claim.seqs[-1])
        self._open[claim.seqs[0]] = claim

    def claimed_up_to(self, number: int) -> None:
        """Note that nothing unclaimed is left up to this number."""
        self.claimed = max(self.claimed, number)
        self.on_offer.clear()

    def replace(self, part: Claim, *pieces: Claim) -> None:
        """Go on with a claim as several, or as one that failed once more."""
        del self._open[part.seqs[0]]
        self._open.update((piece.seqs[0], piece) for piece in pieces)

    def settle(self, part: Claim, outcome: Outcome, why: str = "") -> None:
        """Note the end of a claim, or of a part of one."""
        del self._open[part.seqs[0]]
        if outcome is Outcome.DELIVERED:
            self._delivered += len(part)
        else:
            self._dead += len(part)
            self._outcomes.lost(part.seqs, Rejected(why))
        self._tell()

    def left(self, claim: Claim | None = None) -> list[Claim]:
        """Return what is left open of a claim, or of all."""
        numbers = self._open if claim is None else self._open.keys() & set(claim.seqs)
        return [self._open[number] for number in sorted(numbers)]

    def release(self, part: Claim) -> None:
        """Note that a claim, or a part of one, is to be claimed again."""
        del self._open[part.seqs[0]]
        self.on_offer.update(part.seqs)

    def drop(self, numbers: Sequence[int], why: str) -> None:
        """Note entries that are given up on unsent."""
        self._dropped += len(numbers)
        self.claimed = max(self.claimed, numbers[-1])
        self.on_offer.difference_update(numbers)
        self._outcomes.lost(numbers, Rejected(f"dropped: {why}"))
        self._tell()

    def _tell(self) -> None:
        self._outcomes.settled_up_to(self.settled_up_to)

    async def ended(self, number: int) -> None:
        """Wait until all entries up to this number have ended, or the lane is closed."""
        if self.settled_up_to < number:
            await self._outcomes.all_up_to(number)

    async def receipt(self, number: int) -> Receipt:
        """Wait for one entry's end."""
        return await self._outcomes.of(number, settled=number <= self.settled_up_to)

    def close(self, left: int) -> None:
        """Answer all who wait, and note what a memory buffer loses."""
        self._outcomes.close(self.settled_up_to)
        self._dropped += left

    def stats(self, bytes_pending: int) -> LaneStats:
        """Return the counters."""
        return LaneStats(
            accepted=self.accepted,
            recovered=self._recovered,
            delivered=self._delivered,
            dead=self._dead,
            dropped=self._dropped,
            pending=self.pending,
            retries=self.retries,
            bytes_pending=bytes_pending,
            state=self.state,
        )
