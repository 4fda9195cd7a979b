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
from typing import TYPE_CHECKING

import attrs

from aiotrack.buffers.base import Claim
from aiotrack.model.batch import TIMED_OUT, Answer

if TYPE_CHECKING:
    from .queue import Queue

__all__ = ["Part", "Suspects", "trials_needed"]

TOO_LATE = Answer(error=TIMED_OUT)
PAUSES = (1.0, 4.0, 16.0, 30.0)  # seconds between two trials of one event; the last again and again
WINDOW = 100  # requests without a suspect, by which the server is judged
LEAST_TRIALS = 3
CHANCE = 1e-6  # of giving up on an event that nothing is wrong with, at most
FLAKY = 0.2  # share of requests that fail at random above which one failure blames nobody
BLAMES = 3  # failures of a part, each followed by one that passed, that blame it where a server is flaky


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
    blames: int = 0
    """How often others passed right after it had failed."""
    first_failed: int | None = None
    """How many requests had passed when it failed first, or what it was a part of."""
    trials: int = 0
    """How often it failed alone between two requests that passed."""
    failures: int = 0
    """How often it failed alone."""
    due: float = 0.0
    """When it may be tried again, by the monotonic clock; of one event only."""
    unfinished: bool = False
    """Whether an error came between its sending and its end, so that what is left of it is to be put back."""
    verdict: str = ""
    """Why it is given up on, if it is."""

    def __len__(self) -> int:
        return len(self.claim)

    @property
    def is_fresh(self) -> bool:
        """Whether neither it nor what it was a part of has failed."""
        return self.first_failed is None

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
    """The parts of one lane that are kept aside, the least recently tried first."""

    def __init__(self, queue: Queue) -> None:
        self.given_up: deque[Part] = deque()
        """What is to be buried, each with its `verdict`."""
        self.put_back: deque[Claim] = deque()
        """What is to be put back into the queue."""
        self.passes = 0
        """How many requests have passed."""
        self._queue = queue
        self._parts: deque[Part] = deque()
        self._outcomes: deque[bool] = deque(maxlen=WINDOW)  # of what was sent for the first time: whether it failed
        self._recent: deque[bool] = deque(maxlen=WINDOW)  # of all that nothing is known against
        self._streak: dict[Part, None] = {}  # what has failed since the last request that passed
        self._on_trial: dict[Part, None] = {}  # suspects that failed since then, with no other failure between
        self._joined = (0, 0)  # up to which entry parts were put back, and how many requests had passed before
        self._clean = False  # whether nothing but suspects has failed since a request passed

    def __len__(self) -> int:
        """Count the events kept aside."""
        return sum(map(len, self._parts))

    @property
    def undecided(self) -> int:
        """How many events are kept aside, without those that have failed alone."""
        return sum(len(part) for part in self._parts if not part.is_suspect)

    @property
    def at_fault(self) -> int:
        """How many events are kept aside while others pass."""
        return sum(len(part) for part in self._parts if part.at_fault)

    @property
    def any_failed(self) -> bool:
        """Whether others than suspects have failed since the last request that passed."""
        return bool(self._streak)

    # -- outcomes -----------------------------------------------------------------------------------

    def passed(self, part: Part, *, brief: bool) -> None:
        """Note a request that was delivered; suspects that failed often enough before such ones are given up on.

        `brief`: what failed before it were a few requests, and no outage, so the events are likelier at fault.
        """
        self.passes += 1
        if part.is_fresh:
            self._outcomes.append(False)
        if not part.at_fault:
            self._recent.append(False)
        if self._streak:
            self._blame(1 if brief and not self._is_flaky() else BLAMES)
        for other in self._parts:
            if other.sibling is part:
                other.at_fault = True
        self._clean = True
        if self._on_trial:
            self._count_trials(trials_needed(self._outcomes))

    def _blame(self, least: int) -> None:
        for failed in self._streak:
            if failed.answer == TOO_LATE and failed.claim.size >= self._queue.slow_from:
                continue  # for its size: what is too large now is sent in pieces
            failed.blames += 1
            failed.at_fault = failed.at_fault or failed.blames >= least
        self._streak.clear()

    def join(self, size: float = math.inf) -> None:
        """Put back what nothing is known against, if batches of that size are half as many, or fewer."""
        parts = [part for part in self._parts if not part.at_fault]
        batches = math.ceil(sum(map(len, parts)) / size)
        if not parts or 2 * batches > len(parts):
            return
        self._joined = max(part.claim.numbers[-1] for part in parts), self.passes - 1
        for part in parts:
            self._take(part)
            anew = attrs.evolve(part.claim, failures=0)
            self._queue.replace(part.claim, anew)
            self.put_back.append(anew)

    def _count_trials(self, needed: int) -> None:
        for tried in list(self._on_trial):
            tried.trials += 1
            if tried.trials >= needed:
                self._give_up(tried, f"refused {tried.trials} times while others were delivered")
        self._on_trial.clear()

    def _is_flaky(self) -> bool:
        return sum(self._recent) > FLAKY * max(len(self._recent), 10)

    def failed(self, part: Part, answer: Answer, now: float) -> None:
        """Note a request whose answer says nothing certain, and keep the part aside."""
        part.answer = answer
        if part.is_fresh and not part.at_fault:
            self._outcomes.append(True)
        if part.first_failed is None:
            joined_up_to, passes = self._joined
            part.first_failed = passes if part.claim.numbers[0] <= joined_up_to else self.passes
        if len(part) == 1 and part.at_fault:
            part.due = now + PAUSES[min(part.failures, len(PAUSES) - 1)]
            part.failures += 1
            if self._clean:
                self._on_trial[part] = None
        else:
            if not part.at_fault:
                self._recent.append(True)
            self.answered()
            self._streak[part] = None
        self._parts.append(part)

    def answered(self) -> None:
        """Note an answer about a request's content: it says nothing of the others."""
        self._on_trial.clear()
        self._clean = False

    def keep(self, claims: Iterable[Claim]) -> None:
        """Keep parts aside that were not sent by themselves yet."""
        self._parts.extendleft(Part(claim) for claim in claims)

    def give_up(self, reason: Callable[[Part], str]) -> None:
        """Give up on the parts, of those that were sent, for which there is a reason."""
        for part in list(self._parts):
            if part.answer is not None and (why := reason(part)):
                self._give_up(part, why)

    def _give_up(self, part: Part, why: str) -> None:
        part.verdict = why
        self._take(part)
        self._streak.pop(part, None)
        self.given_up.append(part)

    def _take(self, part: Part) -> None:
        self._parts.remove(part)
        self._on_trial.pop(part, None)

    # -- what is next -------------------------------------------------------------------------------

    def next(self, now: float) -> Part | None:
        """Take out what is to be tried between ordinary batches: half of what is at fault, or a suspect that is due."""
        for part in self._parts:
            if not part.is_suspect or part.due <= now:
                self._take(part)
                half = part.at_fault and len(part) > 1
                return self._cut(part, len(part) // 2 if half else len(part), tells=part.at_fault)
        return None

    def _fits(self, claim: Claim) -> int:
        """Return how many of a claim's events make a batch now."""
        size = most = 0
        for entry in claim.entries:
            size += len(entry)
            if most and size > self._queue.max_bytes:
                break
            most += 1
        return most

    def next_due(self) -> float | None:
        """Return when the next may be tried; None when none is kept."""
        return min((part.due if part.is_suspect else 0.0 for part in self._parts), default=None)

    def probe(self, most: int, whole: int, now: float) -> Part | None:
        """Take out what tells whether anything passes, where no other events are to be had.

        That is a part that was not sent by itself yet, or the one that waits longest: as it is, up to `whole` events,
        or at most so many of it. A suspect that is not due is no probe.
        """
        allowed = [part for part in self._parts if not part.is_suspect or part.due <= now]
        part = next((part for part in allowed if part.answer is None), allowed[0] if allowed else None)
        if part is None:
            return None
        self._take(part)
        return self._cut(part, len(part) if len(part) <= whole else most, tells=part.at_fault or len(self._streak) <= 1)

    def _cut(self, part: Part, most: int, *, tells: bool) -> Part:
        """Take the oldest events of a part, as many as fit; the others, if any, are kept aside, and are next.

        `tells`: they are at fault if these pass.
        """
        most = min(most, self._fits(part.claim))
        if most == len(part):
            return part
        older, newer = part.claim.split(most)
        first = Part(older, blames=part.blames, first_failed=part.first_failed)
        rest = Part(newer, sibling=first if tells else None, blames=part.blames, first_failed=part.first_failed)
        self._parts.appendleft(rest)
        self._queue.replace(part.claim, older, newer)
        return first
