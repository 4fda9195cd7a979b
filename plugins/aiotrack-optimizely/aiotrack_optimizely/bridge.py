"""A bridge for those who keep the official SDK for decisions: its events leave through aiotrack.

    processor = destination.event_processor()
    optimizely = optimizely.Optimizely(datafile, event_processor=processor)

Impressions and conversions are encoded in the thread that made them, and handed to the client's event loop;
nothing blocks, no thread is added.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from optimizely.event.event_factory import EventFactory
from optimizely.event.event_processor import BaseEventProcessor
from optimizely.event.user_event import ConversionEvent, UserEvent
from optimizely.logger import NoOpLogger

import aiotrack
from aiotrack.errors import EventRefused, refusal_of
from aiotrack.extension import BUILT_IN_TAGS, LaneHandle, dumps, find_problems

from .datafile import batch_header
from .wire import encode_visitor

__all__ = ["EventProcessor"]

NO_LOGGER = NoOpLogger()
MOST = 100_000  # events that wait for the loop
MOST_BYTES = 64 * 1024 * 1024  # of them
AT_ONCE = 200  # events taken before the loop gets a turn


class EventProcessor(BaseEventProcessor):
    """What the official client hands its events to, from any thread; made by `Optimizely.event_processor`.

    `refused` counts by reason what could not be taken; while the client runs, `Client.stats().refused` counts it, too.
    Events that come before the client has started wait for it.
    """

    def __init__(self, lane: Callable[[], LaneHandle | None]) -> None:
        self.refused: Counter[str] = Counter()
        self._lane = lane
        self._waiting: deque[tuple[str, bytes, bytes]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._scheduled = False
        self._bytes = 0  # of what waits; a few off at most, where threads add at the same moment
        self._held: set[asyncio.Future[int]] = set()  # for room, or while a durable buffer writes

    # -- any thread ---------------------------------------------------------------------------------

    def process(self, user_event: UserEvent) -> None:
        """Take an event of the official client. Never blocks, never raises."""
        try:
            self._put(*_encoded(user_event))
        except EventRefused as exc:
            self._refuse(_key_of(user_event), exc.refusal)
        except Exception as exc:  # noqa: BLE001 - a decision must not fail for it
            refusal = aiotrack.Refusal(aiotrack.Reason.INVALID_TAG, f"can't be encoded: {type(exc).__name__}")
            self._refuse(_key_of(user_event), refusal)

    def _put(self, key: str, entry: bytes, head: bytes) -> None:
        if self._closed or len(self._waiting) >= MOST or self._bytes + len(entry) > MOST_BYTES:
            reason = aiotrack.Reason.CLOSING if self._closed else aiotrack.Reason.BUFFER_FULL
            raise EventRefused(aiotrack.Refusal(reason, "the bridge takes no more events now"))
        # No lock: a signal handler may track while this very thread is in here. Appending is atomic, and the loop
        # clears the flag before it looks at the queue, so no event is left without a wake-up.
        self._bytes += len(entry)
        self._waiting.append((key, entry, head))
        if self._loop is not None and not self._scheduled:
            self._scheduled = True
            self._call_soon(self._drain)
        if self._closed:
            self._refuse_waiting()

    def _refuse(self, key: str, refusal: aiotrack.Refusal) -> None:
        self.refused[str(refusal.reason)] += 1
        self._call_soon(lambda: self._tell(key, refusal))

    def _tell(self, key: str, refusal: aiotrack.Refusal) -> None:
        lane = self._lane()
        if lane is not None:
            lane.refuse(key, refusal)

    def _call_soon(self, work: Any) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(work)
            except RuntimeError:  # the loop is closed
                self._loop = None

    # -- the client's event loop --------------------------------------------------------------------

    def connect(self) -> None:
        """Begin to hand events on; the client has started."""
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._scheduled = True
        self._call_soon(self._drain)

    def disconnect(self) -> None:
        """Refuse what is left and what comes from now on; the client has closed."""
        self._closed = True
        self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        while self._waiting:
            with contextlib.suppress(IndexError):  # another thread was faster
                key, entry, _ = self._waiting.popleft()
                self._bytes -= len(entry)
                self._refuse(key, aiotrack.Refusal(aiotrack.Reason.CLOSING, "the client has closed"))

    def _drain(self) -> None:
        """Put waiting events into the lane's buffer, in order; stop while many are held there."""
        self._scheduled = False
        lane = self._lane()
        if lane is None:
            return
        for _ in range(AT_ONCE):
            if not self._waiting or len(self._held) >= AT_ONCE:
                return
            key, entry, head = self._waiting.popleft()
            self._bytes -= len(entry)
            try:
                number = lane.append(entry, head, True)
            except Exception as exc:  # noqa: BLE001 - a buffer is foreign code
                self._refuse(key, refusal_of(exc))
            else:
                if not isinstance(number, int):
                    self._held.add(number)
                    number.add_done_callback(functools.partial(self._go_on, key))
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._drain)

    def _go_on(self, key: str, done: asyncio.Future[int]) -> None:
        self._held.discard(done)
        exc = asyncio.CancelledError() if done.cancelled() else done.exception()
        if exc is not None:
            self._refuse(key, refusal_of(exc))
        self._drain()

    async def drained(self) -> None:
        """Wait until everything that came so far is in the buffer, a second at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while self._waiting or self._held:
                    await (asyncio.wait(self._held) if self._held else asyncio.sleep(0))

    # -- what the official client may call ------------------------------------------------------------

    def stop(self) -> None:
        """Do nothing: the official client's `close` ends nothing of aiotrack's."""


def _key_of(user_event: UserEvent) -> str:
    event = getattr(user_event, "event", None)
    return str(getattr(event, "key", type(user_event).__name__))


def _encoded(user_event: UserEvent) -> tuple[str, bytes, bytes]:
    """Return an event's key, and its bytes and batch header as the destination itself would make them."""
    context = user_event.event_context
    head = batch_header(context.account_id, context.project_id, context.revision, context.anonymize_ip, context.region)
    if isinstance(user_event, ConversionEvent) and user_event.event:
        return user_event.event.key, _conversion(user_event), head
    log_event = EventFactory.create_log_event(user_event, NO_LOGGER)
    if log_event is None:
        raise EventRefused(aiotrack.Refusal(aiotrack.Reason.UNKNOWN_EVENT, "the official SDK made nothing of it"))
    (visitor,) = log_event.params["visitors"]
    return "campaign_activated", dumps(visitor), head


def _conversion(user_event: ConversionEvent) -> bytes:
    tags: Any = user_event.event_tags
    problems = find_problems(tags or {}, "tags")
    if problems:
        raise EventRefused(aiotrack.Refusal.of(aiotrack.Reason.INVALID_TAG, problems))
    reserved = {}
    for name, tag in BUILT_IN_TAGS.items():
        if tags and name in tags:
            with contextlib.suppress(TypeError, ValueError, OverflowError):  # then it stays an ordinary tag
                reserved[name] = tag.convert(tags[name])
    assert user_event.event is not None  # noqa: S101 - the caller has looked
    return encode_visitor(
        user_event.event.id,
        user_event.uuid,
        user_event.event.key,
        user_event.timestamp,
        reserved,
        tags,
        [vars(attribute) for attribute in user_event.visitor_attributes],
        user_event.user_id,
    )
