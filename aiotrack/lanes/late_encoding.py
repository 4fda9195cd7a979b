"""Events tracked before their destination knew its events: stored in a neutral form, encoded when they are claimed.

An event keeps its bytes from then on, for as long as this process lives.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import attrs

from aiotrack.buffers.base import Claim
from aiotrack.buffers.dead_letters import Cause
from aiotrack.model.errors import EventRefused
from aiotrack.model.neutral import NEUTRAL, decode_neutral
from aiotrack.model.refusal import Reason, Refusal
from aiotrack.model.tasks import PLUGIN_ERRORS

if TYPE_CHECKING:
    from aiotrack.delivery.queue import Queue
    from aiotrack.hooks.plugins import Plugins
    from aiotrack.model.clock import Clock
    from aiotrack.model.event import Event
    from aiotrack.model.log import EpisodeLog

__all__ = ["LateEncoding"]

AT_ONCE = 50  # events encoded before the event loop gets a turn


@attrs.frozen
class _Encoded:
    stored: bytes
    entry: bytes
    batch_header: bytes


class LateEncoding:
    """Encodes one lane's entries of neutral form, and knows what became of which.

    `encode` turns an event into an entry, and raises EventRefused for what can't be sent.
    """

    def __init__(
        self, queue: Queue, encode: Callable[[Event], bytes], plugins: Plugins, clock: Clock, log: EpisodeLog
    ) -> None:
        self._queue = queue
        self._encode_event = encode
        self._plugins = plugins
        self._clock = clock
        self._log = log
        self._encoded: dict[int, _Encoded] = {}  # by sequence number, until it ends

    async def encode(self, claim: Claim, max_bytes: int) -> Claim | None:
        """Encode a claim's events as far as they have a batch header in common and don't exceed `max_bytes`.

        The others are put back. What is unknown, or can't be sent for another reason, is dead. None when nothing is
        left.
        """
        good: dict[int, _Encoded] = {}  # by index
        bad: dict[str, list[int]] = {}
        size, end = 0, len(claim)
        for index, number in enumerate(claim.numbers):
            if index % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            encoded = self._encoded.get(number) or self._encode(number, claim.entries[index])
            if isinstance(encoded, str):
                bad.setdefault(encoded, []).append(index)
                continue
            size += len(encoded.entry)
            if good and (size > max_bytes or encoded.batch_header != next(iter(good.values())).batch_header):
                end = index
                break
            good[index] = encoded
        dead = {why: claim.only(indices) for why, indices in bad.items()}
        rest = claim.split(end)[1]
        ready = attrs.evolve(
            claim.only(list(good)),
            entries=[one.entry for one in good.values()],
            batch_header=next((one.batch_header for one in good.values()), b""),
        )
        self._queue.replace(claim, *(piece for piece in (ready, *dead.values(), rest) if len(piece)))
        for why, piece in dead.items():
            await self._queue.bury(piece, Cause(why, at=self._clock.time()))
        if len(rest):
            await self._queue.release(rest)
        return ready if good else None

    def _encode(self, number: int, stored: bytes) -> _Encoded | str:
        """Encode an event, tell the listeners of it, and remember its bytes; or return why it can't be sent."""
        destination = self._queue.destination
        event: Event | None = None
        try:
            event, told = decode_neutral(stored)
            entry = self._encode_event(event)
            if type(entry) is not bytes:
                raise TypeError(f"expected an entry of bytes, got {type(entry).__name__}")
            encoded = _Encoded(stored, entry, destination.batch_header)
        except EventRefused as exc:
            self._say("" if event is None else event.key, exc.refusal)
            return str(exc.refusal.reason)
        except PLUGIN_ERRORS as exc:  # a destination is foreign code
            self._plugins.record(self._queue.name, "encode", exc)
            return Reason.DESTINATION_ERROR
        self._encoded[number] = encoded
        if not told:
            self._plugins.notify("aiotrack_event_tracked", event)
        return encoded

    def _say(self, key: str, refusal: Refusal) -> None:
        message = "%s: event %r, tracked before it was known what can be sent, is dead: %.300s"
        episode = (self._queue.name, "late", refusal.reason, key[:100])
        self._log.once(logging.ERROR, episode, message, self._queue.name, key[:100], str(refusal))

    def stored(self, part: Claim) -> Claim:
        """Return a part as its buffer knows it."""
        known = self._encoded
        if part.batch_header == NEUTRAL or part.numbers[0] not in known:
            return part
        entries = [known[number].stored for number in part.numbers]
        return attrs.evolve(part, entries=entries, batch_header=NEUTRAL)

    def forget(self, numbers: Iterable[int]) -> None:
        """Let go of the bytes of what has ended."""
        if self._encoded:
            for number in numbers:
                self._encoded.pop(number, None)
