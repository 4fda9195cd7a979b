"""What was sent in vain, and may be at fault for it: kept aside, divided while others pass, and given up on late.

An answer such as 403, 409, 500, or none at all may be about one event, or about the server. What happens to other
events tells which: while nothing passes, it is an outage, and nothing is divided or given up on. While others pass, a
part that failed is halved, until the event at fault stands alone. That one is tried between two requests that pass,
again and again, and is dead only after so many such trials that chance can't explain them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable

import attrs

from aiotrack.buffers.base import Claim
from aiotrack.model.batch import Answer

__all__ = ["Part", "Suspects", "trials_needed"]

PAUSES = (1.0, 4.0, 16.0, 30.0)  # seconds between two trials of one event; the last again and again
WINDOW = 100  # requests without a suspect, by which the server is judged
LEAST_TRIALS = 3
CHANCE = 1e-6  # of giving up on an event that nothing is wrong with, at most


@attrs.define(eq=False)
class Part:
    """A claim, or a part of one, on its way."""

    claim: Claim
    answer: Answer | None = None
    """Its last answer that said nothing certain; None while it was not sent by itself."""
    at_fault: bool = False
    """Whether others passed right after it had failed, so that it is halved before it is sent again."""
    sibling: Part | None = None
    """The older half of the same part: when that passes, this one is at fault."""
    trials: int = 0
    """How often it failed alone between two requests that passed."""
    failures: int = 0
    """How often it failed alone."""
    due: float = 0.0
    """When it may be tried again, by the monotonic clock; of one event only."""

    def __len__(self) -> int:
        return len(self.claim)

    @property
    def is_suspect(self) -> bool:
        """Whether it is one event that failed while others passed."""
        return self.failures > 0


def trials_needed(outcomes: Iterable[bool]) -> int:
    """Return how many failed trials are no chance, by how many of the last requests failed (True) without a suspect."""
    listed = list(outcomes)
    chance = (sum(listed) + 1) / (len(listed) + 2)
    return max(LEAST_TRIALS, math.ceil(math.log(CHANCE) / math.log(chance)))


class Suspects:
    """The parts of one lane that are kept aside, the least recently tried first.

    `replace` tells the lane's accounts that a claim goes on as several.
    """

    def __init__(self, replace: Callable[..., None]) -> None:
        self._replace = replace
        self._parts: deque[Part] = deque()
        self._outcomes: deque[bool] = deque(maxlen=WINDOW)  # of requests without a suspect: whether they failed
        self._streak: list[Part] = []  # what has failed since the last request that passed
        self._on_trial: Part | None = None  # it failed right after a request that passed
        self._passed_last = False

    def __len__(self) -> int:
        """Count the events kept aside."""
        return sum(map(len, self._parts))

    @property
    def streak(self) -> int:
        """How many requests have failed since the last that passed."""
        return len(self._streak)

    # -- outcomes -----------------------------------------------------------------------------------

    def passed(self, part: Part, *, brief: bool) -> Part | None:
        """Note a request that was delivered; return the event that is dead by it, if there is one.

        `brief`: what failed before it were a few requests, and no outage, so the events are likelier at fault.
        """
        if not part.is_suspect:
            self._outcomes.append(False)
        for failed in self._streak:
            failed.at_fault = brief or failed.is_suspect
        self._streak.clear()
        self._passed_last = True
        for other in self._parts:
            if other.sibling is part:
                other.at_fault = True
        tried, self._on_trial = self._on_trial, None
        if tried is None:
            return None
        tried.trials += 1
        if tried.trials < trials_needed(self._outcomes):
            return None
        self._parts.remove(tried)
        return tried

    def failed(self, part: Part, answer: Answer, now: float) -> None:
        """Note a request whose answer says nothing certain, and keep the part aside."""
        if not part.is_suspect and not part.at_fault:
            self._outcomes.append(True)
        self._on_trial = None
        part.answer = answer
        if len(part) == 1 and part.at_fault:
            if self._passed_last:
                self._on_trial = part
            part.due = now + PAUSES[min(part.failures, len(PAUSES) - 1)]
            part.failures += 1
        self._passed_last = False
        self._streak.append(part)
        self._parts.append(part)

    def answered(self) -> None:
        """Note an answer about a request's content: it says nothing of the others."""
        self._on_trial = None
        self._passed_last = False

    def keep(self, claims: Iterable[Claim]) -> None:
        """Keep parts aside that were not sent by themselves yet."""
        self._parts.extendleft(Part(claim) for claim in claims)

    def take_out(self, is_given_up: Callable[[Part], bool]) -> list[Part]:
        """Let go of the parts that are given up on, of those that were sent, and return them."""
        given_up = [part for part in self._parts if part.answer is not None and is_given_up(part)]
        for part in given_up:
            self._parts.remove(part)
        self._streak = [part for part in self._streak if part not in given_up]
        return given_up

    # -- what is next -------------------------------------------------------------------------------

    def next(self, now: float) -> Part | None:
        """Take out what is to be tried between ordinary batches: half of what is at fault, or a suspect that is due."""
        for part in self._parts:
            if not part.is_suspect or part.due <= now:
                self._parts.remove(part)
                return self._halved(part) if part.at_fault and len(part) > 1 else part
        return None

    def next_due(self) -> float | None:
        """Return when the next may be tried; None when none is kept."""
        return min((part.due if part.is_suspect else 0.0 for part in self._parts), default=None)

    def probe(self, most: int) -> Part | None:
        """Take out what tells whether anything passes, where no other events wait.

        That is a part that was not sent yet, or so many events of the one that was tried least recently.
        """
        fresh = next((part for part in self._parts if part.answer is None), None)
        part = fresh if fresh is not None else next(iter(self._parts), None)
        if part is None:
            return None
        self._parts.remove(part)
        if fresh is not None or len(part) <= most:
            return part
        return self._cut(part, max(most, 1)) if len(self._streak) > 1 else self._halved(part)

    def _halved(self, part: Part) -> Part:
        return self._cut(part, len(part) // 2)

    def _cut(self, part: Part, most: int) -> Part:
        """Take the oldest events of a part; the others are kept aside, and are next."""
        older, newer = part.claim.split(most)
        first = Part(older)
        self._parts.appendleft(Part(newer, sibling=first if part.at_fault or len(self._streak) == 1 else None))
        self._replace(part.claim, older, newer)
        return first
