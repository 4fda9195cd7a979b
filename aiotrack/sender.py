"""The sender: claims batches from a lane, sends them, and settles each by the verdict on its answer."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

import attrs

from .batch import Answer, Batch
from .buffer import Claim, Outcome
from .circuit import PROBE, Circuit
from .dead import Cause
from .retry import Action, Verdict, backoff
from .stats import LaneState
from .tasks import raise_if_ours

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
        self._max_retries = settings.max_retries
        self._max_age = settings.max_age
        self._clock = clock
        self._log = log
        self._circuit = Circuit()
        self._random = random.Random()  # noqa: S311 - jitter, no secret

    async def run(self) -> None:
        """Send whatever is due, until cancelled."""
        failures = 0
        while True:
            claim: Claim | None = None
            try:
                async with self._circuit.turn() as probing:
                    claim = await self._lane.claim(PROBE if probing else None)
                    if self._circuit.open and not probing:
                        raise _CircuitOpened
                    await self._deliver(claim, probing=probing)
                failures = 0
            except _CircuitOpened:
                await self._put_back(claim)
            except Exception as exc:  # noqa: BLE001 - a buffer is foreign code
                self._plugins.record(self._lane.name, "buffer", exc)
                await self._put_back(claim)
                await self._lane.rest(backoff(failures, self._random), deaf=False)
                failures += 1

    async def _put_back(self, claim: Claim | None) -> None:
        """Give back what is left of a claim."""
        if claim is not None:
            try:
                await self._lane.release(claim)
            except Exception as exc:  # noqa: BLE001 - a buffer is foreign code
                self._plugins.record(self._lane.name, "buffer", exc)

    async def _deliver(self, claim: Claim, *, probing: bool) -> None:
        """Bring a claim to its end, in parts where it is too large or holds a bad event.

        A part is halved until the bad event stands alone: at most 2*log2(n)+1 requests for one. The newer
        half of a bad part is known to be bad when the older went through, and is not asked about. When
        2*log2(n) requests in a row found nothing good, the newest part decides about all that is left.
        """
        limit = patience = max(2 * (len(claim) - 1).bit_length(), 1)
        parts: list[tuple[Claim, Claim | None]] = [(claim, None)]  # and the older half of the same bad part
        delivered: Claim | None = None
        while parts:
            part, older = parts.pop(0 if patience <= 0 else -1)
            answer, verdict = Answer(error="refused with others"), Verdict(Action.BISECT)
            if len(part) == 1 or older is None or older is not delivered:
                answer, verdict = await self._send(part, probing=probing)
            if verdict.action is Action.DELIVERED:
                await self._lane.settle(part, Outcome.DELIVERED)
                delivered, patience = part, limit
            elif verdict.action not in {Action.SPLIT, Action.BISECT} or len(part) == 1:
                await self._bury(part, answer)
                patience -= 1
            elif bad := sorted({place for place in verdict.bad if 0 <= place < len(part)}):
                good = await self._bury_some(part, bad, answer)
                parts += [(good, None)] if good else []
            elif patience <= 0:
                for left, _ in [(part, None), *parts]:
                    await self._bury(left, attrs.evolve(answer, error="refused with others"))
                return
            else:
                patience -= 1
                halves = part.split(len(part) // 2)
                self._lane.ledger.replace(part, *halves)
                if verdict.action is Action.SPLIT:
                    self._lane.narrow(part.size)
                parts += [(halves[1], halves[0] if verdict.action is Action.BISECT else None), (halves[0], None)]

    async def _send(self, part: Claim, *, probing: bool) -> tuple[Answer, Verdict]:
        """Send one part until the answer is final, with the same bytes every time."""
        request = self._frame(part)
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
            if self._is_enough(part):
                given_up = f"given up after {part.failures + 1} requests: {answer}"
                return attrs.evolve(answer, error=given_up), Verdict(Action.DEAD)
            failed = attrs.evolve(part, failures=part.failures + 1)
            self._lane.ledger.replace(part, failed)
            state = LaneState.RETRYING
            if verdict.action is Action.PAUSE:
                state = LaneState.PAUSED
            elif self._circuit.open:
                state = LaneState.DOWN
            delay = max(backoff(part.failures, self._random), verdict.delay or 0.0)
            part = failed
            self._lane.down(state, f"a batch of {len(part)} failed ({answer})", delay)
            await self._lane.rest(delay, deaf=bool(verdict.delay))
            if self._circuit.open and not probing:
                raise _CircuitOpened
        return Answer(error="can't be framed"), Verdict(Action.BISECT)

    def _is_enough(self, part: Claim) -> bool:
        """Tell whether a part that failed again is given up on."""
        tried = self._max_retries is not None and part.failures >= self._max_retries
        return tried or (self._max_age is not None and self._lane.age(part) >= self._max_age)

    async def _attempt(self, batch: Batch) -> tuple[Answer, Verdict]:
        self._plugins.notify("aiotrack_batch_sending", batch)
        try:
            answer = await self._destination.send(batch)
            verdict = self._destination.judge(answer, self._clock.time())
            if not (isinstance(answer, Answer) and isinstance(verdict, Verdict)):
                raise TypeError(
                    f"expected an Answer and a Verdict, got {type(answer).__name__}, {type(verdict).__name__}"
                )
        except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 - a destination is foreign code
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

    async def _bury_some(self, part: Claim, bad: list[int], answer: Answer) -> Claim | None:
        """Bury the events that the answer names; return the others."""
        good = [place for place in range(len(part)) if place not in bad]
        pieces = [part.only(places) for places in (bad, good) if places]
        self._lane.ledger.replace(part, *pieces)
        await self._bury(pieces[0], answer)
        return pieces[1] if good else None

    async def _bury(self, part: Claim, answer: Answer) -> None:
        why = str(answer)
        self._log.once(
            logging.ERROR,
            (self._lane.name, "dead", why),
            "%s: %d events are dead letters (%s)",
            *(self._lane.name, len(part), why),
        )
        cause = Cause(why, answer.status, answer.body, self._clock.time())
        await self._lane.settle(part, Outcome.DEAD, cause)
