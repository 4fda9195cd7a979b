"""The sender: claims batches from a lane, sends them, and ends each by the verdict on its answer."""

from __future__ import annotations

import asyncio
import functools
import random
from typing import TYPE_CHECKING

import attrs

from aiotrack.buffers.base import Claim
from aiotrack.model.batch import Answer, Batch, Request
from aiotrack.model.stats import LaneState
from aiotrack.model.tasks import PLUGIN_ERRORS, reraise_own_cancellation
from aiotrack.model.verdict import Action, Verdict, backoff

from .bisection import Bisection
from .circuit_breaker import PROBE, CircuitBreaker

if TYPE_CHECKING:
    from aiotrack.hooks.plugins import Plugins
    from aiotrack.model.clock import Clock
    from aiotrack.model.log import EpisodeLog
    from aiotrack.model.settings import Settings

    from .queue import Queue

__all__ = ["Sender"]

LATER = frozenset({Action.RETRY, Action.PAUSE})


class _CircuitOpened(Exception):
    """Only probes are sent now: what is left of the batch is released."""


class Sender:
    """Empties one lane. `run` is a task of its own; there are as many as requests may be under way."""

    def __init__(self, queue: Queue, plugins: Plugins, settings: Settings, clock: Clock, log: EpisodeLog) -> None:
        self._queue = queue
        self._destination = queue.destination
        self._plugins = plugins
        own = queue.destination.max_retries
        self._max_retries = settings.max_retries if own is None else own
        self._clock = clock
        self._log = log
        self._breaker = CircuitBreaker()
        self._random = random.Random()  # noqa: S311 - jitter, no secret

    async def run(self) -> None:
        """Send whatever is due, until cancelled."""
        failures = 0
        claim: Claim | None = None
        while True:
            try:
                if claim is not None:  # what an open circuit, or an error, has left of it
                    await self._queue.release(claim)
                    claim = None
                async with self._breaker.permit() as probing:
                    claim = await self._queue.claim(PROBE if probing else None)
                    if self._breaker.open and not probing:
                        continue
                    send = functools.partial(self._send, probing=probing)
                    await Bisection(claim, send, self._queue, self._clock, self._log).run()
                claim, failures = None, 0
                await asyncio.sleep(0)  # a destination that never waits lets others run, too
            except _CircuitOpened:
                continue
            except PLUGIN_ERRORS as exc:  # a buffer is foreign code
                if self._queue.closed:
                    raise
                reraise_own_cancellation(exc)
                self._plugins.record(self._queue.name, "buffer", exc)
                await self._queue.sleep(backoff(failures, self._random), interruptible=True)
                failures += 1

    async def _send(self, part: Claim, *, probing: bool) -> tuple[Answer, Verdict]:
        """Send one part until the answer is final, with the same bytes every time."""
        request = self._frame(part)
        tried = 0  # not part.failures: those of an outage that is over say nothing about the destination now
        while request is not None:
            batch = Batch(
                destination=self._queue.name,
                entries=part.entries,
                batch_header=part.batch_header,
                request=request,
                attempt=part.failures + 1,
            )
            answer, verdict = await self._attempt(batch)
            if verdict.action not in LATER:
                return answer, verdict
            state = LaneState.RETRYING
            if verdict.action is Action.PAUSE:
                state = LaneState.PAUSED
            elif self._breaker.open:
                state = LaneState.DOWN
            delay = max(backoff(max(tried, self._breaker.failures - 1), self._random), verdict.delay or 0.0)
            tried += 1
            self._queue.mark_down(state, f"a batch of {len(part)} failed ({answer})", delay)
            if self._is_enough(part):
                given_up = f"given up after {part.failures + 1} requests: {answer}"
                return attrs.evolve(answer, error=given_up), Verdict(Action.DEAD, delay)
            failed = attrs.evolve(part, failures=part.failures + 1)
            self._queue.replace(part, failed)
            part = failed
            await self._queue.sleep(delay, interruptible=not verdict.delay)
            if self._breaker.open and not probing:
                raise _CircuitOpened
        return Answer(error="can't be framed"), Verdict(Action.BISECT)

    def _is_enough(self, part: Claim) -> bool:
        """Tell whether a part that failed again is given up on."""
        return (self._max_retries is not None and part.failures >= self._max_retries) or self._queue.is_old(part)

    async def _attempt(self, batch: Batch) -> tuple[Answer, Verdict]:
        self._plugins.notify("aiotrack_batch_sending", batch)
        try:
            answer = await self._destination.send(batch)
            verdict = self._destination.judge(answer, self._clock.time())
            if not (isinstance(answer, Answer) and isinstance(verdict, Verdict)):
                raise TypeError(
                    f"expected an Answer and a Verdict, got {type(answer).__name__}, {type(verdict).__name__}"
                )
        except PLUGIN_ERRORS as exc:
            reraise_own_cancellation(exc)
            self._plugins.record(self._queue.name, "send", exc)
            answer, verdict = Answer(error=type(exc).__name__), Verdict(Action.RETRY)
        if self._queue.closed:  # it swallowed the cancellation, and is too late
            raise asyncio.CancelledError
        if verdict.action in LATER:
            self._breaker.record_failure()
        else:
            self._breaker.record_answer()
        if verdict.action is Action.DELIVERED:
            self._queue.mark_up()
            self._plugins.notify("aiotrack_batch_delivered", batch, answer)
        else:
            self._plugins.notify("aiotrack_batch_failed", batch, answer)
        return answer, verdict

    def _frame(self, part: Claim) -> Request | None:
        try:
            return self._destination.frame(part.entries, part.batch_header)
        except PLUGIN_ERRORS as exc:  # a destination is foreign code
            self._plugins.record(self._queue.name, "frame", exc)
            return None
