"""The sender: one request after the other, each by what the answers so far say of the server and of the events."""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING

import attrs

from aiotrack.buffers.base import Claim
from aiotrack.buffers.dead_letters import Cause
from aiotrack.model.batch import TIMED_OUT, Answer, Batch, Request
from aiotrack.model.stats import LaneState
from aiotrack.model.tasks import PLUGIN_ERRORS, OwnTask
from aiotrack.model.urls import origin
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

FEW = 3  # probes where much is kept aside: one of them is another event, or all would hold bad ones for ever
SOME = 5  # events at once where so much is kept aside
MOST_ASIDE = 1000  # events, beside a batch; single ones that wait for their next trial not counted
PAUSE = 60.0  # seconds, where the server names none; a flush cuts it short
LITTLE_TIME = 5.0  # seconds before the end of a flush or close, in which whatever is kept aside goes along
LAST, LAST_REQUESTS = 1.5, 4.0  # seconds, or times what a request takes, before the end of a flush or close

INCONCLUSIVE = frozenset({Action.RETRY, Action.PAUSE})


class Sender:
    """Empties one lane: `run` is started as often as requests may be under way at once."""

    def __init__(self, queue: Queue, plugins: Plugins, settings: Settings, clock: Clock) -> None:
        self._queue = queue
        self._destination = queue.destination
        self._plugins = plugins
        own = queue.destination.max_retries
        self._max_retries = settings.max_retries if own is None else own
        self._has_limits = self._max_retries is not None or settings.max_age is not None
        self._batch_size = settings.batch_size
        self._most_aside = settings.batch_size + MOST_ASIDE
        self._clock = clock
        self._breaker = CircuitBreaker(settings.batch_size)
        self._suspects = Suspects(queue)
        self._suspect_was_last = False
        self._where = ""  # the last request went, for the log
        self._took = 0.0  # seconds, of the last request
        self._random = random.Random()  # noqa: S311 - jitter, no secret

    async def run(self) -> None:
        """Send whatever is due, until cancelled."""
        own = OwnTask()
        errors = 0
        part: Part | None = None
        while True:
            try:
                if part is not None and part.unfinished:
                    await self._queue.release(part.claim)
                part = None
                await self._end_some()
                if self._must_probe:
                    async with self._breaker.probing:
                        part = await self._probe() if self._must_probe else None
                        idle = part is None and self._must_probe
                        await self._deliver(part)
                else:
                    part = await self._next()
                    idle = part is None and not self._must_probe
                    await self._deliver(part)
                errors = 0
                if idle:
                    await self._wait()
                else:
                    await asyncio.sleep(0)  # a destination that never waits lets others run, too
            except PLUGIN_ERRORS as exc:  # a buffer is foreign code
                if self._queue.closed:
                    raise
                own.reraise(exc)
                self._plugins.record(self._queue.name, "buffer", exc)
                await self._queue.sleep(backoff(errors, self._random), interruptible=True)
                errors += 1

    # -- what to send -------------------------------------------------------------------------------

    @property
    def _must_probe(self) -> bool:
        """Whether something has failed, so that only a few events are sent, by one sender, to see what that means."""
        return self._breaker.open or self._suspects.any_failed

    @property
    def _is_crowded(self) -> bool:
        """Whether so much is kept aside that it goes first, and others go one at a time."""
        return self._suspects.undecided >= self._most_aside

    async def _next(self) -> Part | None:
        """Take what is due, and between two ordinary batches a part of what is kept aside; that first where much is."""
        turn = self._is_crowded or not self._suspect_was_last
        part = self._suspects.next(self._clock.monotonic()) if turn else None
        if part is None:
            few = self._is_crowded or self._suspects.at_fault >= self._batch_size
            claim = await self._queue.claim(min(SOME, self._breaker.batch) if few else self._breaker.batch)
            part = Part(claim) if claim is not None else self._suspects.next(self._clock.monotonic())
        self._suspect_was_last = part is not None and part.at_fault
        return part

    async def _probe(self) -> Part | None:
        """Take a few other events than those that failed; part of these where no others wait, or many are kept.

        Shortly before the end of a flush or close, take as many as there are: there may be no time for another request.
        """
        if self._queue.time_left() < max(LAST, LAST_REQUESTS * self._took):
            self._suspects.join()
            await self._end_some()
            claim = await self._queue.claim(ahead=True)
            return (
                Part(claim)
                if claim is not None
                else self._suspects.probe(self._batch_size, PROBE, self._clock.monotonic())
            )
        crowded = self._is_crowded
        if not crowded or (self._breaker.failures % FEW == 1 and self._suspects.undecided < 2 * self._most_aside):
            most = min(SOME, self._breaker.probe) if crowded else self._breaker.probe
            claim = await self._queue.claim(most, ahead=True)
            if claim is not None:
                return Part(claim)
        return self._suspects.probe(self._breaker.probe, self._breaker.whole, self._clock.monotonic())

    async def _wait(self) -> None:
        """Wait until there is something to send."""
        due = self._suspects.next_due()
        await self._queue.wait(None if due is None else max(due - self._clock.monotonic(), 0.0))

    # -- one part -----------------------------------------------------------------------------------

    async def _deliver(self, part: Part | None) -> None:
        """Send a part; what its answers say of its content is acted upon, and what they leave open is kept aside."""
        if part is None:
            return
        if part.is_suspect:
            self._queue.set_aside(part.claim, aside=False)
        try:
            claim = await self._queue.encode(part.claim)
            if claim is None:
                return
            part.claim = claim
            content = Bisection(part, self._attempt, self._queue, self._clock)
            failed = await content.run()
        except BaseException:
            part.unfinished = True
            raise
        if failed is not None:
            piece, answer, verdict = failed
            self._suspects.keep(content.left())
            wait = self._keep_aside(piece, answer)
            await self._end_some()
            if wait or verdict.delay:
                await self._pause(piece, answer, verdict)
        else:
            await self._end_some()
        self._queue.wake()  # others may have more to do, or other things

    def _keep_aside(self, part: Part, answer: Answer) -> bool:
        """Keep a part aside whose answer says nothing certain; tell whether that is a reason to wait."""
        expected = part.is_suspect or (part.at_fault and not self._suspects.any_failed)
        fresh = part.is_fresh
        if not expected:
            self._breaker.record_failure(len(part) if fresh else None)
        part.claim = self._failed_once_more(part.claim)
        self._suspects.failed(part, answer, self._clock.monotonic())
        if part.is_suspect:
            self._queue.set_aside(part.claim, aside=True)
        if self._has_limits:
            self._suspects.give_up(self._reason_to_give_up)
        return not (expected or (fresh and self._breaker.is_chance))  # others may pass, where it is chance

    def _failed_once_more(self, claim: Claim) -> Claim:
        failed = attrs.evolve(claim, failures=claim.failures + 1)
        self._queue.replace(claim, failed)
        return failed

    def _reason_to_give_up(self, part: Part) -> str:
        """Say why a part that failed is given up on, if it is: one event, or all of it where nothing else passes."""
        too_often = self._max_retries is not None and part.claim.failures > self._max_retries
        if not too_often and not self._queue.is_old(part.claim):
            return ""
        nothing_passes = self._suspects.passes == (part.first_failed or 0)
        outage = self._breaker.is_outage or not self._suspects.passes
        if len(part) > 1 and not (nothing_passes and outage):
            return ""
        return f"given up after {part.claim.failures} requests"

    async def _end_some(self) -> None:
        """Put back, and bury, what is to be."""
        given_up, put_back = self._suspects.given_up, self._suspects.put_back
        while put_back:
            await self._queue.release(put_back[0])
            put_back.popleft()
        while given_up:
            part = given_up.popleft()
            answer = part.answer or Answer()
            cause = Cause.of(attrs.evolve(answer, error=f"{part.verdict}: {answer}"), self._clock.time())
            try:
                await self._queue.bury(part.claim, cause)
            except BaseException:
                given_up.appendleft(part)
                raise

    async def _pause(self, part: Part, answer: Answer, verdict: Verdict) -> None:
        paused = verdict.action is Action.PAUSE and not self._breaker.passing
        state = LaneState.PAUSED if paused else self._breaker.state
        least = verdict.delay or (PAUSE if paused else 0.0)
        delay = max(self._breaker.pause(), least)
        self._queue.mark_down(state, f"a batch of {len(part)} failed ({answer}){self._where}", delay)
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
        self._where = f" at {origin(request.url)}" if "://" in request.url else ""
        self._plugins.notify("aiotrack_batch_sending", batch)
        answer, verdict = await self._answer(batch)
        if self._queue.closed:  # it swallowed the cancellation, and is too late
            raise asyncio.CancelledError
        if verdict.action is Action.DELIVERED:
            brief = not self._breaker.is_outage
            self._breaker.record_passed(len(part) if part.is_fresh else None)
            self._queue.mark_up(claim.size)
            self._plugins.notify("aiotrack_batch_delivered", batch, answer)
            self._suspects.passed(part, brief=brief)
            left = self._queue.time_left()
            if not brief or left < math.inf:  # who waits has no time for many small requests
                self._suspects.join(self._breaker.batch if left > LITTLE_TIME else math.inf)
        else:
            if answer.error == TIMED_OUT and not part.at_fault:
                self._queue.timed_out(claim.size)
            if verdict.action not in INCONCLUSIVE:
                self._breaker.record_answer()
                self._suspects.answered()
            self._plugins.notify("aiotrack_batch_failed", batch, answer)
        return answer, verdict

    async def _answer(self, batch: Batch) -> tuple[Answer, Verdict]:
        """Have the destination send a batch, and judge the answer."""
        own = OwnTask()
        passed = False
        began = self._queue.begin_request()
        try:
            answer = await self._destination.send(batch)
            verdict = self._destination.judge(answer, self._clock.time())
            if not (isinstance(answer, Answer) and isinstance(verdict, Verdict)):
                got = f"{type(answer).__name__}, {type(verdict).__name__}"
                raise TypeError(f"expected an Answer and a Verdict, got {got}")
            passed = verdict.action is Action.DELIVERED
        except PLUGIN_ERRORS as exc:
            own.reraise(exc)
            self._plugins.record(self._queue.name, "send", exc)
            return Answer(error=type(exc).__name__), Verdict(Action.RETRY)
        finally:
            self._queue.end_request(began, passed=passed)
            self._took = self._clock.monotonic() - began
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
