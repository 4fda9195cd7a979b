"""How many events a batch should have, by what share of the batches of each size is taken."""

from __future__ import annotations

import math

__all__ = ["PassRates"]

FORGETS = 0.98  # of what it knew, with each request
PRIOR = 1.0  # requests, that what half the size makes likely is worth
MOST_FAILURES = 30  # in a row that are put down to chance


class PassRates:
    """Chooses the size of which most events pass with each request.

    Where some events are bad, small batches pass and large ones fail: then smaller ones deliver more. Where a server
    fails at random, all sizes fail alike, and the largest deliver most.
    """

    def __init__(self, most: int) -> None:
        self._sizes = [most >> shift for shift in reversed(range(most.bit_length()))]
        self._passed = [0.0] * len(self._sizes)
        self._sent = [0.0] * len(self._sizes)
        self._unsure: list[int] = []  # the others that failed in a row with one before the last that passed
        self._failed_since: list[int] = []  # indices of sizes, since one passed

    def failed(self, events: int, *, again: bool = False) -> None:
        """Note a batch that failed; what it means is known when another passes."""
        if not again:
            for index in self._unsure:
                self._note(index, 0.0)
            self._unsure.clear()
        self._failed_since.append(self._index(events))

    def passed(self, events: int | None, *, outage: bool) -> None:
        """Note a batch that passed, of so many events if it counts; failures in an `outage` say nothing of sizes."""
        if not self._failed_since:
            self._unsure.clear()
        elif not outage:
            self._note(self._failed_since[0], 0.0)
            self._unsure = self._failed_since[1:]
        self._failed_since = []
        if events is not None:
            self._note(self._index(events), 1.0)

    def rate(self, events: int) -> float:
        """Return what share of the batches of about so many events passes."""
        return self._rates()[self._index(events)]

    def best(self) -> int:
        """Return how many events a batch should have."""
        return max(zip(self._sizes, self._rates(), strict=True), key=lambda each: each[0] * each[1])[0]

    def by_chance(self, chance: float) -> int:
        """Return how many of the best batches fail in a row at least so likely, though nothing has changed."""
        fails = 1 - self.rate(self.best())
        return min(int(math.log(chance) / math.log(fails)), MOST_FAILURES) if fails > 0 else 0

    def _rates(self) -> list[float]:
        """Return the share that passes, by size: half the size twice, if nothing else is known."""
        likely, rates = 1.0, []
        for passed, sent in zip(self._passed, self._sent, strict=True):
            rates.append((passed + PRIOR * likely) / (sent + PRIOR))
            likely = rates[-1] ** 2
        return rates

    def _index(self, events: int) -> int:
        return min(events.bit_length(), len(self._sizes)) - 1

    def _note(self, index: int, passed: float) -> None:
        self._passed = [FORGETS * value for value in self._passed]
        self._sent = [FORGETS * value for value in self._sent]
        self._passed[index] += passed
        self._sent[index] += 1
