"""The sender: claims batches from a lane, sends them, and settles each by the verdict on its answer."""

from __future__ import annotations

import asyncio
import functools
import random
from typing import TYPE_CHECKING

import attrs

from .batch import Answer, Batch
from .buffer import Claim
from .circuit import PROBE, Circuit
from .delivery import Delivery
from .retry import Action, Verdict, backoff
from .stats import LaneState
from .tasks import FOREIGN, raise_if_ours

if TYPE_CHECKING:
    from .batch import Request
    from .clock import Clock
    from .lane import Lane
    from .log import EpisodeLog
    from .plugins import Plugins
    from .settings import Settings

__all__ = ["Sender"]

LATER = frozenset({Action.RETRY, Action.PAUSE})


class _CircuitOpened(Exception):
    """What is left of a batch goes back: only probes are sent now."""


class Sender:
    """Empties one lane. `run` is a task of its own; there are as many as requests may be under way."""

    def __init__(self, lane: Lane, plugins: Plugins, settings: Settings, clock: Clock, log: EpisodeLog) -> None:
        self._lane = lane
        self._destination = lane.destination
        self._plugins = plugins
        own = lane.destination.max_retries
        self._max_retries = settings.max_retries if own is None else own
        self._clock = clock
        self._log = log
        self._circuit = Circuit()
        self._random = random.Random()  # noqa: S311 - jitter, no secret

    async def run(self) -> None:
        """Send whatever is due, until cancelled."""
        failures = 0
        claim: Claim | None = None
        while True:
            try:
                if claim is not None:  # what an open circuit, or an error, has left of it
                    await self._lane.release(claim)
                    claim = None
                async with self._circuit.turn() as probing:
                    claim = await self._lane.claim(PROBE if probing else None)
                    if self._circuit.open and not probing:
                        continue
                    send = functools.partial(self._send, probing=probing)
                    await Delivery(claim, send, self._lane, self._clock, self._log).run()
                claim, failures = None, 0
                await asyncio.sleep(0)  # a destination that never waits lets others run, too
            except _CircuitOpened:
                continue
            except Exception as exc:  # noqa: BLE001 - a buffer is foreign code
                self._plugins.record(self._lane.name, "buffer", exc)
                await self._lane.rest(backoff(failures, self._random), deaf=False)
                failures += 1

    async def _send(self, part: Claim, *, probing: bool) -> tuple[Answer, Verdict]:
        """Send one part until the answer is final, with the same bytes every time."""
        request = self._frame(part)
        tried = 0  # and not part.failures: those of an outage that is over say nothing about the destination now
        while request is not None:
            batch = Batch(
                destination=self._lane.name,
                entries=part.entries,
                envelope=part.envelope,
                request=request,
                attempt=part.failures + 1,
            )
            answer, verdict = await self._attempt(batch)
            if verdict.action not in LATER:
                return answer, verdict
            state = LaneState.RETRYING
            if verdict.action is Action.PAUSE:
                state = LaneState.PAUSED
            elif self._circuit.open:
                state = LaneState.DOWN
            delay = max(backoff(max(tried, self._circuit.failures - 1), self._random), verdict.delay or 0.0)
            tried += 1
            self._lane.down(state, f"a batch of {len(part)} failed ({answer})", delay)
            if self._is_enough(part):
                given_up = f"given up after {part.failures + 1} requests: {answer}"
                return attrs.evolve(answer, error=given_up), Verdict(Action.DEAD, delay)
            failed = attrs.evolve(part, failures=part.failures + 1)
            self._lane.ledger.replace(part, failed)
            part = failed
            await self._lane.rest(delay, deaf=bool(verdict.delay))
            if self._circuit.open and not probing:
                raise _CircuitOpened
        return Answer(error="can't be framed"), Verdict(Action.BISECT)

    def _is_enough(self, part: Claim) -> bool:
        """Tell whether a part that failed again is given up on."""
        return (self._max_retries is not None and part.failures >= self._max_retries) or self._lane.is_old(part)

    async def _attempt(self, batch: Batch) -> tuple[Answer, Verdict]:
        self._plugins.notify("aiotrack_batch_sending", batch)
        try:
            answer = await self._destination.send(batch)
            verdict = self._destination.judge(answer, self._clock.time())
            if not (isinstance(answer, Answer) and isinstance(verdict, Verdict)):
                raise TypeError(
                    f"expected an Answer and a Verdict, got {type(answer).__name__}, {type(verdict).__name__}"
                )
        except FOREIGN as exc:
            raise_if_ours(exc)
            self._plugins.record(self._lane.name, "send", exc)
            answer, verdict = Answer(error=type(exc).__name__), Verdict(Action.RETRY)
        if self._lane.ledger.state is LaneState.CLOSED:  # it swallowed the cancellation, and is too late
            raise asyncio.CancelledError
        if verdict.action in LATER:
            self._circuit.failed()
        else:
            self._circuit.worked()
        if verdict.action is Action.DELIVERED:
            self._lane.up()
            self._plugins.notify("aiotrack_batch_delivered", batch, answer)
        else:
            self._plugins.notify("aiotrack_batch_failed", batch, answer)
        return answer, verdict

    def _frame(self, part: Claim) -> Request | None:
        try:
            return self._destination.frame(part.entries, part.envelope)
        except Exception as exc:  # noqa: BLE001 - a destination is foreign code
            self._plugins.record(self._lane.name, "frame", exc)
            return None
