"""A lane: one destination's buffer, the callers that bring events, and the senders that deliver them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import attrs

from aiotrack.buffers.base import Claim
from aiotrack.delivery.sender import Sender
from aiotrack.model.errors import WrongLoop, refusal_of
from aiotrack.model.health import Health, HealthStatus
from aiotrack.model.log import EpisodeLog, logger
from aiotrack.model.other_loops import Home
from aiotrack.model.refusal import NO_CATALOG, NOT_KNOWN, Reason, Refusal
from aiotrack.model.result import Receipt, Rejected, SequenceNumber, Unknown
from aiotrack.model.stats import LaneState, LaneStats
from aiotrack.model.tasks import PLUGIN_ERRORS, OwnTask, Tasks

from .accounting import Accounting
from .admission import Admission
from .claims import LOST, Claims
from .condition import Condition
from .dead_letters import LaneDeadLetters
from .late_encoding import LateEncoding
from .routing import Routing, encoders_of
from .schedule import Schedule
from .upkeep import Upkeep
from .window import Window

if TYPE_CHECKING:
    from aiotrack.buffers.base import LaneBuffer
    from aiotrack.destinations.base import Destination
    from aiotrack.hooks.plugins import Plugins
    from aiotrack.model.catalog import Catalog
    from aiotrack.model.clock import Clock
    from aiotrack.model.event import Event
    from aiotrack.model.settings import Settings

__all__ = ["Lane"]

KEEP = "A longer shutdown_timeout, or `await client.flush(timeout=...)` before, delivers them; a FileBuffer keeps them"
STOP = 0.1  # seconds for a cancelled sender to end


class Lane:
    """What one destination has accepted and not yet delivered. Shares nothing with other lanes."""

    def __init__(
        self,
        destination: Destination,
        buffer: LaneBuffer,
        plugins: Plugins,
        count_refusal: Callable[[str, Refusal], None],
        change: Callable[[Event], Coroutine[Any, Any, Event]],
        settings: Settings,
        clock: Clock,
        log: EpisodeLog,
    ) -> None:
        self.name = destination.name
        self.destination = destination
        self._buffer = buffer
        self._plugins = plugins
        self._count_refusal = count_refusal
        self._change = change
        self._settings = settings
        self._clock = clock
        self._accounting = Accounting()
        max_events = min(settings.batch_size, destination.max_batch_events or settings.batch_size)
        max_bytes = min(settings.batch_bytes, destination.max_batch_bytes or settings.batch_bytes)
        self._window = Window(max_bytes)
        self._tasks = Tasks()
        self._home: Home | None = None
        self._senders: list[asyncio.Task[None]] = []
        self._schedule = Schedule(max_events, max_bytes, settings.flush_interval, clock, max_age=settings.max_age)
        self._condition = Condition(self.name, self._accounting, self._schedule, clock, log)
        encode, encode_later = encoders_of(destination, plugins)
        self._admission = Admission(
            *(destination, encode, buffer, self._accounting, self._schedule, settings, clock),
            *(self._drop_oldest, self.refuse),
        )
        self._routing = Routing(destination, self._admission.admit, plugins, log)
        self.admit = self._routing.admit
        self.append = self._admission.append
        self.admit_unencoded = self._admission.admit_unencoded
        self.admit_when_ready = self._admission.admit_when_ready
        self.unawaited = self._admission.unawaited
        self.wait_for_room = self._admission.room.wait
        self.wait, self.sleep = self._schedule.triggered, self._schedule.sleep
        self.time_left = self._schedule.time_left
        self.expedite, self.wake = self._schedule.expedite, self._schedule.wake
        self.too_large, self.timed_out = self._window.too_large, self._window.timed_out
        progress = self._admission.progress
        self.begin_request, self.end_request = progress.begin_request, progress.end_request
        self.replace = self._accounting.replace
        self.set_aside = self._accounting.set_aside
        self.dead_letters = LaneDeadLetters(self.name, buffer, self.append)
        late = LateEncoding(self, encode_later, plugins, clock, log)
        self._claims = Claims(
            *(buffer, self._admission, self._accounting, self._schedule, self._window, late, max_events, plugins, log)
        )
        self.claim = self._claims.claim
        self.encode = self._claims.encode
        self.ack, self.bury, self.release = self._claims.ack, self._claims.bury, self._claims.release
        self._upkeep = Upkeep(self.name, buffer, self._schedule, plugins, self._claims.open)

    # -- start and close ----------------------------------------------------------------------------

    async def open(self) -> None:
        """Make the buffer ready to accept."""
        self._home = Home.here()
        await self._buffer.open(self._admission)
        self._accounting.state = LaneState.UP
        if self.destination.needs_catalog:
            self._admission.await_catalog(self.destination.ready_timeout)
        if self.destination.catalog is not None:
            self.catalog_updated(self.destination.catalog)

    def start_sending(self) -> None:
        """Start the senders, as many as requests may be under way, and the buffer's upkeep."""
        self._start_senders()
        self._upkeep.start(self._tasks)

    def _start_senders(self) -> None:
        sender = Sender(self, self._plugins, self._settings, self._clock)
        self._senders = [
            self._tasks.spawn(sender.run(), name=f"aiotrack sender {self.name}")
            for _ in range(self.destination.max_in_flight)
        ]

    async def revive(self) -> None:
        """Start senders again where somebody cancelled them: `asyncio.run` at its end cancels every task."""
        if self._tasks.stopped or not self._senders:
            return
        if all(sender.done() or sender.cancelling() for sender in self._senders):
            await asyncio.wait(self._senders, timeout=STOP)
        if all(sender.done() for sender in self._senders):
            await self.release()
            self._start_senders()

    async def stop_sending(self) -> None:
        """Stop the senders."""
        await self._tasks.stop(STOP)

    async def close(self) -> None:
        """Admit nothing more, put unfinished claims back, count what a memory buffer loses, close the buffer."""
        self._admission.close()
        self._schedule.stop()
        shared = getattr(self._buffer, "lease", None) is not None
        try:
            await self.release()
        finally:
            pending = self._accounting.pending
            lost = 0 if self.durable else pending
            self._accounting.close(dropped=lost)
            self._accounting.state = LaneState.CLOSED
            unsaved = await self._buffer.close()
            if self.durable:
                lost = unsaved
                self._accounting.close(dropped=lost, handed_over=pending - lost if shared else 0)
            self._say_lost(lost)

    def _say_lost(self, events: int) -> None:
        if events:
            logger.error(
                "%s: %d events are lost: the client was closed before they were delivered. %s", self.name, events, KEEP
            )
            self._plugins.notify(LOST, self.destination, events, "the client was closed")

    @property
    def durable(self) -> bool:
        """Whether what waits outlives the process."""
        return self._buffer.durable

    @property
    def unsaved(self) -> int:
        """How many events would be lost if the process ended now."""
        return int(getattr(self._buffer, "unsaved", 0 if self.durable else self.pending))

    @property
    def closed(self) -> bool:
        """Whether the lane is closed."""
        return self._accounting.state is LaneState.CLOSED

    # -- callers ------------------------------------------------------------------------------------

    def holds(self, number: asyncio.Future[int]) -> bool:
        """Tell whether a caller waits for room, of whose event this is to be the number."""
        return number in self._admission.held

    def route_elsewhere(self) -> None:
        """Count an event that its caller sends to others only."""
        self._routing.elsewhere += 1

    def refuse(self, event_key: str, refusal: Refusal) -> None:
        """Count and log the refusal of what came by `append`."""
        self._count_refusal(event_key, attrs.evolve(refusal, destination=self.name))

    async def change(self, event: Event) -> Event:
        """Return what the plugins make of an event of the destination's own."""
        return await self._change(event)

    def catalog_updated(self, catalog: Catalog) -> None:
        """Announce a destination's new catalog; what came before the first one can be encoded now."""
        self._admission.catalog_is_there()
        self._plugins.notify("aiotrack_catalog_updated", self.destination, catalog)

    async def receipt(self, number: SequenceNumber) -> Receipt:
        """Wait for one entry's end, also on another event loop than the lane's."""
        home = self._home
        if home is None or home.is_here or self.closed:
            return await self._receipt(number)
        try:
            return await home.call("delivered", lambda: self._receipt(number), None)
        except WrongLoop:
            return Unknown()

    async def _receipt(self, number: SequenceNumber) -> Receipt:
        own = OwnTask()
        try:
            known = number if isinstance(number, int) else await asyncio.shield(number)
        except PLUGIN_ERRORS as exc:  # a buffer is foreign code
            own.reraise(exc)
            return Unknown() if refusal_of(exc) is NOT_KNOWN else Rejected(Reason.BUFFER_ERROR)
        return await self._accounting.receipt(known)

    @property
    def pending(self) -> int:
        """How many events have not ended."""
        return self._accounting.pending

    def stats(self) -> LaneStats:
        """Return the counters."""
        condition = self._condition
        return self._accounting.stats(
            bytes_pending=self._buffer.depth().bytes,
            routed_elsewhere=self._routing.elsewhere,
            oldest_age=condition.oldest_age,
            last_delivered_at=condition.last_delivered_at,
            last_error=condition.last_error,
        )

    def health(self) -> Health:
        """Tell whether events are accepted and delivered, and why not."""
        admission = self._admission
        waits = "" if admission.ready else f"{self.name} {NO_CATALOG}; {self.pending} events wait for it"
        full = f"{self.name}: {admission.trouble}" if admission.trouble else ""
        reasons = tuple(filter(None, (full, self._condition.outage, waits)))
        refusing = full and self._settings.overflow != "drop_oldest"
        return Health(
            HealthStatus.FAILING if refusing else HealthStatus.DEGRADED if reasons else HealthStatus.OK, reasons
        )

    # -- the senders --------------------------------------------------------------------------------

    @property
    def max_bytes(self) -> int:
        """How large a batch may be now."""
        return self._window.bytes

    @property
    def slow_from(self) -> float:
        """From which size on what had timed out was too slow."""
        return self._window.slow_from

    def is_old(self, part: Claim) -> bool:
        """Tell whether these entries have been here longer than they are worth keeping."""
        return self._schedule.is_old(part.numbers[-1])

    def mark_up(self, size: int) -> None:
        """Note that the destination has taken a batch of `size` bytes."""
        self._window.passed(size, self._clock.monotonic())
        self._condition.mark_up()

    def mark_down(self, state: LaneState, why: str, delay: float) -> None:
        """Note that the destination takes no events now; no caller is held for it."""
        self._condition.mark_down(state, why, delay)
        self._admission.reject_held(f"there is no room, and {self.name} is {state}")

    def _drop_oldest(self, size: int) -> None:
        self._claims.drop(self._buffer.make_room(size), "pushed out by newer events")

    # -- flush --------------------------------------------------------------------------------------

    async def flush(self, deadline: float) -> None:
        """Send all that is here now, and wait until it has ended; the caller gives up at the loop's time `deadline`."""
        with self._schedule.waiting_until(deadline):
            await self._upkeep.recover()
            await self._admission.flush()
            self.expedite()
            await self._accounting.wait_up_to(self._schedule.due)

    async def drain(self, deadline: float) -> None:
        """Flush until nothing is left, those included who are admitted meanwhile."""
        while self.destination.can_send and (self._admission.busy or self._accounting.awaited > 0):
            await self.flush(deadline)
            await asyncio.sleep(0)
