"""What an answer says of a request's content: it is too large, or holds bad events, and is divided to find them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from aiotrack.buffers.base import Claim
from aiotrack.buffers.dead_letters import Cause
from aiotrack.model.batch import Answer
from aiotrack.model.verdict import Action, Verdict

from .suspects import Part

if TYPE_CHECKING:
    from aiotrack.model.clock import Clock

    from .queue import Queue

__all__ = ["Bisection"]

SAMPLES = 3
CONTENT = frozenset({Action.SPLIT, Action.BISECT})

Attempt = Callable[[Part], Coroutine[Any, Any, tuple[Answer, Verdict]]]


class Bisection:
    """Sends a part by `attempt`, and ends every piece of it, delivered or dead, unless an answer says nothing certain.

    A piece with a bad event is halved until that stands alone: at most 2*log2(n)+1 requests for one. The newer half
    of a bad piece is known to be bad when the older went through, and is not asked about. When many requests in a row
    found nothing good, the newest, a middle and the oldest event are asked about alone; if they are bad, too, all that
    is left is taken for bad. Only such samples go before older events.
    """

    def __init__(self, part: Part, attempt: Attempt, queue: Queue, clock: Clock) -> None:
        self._attempt = attempt
        self._queue = queue
        self._clock = clock
        bits = (len(part) - 1).bit_length()
        self._patience = self._limit = max(2 * bits - SAMPLES, bits + 2)
        self._pieces: list[tuple[Part, Part | None]] = [(part, None)]  # and the older half of the same bad piece
        self._delivered: Part | None = None

    def left(self) -> list[Claim]:
        """Return what was not sent by itself when an answer said nothing certain, the newest first."""
        return [piece.claim for piece, _ in self._pieces]

    async def run(self) -> tuple[Part, Answer, Verdict] | None:
        """Bring all of it to an end; return the piece whose answer says nothing certain, if there is one."""
        while self._pieces:
            if self._patience <= 0:
                found, open_end = await self._find_a_good_one()
                if open_end is not None or not found:
                    return open_end
                continue
            piece, older = self._pieces.pop()
            if len(piece) > 1 and older is not None and older is self._delivered:
                self._halve(piece, Action.BISECT)
                continue
            answer, verdict = await self._attempt(piece)
            if not await self._act(piece, answer, verdict):
                return piece, answer, verdict
        return None

    async def _act(self, piece: Part, answer: Answer, verdict: Verdict) -> bool:
        """Act upon a verdict; tell whether it says anything certain."""
        action = verdict.action
        bad = sorted({index for index in verdict.bad if index < len(piece)})
        if action is Action.DELIVERED:
            await self._queue.ack(piece.claim)
            self._delivered, self._patience = piece, self._limit
        elif action in {Action.RETRY, Action.PAUSE}:
            return False
        elif action not in CONTENT or len(piece) == 1:
            await self._bury(piece, answer)
            self._patience -= 1
        elif action is Action.SPLIT:
            self._queue.too_large(piece.claim.size)
            self._halve(piece, action)
        elif bad:
            await self._bury_some(piece, bad, answer)
        else:
            self._patience -= 1
            self._halve(piece, action)
        return True

    def _halve(self, piece: Part, action: Action) -> None:
        older, newer = (Part(half) for half in piece.claim.split(len(piece) // 2))
        self._queue.replace(piece.claim, older.claim, newer.claim)
        self._pieces += [(newer, older if action is Action.BISECT else None), (older, None)]

    async def _find_a_good_one(self) -> tuple[bool, tuple[Part, Answer, Verdict] | None]:
        """Try single events; where all are bad, bury what is left."""
        for share in (1.0, 0.5, 0.0):
            if not self._pieces:
                break
            one = self._pop_one(share)
            answer, verdict = await self._attempt(one)
            if not await self._act(one, answer, verdict):
                return False, (one, answer, verdict)
            if verdict.action is Action.DELIVERED:
                return True, None
        while self._pieces:
            piece, _ = self._pieces.pop()
            await self._bury(piece, Answer(error="not tried alone: every event of its batch that was, was refused"))
        return False, None

    def _pop_one(self, share: float) -> Part:
        """Remove and return the oldest event that is left (0.0), the newest (1.0), or one between."""
        offset = int((sum(len(piece) for piece, _ in self._pieces) - 1) * share)
        index = len(self._pieces) - 1  # the oldest piece is the last
        while offset >= len(self._pieces[index][0]):
            offset -= len(self._pieces[index][0])
            index -= 1
        claim = self._pieces[index][0].claim
        before, (one, after) = claim.split(offset)[0], claim.split(offset)[1].split(1)
        self._queue.replace(claim, *(piece for piece in (before, one, after) if len(piece)))
        self._pieces[index : index + 1] = [(Part(piece), None) for piece in (after, before) if len(piece)]
        return Part(one)

    async def _bury_some(self, piece: Part, bad: list[int], answer: Answer) -> None:
        """Bury the events that the answer names, and go on with the others."""
        good = [index for index in range(len(piece)) if index not in set(bad)]
        pieces = [piece.claim.only(indices) for indices in (bad, good) if indices]
        self._queue.replace(piece.claim, *pieces)
        await self._bury(Part(pieces[0]), answer)
        self._pieces += [(Part(claim), None) for claim in pieces[1:]]

    async def _bury(self, piece: Part, answer: Answer) -> None:
        await self._queue.bury(piece.claim, Cause.of(answer, self._clock.time()))
