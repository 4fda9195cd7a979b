"""The sender: claims batches from a lane, sends them, and settles each by the verdict on its answer."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

from .batch import Answer, Batch
from .buffer import Claim, Outcome
from .retry import Action, Verdict, backoff
from .stats import LaneState

if TYPE_CHECKING:
    from .batch import Request
    from .clock import Clock
    from .lane import Lane
    from .log import EpisodeLog
    from .plugins import Plugins

__all__ = ["Sender"]


class Sender:
    """Empties one lane, one request at a time. `run` is a task of its own, and the lane's only sender."""

    def __init__(self, lane: Lane, plugins: Plugins, clock: Clock, log: EpisodeLog) -> None:
        self._lane = lane
        self._destination = lane.destination
        self._plugins = plugins
        self._clock = clock
        self._log = log
        self._random = random.Random()  # noqa: S311 - jitter, no secret
        self._limit = self._patience = 1  # requests in a row that may go badly before a claim is given up

    async def run(self) -> None:
        """Send whatever is due, until cancelled."""
        while True:
            claim = await self._lane.claim()
            self._patience = self._limit = 2 * (len(claim) - 1).bit_length() + 1
            await self._deliver(claim)

    async def _deliver(self, part: Claim, *, bad: bool = False) -> bool:
        """Bring a part of a claim to its end; tell whether it went through whole.

        A part that is too large, or holds a bad event, is halved until that event stands alone: at most
        2*log2(n)+1 requests for one. `bad` says that the part is known to hold it, since its other half
        went through. When as many requests in a row found nothing good, what is left is given up.
        """
        if self._patience <= 0:
            await self._bury(part, "refused with others")
            return False
        action = Action.BISECT
        why = ""
        if not bad or len(part) == 1:
            answer, action = await self._send(part)
            why = str(answer)
            if action is Action.DELIVERED:
                self._patience = self._limit
                await self._lane.settle(part, Outcome.DELIVERED)
                return True
            self._patience -= 1
        if action is Action.DEAD or len(part) == 1:
            await self._bury(part, why)
            return False
        older, newer = self._lane.halve(part)
        whole = await self._deliver(older)
        await self._deliver(newer, bad=whole and action is Action.BISECT)
        return False

    async def _send(self, part: Claim) -> tuple[Answer, Action]:
        """Send one part until the answer is final, with the same bytes every time."""
        failures = 0
        request = self._frame(part)
        while request is not None:
            batch = Batch(
                destination=self._lane.name,
                entries=part.entries,
                envelope=part.envelope,
                request=request,
                attempt=failures + 1,
            )
            answer, verdict = await self._attempt(batch)
            if verdict.action not in {Action.RETRY, Action.PAUSE}:
                return answer, verdict.action
            state = LaneState.PAUSED if verdict.action is Action.PAUSE else LaneState.RETRYING
            delay = backoff(failures, self._random) if verdict.delay is None else verdict.delay
            failures += 1
            self._lane.down(state, f"a batch of {len(part)} failed ({answer})", delay)
            await self._lane.rest(delay, deaf=verdict.delay is not None)
        return Answer(error="can't be framed"), Action.BISECT

    async def _attempt(self, batch: Batch) -> tuple[Answer, Verdict]:
        self._plugins.notify("aiotrack_batch_sending", batch)
        try:
            answer = await self._destination.send(batch)
        except Exception as exc:  # noqa: BLE001 - a destination is foreign code
            self._plugins.record(self._lane.name, "send", exc)
            answer = Answer(error=type(exc).__name__)
        verdict = self._destination.judge(answer, self._clock.time())
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

    async def _bury(self, part: Claim, why: str) -> None:
        self._log.once(
            logging.ERROR,
            (self._lane.name, "dead", why),
            "%s: %d events are refused for good (%s)",
            *(self._lane.name, len(part), why),
        )
        await self._lane.settle(part, Outcome.DEAD, why)
