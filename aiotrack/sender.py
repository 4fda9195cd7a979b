"""The sender: claims batches from a lane, sends them, and settles each by the verdict on its answer."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from .batch import Answer, Batch
from .buffer import Claim, Outcome
from .retry import Action, Verdict, backoff
from .stats import LaneState
from .tasks import raise_if_ours

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

    async def run(self) -> None:
        """Send whatever is due, until cancelled."""
        failures = 0
        while True:
            try:
                await self._deliver(await self._lane.claim())
                failures = 0
            except Exception as exc:  # noqa: BLE001 - a buffer is foreign code
                self._plugins.record(self._lane.name, "buffer", exc)
                delay = backoff(failures, self._random)
                failures += 1
                await self._lane.release()
                await self._lane.rest(delay, deaf=False)

    async def _deliver(self, claim: Claim) -> None:
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
            action, why = Action.BISECT, ""
            if len(part) == 1 or older is None or older is not delivered:
                answer, action = await self._send(part)
                why = str(answer)
            if action is Action.DELIVERED:
                await self._lane.settle(part, Outcome.DELIVERED)
                delivered, patience = part, limit
            elif action is Action.DEAD or len(part) == 1:
                await self._bury(part, why)
                patience -= 1
            elif patience <= 0:
                for left, _ in [(part, None), *parts]:
                    await self._bury(left, "refused with others")
                return
            else:
                patience -= 1
                halves = self._lane.halve(part)
                parts += [(halves[1], halves[0] if action is Action.BISECT else None), (halves[0], None)]

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
            delay = max(backoff(failures, self._random), verdict.delay or 0.0)
            failures += 1
            self._lane.down(state, f"a batch of {len(part)} failed ({answer})", delay)
            await self._lane.rest(delay, deaf=bool(verdict.delay))
        return Answer(error="can't be framed"), Action.BISECT

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
        if self._lane.state is LaneState.CLOSED:  # it swallowed the cancellation, and is too late
            raise asyncio.CancelledError
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
