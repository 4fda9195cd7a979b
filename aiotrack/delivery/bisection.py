"""Bringing one claim to its end: in parts where it is too large or holds bad events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from aiotrack.buffers.base import Claim
from aiotrack.buffers.dead_letters import Cause
from aiotrack.model.batch import Answer
from aiotrack.model.verdict import Action, Verdict

if TYPE_CHECKING:
    from aiotrack.model.clock import Clock
    from aiotrack.model.log import EpisodeLog

    from .queue import Queue

__all__ = ["Bisection"]

SAMPLES = 3

Send = Callable[[Claim], Coroutine[Any, Any, tuple[Answer, Verdict]]]


class Bisection:
    """Sends a claim by `send`, and ends every part of it: delivered or dead.

    A part with a bad event is halved until that stands alone: at most 2*log2(n)+1 requests for one. The newer half
    of a bad part is known to be bad when the older went through, and is not asked about. When many requests in a row
    found nothing good, the newest, a middle and the oldest event are asked about alone; if they are bad, too, all that
    is left is taken for bad. Only such samples go before older events.
    """

    def __init__(self, claim: Claim, send: Send, queue: Queue, clock: Clock, log: EpisodeLog) -> None:
        self._send = send
        self._queue = queue
        self._clock = clock
        self._log = log
        bits = (len(claim) - 1).bit_length()
        self._patience = self._limit = max(2 * bits - SAMPLES, bits + 2)
        self._parts: list[tuple[Claim, Claim | None]] = [(claim, None)]  # and the older half of the same bad part
        self._delivered: Claim | None = None

    async def run(self) -> None:
        """Bring all of it to an end."""
        while self._parts:
            if self._patience <= 0:
                if not await self._find_a_good_one():
                    return
                continue
            part, older = self._parts.pop()
            if len(part) > 1 and older is not None and older is self._delivered:
                self._halve(part, Action.BISECT)
            else:
                await self._try(part)

    async def _try(self, part: Claim) -> Action:
        """Send a part, and act upon the verdict; return it."""
        answer, verdict = await self._send(part)
        action = verdict.action
        bad = sorted({index for index in verdict.bad if index < len(part)})
        if action is Action.DELIVERED:
            await self._queue.ack(part)
            self._delivered, self._patience = part, self._limit
        elif action not in {Action.SPLIT, Action.BISECT} or len(part) == 1:
            await self._bury(part, answer)
            self._patience -= 1
            if verdict.delay:  # given up on, and the destination is no better for it
                await self._queue.sleep(verdict.delay, interruptible=True)
        elif action is Action.SPLIT:
            self._queue.narrow(part.size)
            self._halve(part, action)
        elif bad:
            await self._bury_some(part, bad, answer)
        else:
            self._patience -= 1
            self._halve(part, action)
        return action

    def _halve(self, part: Claim, action: Action) -> None:
        older, newer = part.split(len(part) // 2)
        self._queue.replace(part, older, newer)
        self._parts += [(newer, older if action is Action.BISECT else None), (older, None)]

    async def _find_a_good_one(self) -> bool:
        """Try single events; where all are bad, bury what is left."""
        for share in (1.0, 0.5, 0.0):
            if self._parts and await self._try(self._pop_one(share)) is Action.DELIVERED:
                return True
        for part, _ in self._parts:
            await self._bury(part, Answer(error="refused with others"))
        return False

    def _pop_one(self, share: float) -> Claim:
        """Remove and return the oldest event that is left (0.0), the newest (1.0), or one between."""
        offset = int((sum(len(part) for part, _ in self._parts) - 1) * share)
        index = len(self._parts) - 1  # the oldest part is the last
        while offset >= len(self._parts[index][0]):
            offset -= len(self._parts[index][0])
            index -= 1
        part, _ = self._parts[index]
        before, (one, after) = part.split(offset)[0], part.split(offset)[1].split(1)
        self._queue.replace(part, *(piece for piece in (before, one, after) if len(piece)))
        self._parts[index : index + 1] = [(piece, None) for piece in (after, before) if len(piece)]
        return one

    async def _bury_some(self, part: Claim, bad: list[int], answer: Answer) -> None:
        """Bury the events that the answer names, and go on with the others."""
        good = [index for index in range(len(part)) if index not in set(bad)]
        pieces = [part.only(indices) for indices in (bad, good) if indices]
        self._queue.replace(part, *pieces)
        await self._bury(pieces[0], answer)
        self._parts += [(piece, None) for piece in pieces[1:]]

    async def _bury(self, part: Claim, answer: Answer) -> None:
        cause = Cause.of(answer, self._clock.time())
        self._log.once(
            logging.ERROR,
            (self._queue.name, "dead", cause.reason),
            "%s: %d events are dead letters (%s)",
            *(self._queue.name, len(part), cause.reason),
        )
        await self._queue.bury(part, cause)
