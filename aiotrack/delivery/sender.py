"""The sender: one request after the other, each by what the answers so far say of the server and of the events."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import attrs

from aiotrack.buffers.base import Claim
from aiotrack.buffers.dead_letters import Cause
from aiotrack.model.batch import TIMED_OUT, Answer, Batch, Request
from aiotrack.model.stats import LaneState
from aiotrack.model.tasks import PLUGIN_ERRORS, OwnTask
from aiotrack.model.verdict import Action, Verdict, backoff

from .bisection import Bisection
from .circuit_breaker import PROBE, CircuitBreaker
from .suspects import Part, Suspects

if TYPE_CHECKING:
    from aiotrack.hooks.plugins import Plugins
    from aiotrack.model.clock import Clock
    from aiotrack.model.settings import Settings

    from .queue import Queue

__all__ = ["Sender"]

PAUSE = 60.0  # seconds, where the server names none; a flush cuts it short

INCONCLUSIVE = frozenset({Action.RETRY, Action.PAUSE})


class Sender:
    """Empties one lane: `run` is started as often as requests may be under way at once."""

    def __init__(self, queue: Queue, plugins: Plugins, settings: Settings, clock: Clock) -> None:
        self._queue = queue
        self._destination = queue.destination
        self._plugins = plugins
        own = queue.destination.max_retries
        self._max_retries = settings.max_retries if own is None else own
        self._most_aside = settings.batch_size
        self._clock = clock
        self._breaker = CircuitBreaker()
        self._suspects = Suspects(queue.replace)
        self._suspect_was_last = False
        self._random = random.Random()  # noqa: S311 - jitter, no secret

    async def run(self) -> None:
        """Send whatever is due, until cancelled."""
        own = OwnTask()
        errors = 0
        part: Part | None = None
        while True:
            try:
                if part is not None:  # what an error has left of it
                    await self._queue.release(part.claim)
                    part = None
                if self._breaker.open or self._suspects.streak:
                    async with self._breaker.probing:
                        part = await self._probe()
                        if part is not None:
                            await self._deliver(part)
                else:
                    part = await self._next()
                    if part is not None:
                        await self._deliver(part)
                part, errors = None, 0
                await asyncio.sleep(0)  # a destination that never waits lets others run, too
            except PLUGIN_ERRORS as exc:  # a buffer is foreign code
                if self._queue.closed:
                    raise
                own.reraise(exc)
                self._plugins.record(self._queue.name, "buffer", exc)
                await self._queue.sleep(backoff(errors, self._random), interruptible=True)
                errors += 1

    # -- what to send -------------------------------------------------------------------------------

    async def _next(self) -> Part | None:
        """Take what is due, and between two ordinary batches a part of what is kept aside; wait where there is none."""
        now = self._clock.monotonic()
        part = None if self._suspect_was_last else self._suspects.next(now)
        if part is None:
            claim = await self._queue.claim(1 if self._crowded else None)
            part = Part(claim) if claim is not None else self._suspects.next(now)
        self._suspect_was_last = part is not None and part.at_fault
        if part is None:
            due = self._suspects.next_due()
            await self._queue.wait(None if due is None else max(due - now, 0.0))
        return part

    async def _probe(self) -> Part | None:
        """Take a few other events than those that failed; part of these where no others wait."""
        if not (self._breaker.open or self._suspects.streak):
            return None  # it was another sender's turn, and something passed
        claim = await self._queue.claim(1 if self._crowded else PROBE, ahead=True)
        part = Part(claim) if claim is not None else self._suspects.probe(PROBE)
        if part is None:
            await self._queue.wait(None)
        return part

    @property
    def _crowded(self) -> bool:
        """Whether so much is kept aside that others come one at a time, as a test of the server."""
        return len(self._suspects) >= self._most_aside

    # -- one part -----------------------------------------------------------------------------------

    async def _deliver(self, part: Part) -> None:
        """Send a part; what its answers say of its content is acted upon, and what they leave open is kept aside."""
        if part.is_suspect:
            self._queue.set_aside(part.claim, aside=False)
        content = Bisection(part, self._attempt, self._queue, self._clock)
        failed = await content.run()
        if failed is None:
            return
        part, answer, verdict = failed
        self._suspects.keep(content.left())
        expected = part.at_fault and not self._suspects.streak
        if not expected:
            self._breaker.record_failure()
        part.claim = self._failed_once_more(part.claim)
        self._suspects.failed(part, answer, self._clock.monotonic())
        if part.is_suspect:
            self._queue.set_aside(part.claim, aside=True)
        if answer.error == TIMED_OUT:
            self._queue.narrow(part.claim.size, slow=True)
        for given_up in self._suspects.take_out(self._is_given_up):
            await self._bury(given_up, f"given up after {given_up.claim.failures} requests")
        if not expected:
            await self._pause(part, answer, verdict)

    def _failed_once_more(self, claim: Claim) -> Claim:
        failed = attrs.evolve(claim, failures=claim.failures + 1)
        self._queue.replace(claim, failed)
        return failed

    def _is_given_up(self, part: Part) -> bool:
        """Tell whether a part that failed again is given up on: one event, or all of it where nothing else passes."""
        too_often = self._max_retries is not None and part.claim.failures > self._max_retries
        if not too_often and not self._queue.is_old(part.claim):
            return False
        return len(part) == 1 or not self._breaker.passing

    async def _pause(self, part: Part, answer: Answer, verdict: Verdict) -> None:
        paused = verdict.action is Action.PAUSE
        state = LaneState.PAUSED if paused else self._breaker.state
        least = verdict.delay or (PAUSE if paused else 0.0)
        delay = max(self._breaker.pause(), least)
        self._queue.mark_down(state, f"a batch of {len(part)} failed ({answer})", delay)
        await self._queue.sleep(delay, interruptible=not verdict.delay)

    async def _attempt(self, part: Part) -> tuple[Answer, Verdict]:
        """Send one request; the same events make the same bytes every time."""
        claim = part.claim
        request = self._frame(claim)
        if request is None:
            return Answer(error="can't be framed"), Verdict(Action.BISECT)
        batch = Batch(
            destination=self._queue.name,
            entries=claim.entries,
            batch_header=claim.batch_header,
            request=request,
            attempt=claim.failures + 1,
        )
        self._plugins.notify("aiotrack_batch_sending", batch)
        answer, verdict = await self._answer(batch)
        if self._queue.closed:  # it swallowed the cancellation, and is too late
            raise asyncio.CancelledError
        if verdict.action is Action.DELIVERED:
            brief = not self._breaker.is_outage
            self._breaker.record_answer()
            self._queue.mark_up(claim.size)
            self._plugins.notify("aiotrack_batch_delivered", batch, answer)
            dead = self._suspects.passed(part, brief=brief)
            if dead is not None:
                await self._bury(dead, f"refused {dead.trials} times while others were delivered")
        else:
            if verdict.action not in INCONCLUSIVE:
                self._breaker.record_answer()
                self._suspects.answered()
            self._plugins.notify("aiotrack_batch_failed", batch, answer)
        return answer, verdict

    async def _answer(self, batch: Batch) -> tuple[Answer, Verdict]:
        """Have the destination send a batch, and judge the answer."""
        own = OwnTask()
        try:
            answer = await self._destination.send(batch)
            verdict = self._destination.judge(answer, self._clock.time())
            if not (isinstance(answer, Answer) and isinstance(verdict, Verdict)):
                got = f"{type(answer).__name__}, {type(verdict).__name__}"
                raise TypeError(f"expected an Answer and a Verdict, got {got}")
        except PLUGIN_ERRORS as exc:
            own.reraise(exc)
            self._plugins.record(self._queue.name, "send", exc)
            return Answer(error=type(exc).__name__), Verdict(Action.RETRY)
        return answer, verdict

    def _frame(self, claim: Claim) -> Request | None:
        try:
            request = self._destination.frame(claim.entries, claim.batch_header)
            if not isinstance(request, Request):
                raise TypeError(f"expected a Request, got {type(request).__name__}")
        except PLUGIN_ERRORS as exc:  # a destination is foreign code
            self._plugins.record(self._queue.name, "frame", exc)
            return None
        return request

    async def _bury(self, part: Part, why: str) -> None:
        """Give up on a part that was sent, and kept aside."""
        self._queue.set_aside(part.claim, aside=False)
        answer = part.answer or Answer()
        answer = attrs.evolve(answer, error=f"{why}: {answer}")
        await self._queue.bury(part.claim, Cause.of(answer, self._clock.time()))
