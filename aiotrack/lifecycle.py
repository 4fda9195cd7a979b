"""The life of a client: everything starts together or not at all, and closes by the deadline."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from . import observer
from .destinations import destinations_of
from .errors import AiotrackError, StartError
from .lane import Lane
from .log import EpisodeLog, logger
from .pipeline import NO_LOOP
from .sender import Sender
from .state import State, misuse
from .tasks import FOREIGN, Tasks, raise_if_ours, within

if TYPE_CHECKING:
    from .buffer import Buffer
    from .client import Client
    from .clock import Clock
    from .pipeline import Pipeline
    from .plugins import Plugins
    from .settings import Settings

__all__ = ["Life"]

T = TypeVar("T")

_closing_life: contextvars.ContextVar[object] = contextvars.ContextVar("aiotrack_closing", default=None)
CLEANUP = 0.1  # seconds that closing files and sockets may take when the deadline has already passed


class Life:
    """Starts and closes what a client consists of."""

    def __init__(
        self,
        pipeline: Pipeline,
        plugins: Plugins,
        buffer: Buffer,
        settings: Settings,
        clock: Clock,
        log: EpisodeLog,
    ) -> None:
        self.state = State.NEW
        self.loop: asyncio.AbstractEventLoop | None = None
        self.process = 0  # that started it; a forked child has only a copy
        self._pipeline = pipeline
        self._plugins = plugins
        self._buffer = buffer
        self._settings = settings
        self._clock = clock
        self._log = log
        self._tasks = Tasks()
        self._senders = Tasks()
        self._closings = Tasks()
        self._working: dict[Lane, list[asyncio.Task[None]]] = {}
        self._start_lock = asyncio.Lock()
        self._closing: asyncio.Task[None] | None = None

    def _enter(self, state: State) -> None:
        self.state = self._pipeline.state = state
        self._pipeline.loop = self.loop if state in {State.STARTED, State.CLOSING} else NO_LOOP

    def _on_loop(self, call: str) -> None:
        """Raise unless the call comes from the loop that everything of this client lives on."""
        if self.state in {State.NEW, State.CLOSED} or asyncio.get_running_loop() is not self.loop:
            raise misuse(self.state, call)

    def lanes(self, call: str) -> tuple[Lane, ...]:
        """Return the lanes for a call that needs them running. Raises StateError."""
        self._on_loop(call)
        return self._pipeline.lanes

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run a coroutine as a task that ends when the client closes, at the latest."""
        try:
            self._on_loop("spawn")
        except BaseException:
            coro.close()
            raise
        return self._tasks.spawn(coro, name=name)

    def abandon(self) -> int:
        """Take a client for closed that nobody can close any more; return how many events it still held."""
        self._enter(State.CLOSED)
        return sum(lane.ledger.pending for lane in self._pipeline.lanes)

    # -- start --------------------------------------------------------------------------------------

    async def start(self, client: Client) -> None:
        """Start once; a second caller waits for the first."""
        async with self._start_lock:
            if self.state is State.STARTED:
                return
            if self.state is not State.NEW:
                raise misuse(self.state, "start")
            self._enter(State.STARTING)
            self.loop = asyncio.get_running_loop()
            self.process = os.getpid()
            try:
                async with AsyncExitStack() as stack:
                    stack.push_async_callback(self._tasks.stop, CLEANUP)
                    await self._start_in_time(client, stack)
                    stack.pop_all()  # from here on `close` closes them
            except BaseException:
                self._enter(State.CLOSED)
                raise
            self._enter(State.STARTED)

    async def _start_in_time(self, client: Client, stack: AsyncExitStack) -> None:
        timeout = self._settings.start_timeout
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                await self._start(client, stack)
        except TimeoutError as exc:
            if limit.expired():
                raise StartError(f"start took longer than {timeout:g} s") from exc
            raise

    async def _start(self, client: Client, stack: AsyncExitStack) -> None:
        """Start everything; what is on the stack is closed again if a later one fails."""
        lanes: list[Lane] = []
        destinations = destinations_of(client, self._plugins.calls["aiotrack_destination"])
        if observer.current is not None:
            destinations = observer.current.starting(client, self, destinations)
        for destination in destinations:
            buffer = self._buffer.for_lane(destination.name)
            lane = Lane(
                destination,
                buffer,
                self._plugins,
                self._pipeline.refusals.count,
                self._settings,
                self._clock,
                self._log,
            )
            destination.port = lane
            stack.callback(setattr, destination, "port", None)
            stack.push_async_callback(_shut, lane.name, lane.close, CLEANUP)
            await _open(f"the buffer of {destination.name!r}", lane.open())
            stack.push_async_callback(_shut, lane.name, destination.close, CLEANUP)
            await _open(f"destination {destination.name!r}", destination.start(client))
            lanes.append(lane)
        self._pipeline.lanes = tuple(lanes)
        stack.push_async_callback(self._shutdown, client, CLEANUP)
        await self._startup(client)
        for lane in lanes:
            self._send(lane)

    def _send(self, lane: Lane) -> None:
        """Set a lane's senders to work."""
        sender = Sender(lane, self._plugins, self._settings, self._clock, self._log)
        self._working[lane] = [
            self._senders.spawn(sender.run(), name=f"aiotrack sender {lane.name}")
            for _ in range(lane.destination.max_in_flight)
        ]
        if lane.buffer.durable:
            self._senders.spawn(lane.watch(), name=f"aiotrack watch {lane.name}")

    async def _revive(self) -> None:
        """Set senders to work again where somebody cancelled them: `asyncio.run` at its end cancels every task."""
        for lane, senders in self._working.items() if not self._senders.stopped else ():
            if all(sender.done() or sender.cancelling() for sender in senders):
                await asyncio.wait(senders, timeout=CLEANUP)
            if all(sender.done() for sender in senders):
                await lane.release()
                self._send(lane)

    async def _startup(self, client: Client) -> None:
        """Run the plugins' startup, one after the other."""
        for name, function in self._plugins.calls["aiotrack_startup"]:
            exc = await _within(self._settings.plugin_timeout, function(client))
            if exc is not None:
                self._plugins.failed(name, "aiotrack_startup", exc)

    async def _shutdown(self, client: Client, timeout: float) -> None:
        """Run the plugins' shutdown, all together, none longer than `timeout`."""
        calls = self._plugins.calls["aiotrack_shutdown"]
        limit = min(timeout, self._settings.plugin_timeout)
        raised = await asyncio.gather(*(_within(limit, function(client)) for _, function in calls))
        for (name, _), exc in zip(calls, raised, strict=True):
            if exc is not None:
                self._plugins.record(name, "aiotrack_shutdown", exc)

    # -- flush and close ----------------------------------------------------------------------------

    def _deadline(self, timeout: float | None) -> float:
        seconds = self._settings.shutdown_timeout if timeout is None else timeout
        return asyncio.get_running_loop().time() + seconds

    async def flush(self, timeout: float | None) -> None:
        """Wait until all that is pending now has ended, or the time is up."""
        self._on_loop("flush")
        deadline = self._deadline(timeout)
        await self._revive()
        await _all_by(deadline, [lane.flush() for lane in self._pipeline.lanes])

    async def close(self, client: Client, timeout: float | None) -> None:
        """Close once; every caller waits for the same closing, each no longer than its own timeout."""
        if self.state is State.NEW:
            self._enter(State.CLOSED)
        if self.state is State.CLOSED:
            return
        self._on_loop("aclose")
        deadline = self._deadline(timeout)
        part_of_it = _closing_life.get() is self  # a plugin's shutdown, which can't wait for it
        while not self._is_closed():
            if self._closing is None or self._closing.done():  # or somebody cancelled it
                self._closing = self._closings.spawn(self._close(client, deadline), name="aiotrack close")
            if part_of_it:
                return
            remaining = max(deadline - asyncio.get_running_loop().time(), 0) + CLEANUP
            done, _ = await asyncio.wait({self._closing}, timeout=remaining)
            if not done:
                return

    def _is_closed(self) -> bool:
        return self.state is State.CLOSED

    async def _close(self, client: Client, deadline: float) -> None:
        _closing_life.set(self)
        async with self._start_lock:  # a start under way ends first
            if self.state is State.CLOSED:
                return
            self.state = State.CLOSING
        await self._revive()
        for lane in self._pipeline.lanes:
            lane.hurry()  # what is pending leaves while the plugins shut down
        left = deadline - asyncio.get_running_loop().time()
        await self._shutdown(client, max(left / 2, 0))
        self._pipeline.state = State.CLOSING
        await _all_by(deadline - CLEANUP, [lane.drain() for lane in self._pipeline.lanes])
        await self._senders.stop(CLEANUP)
        await self._tasks.stop(CLEANUP)
        lanes = self._pipeline.lanes
        cleanup = max(deadline - asyncio.get_running_loop().time(), CLEANUP)
        await asyncio.gather(*(_shut(lane.name, lane.close, cleanup) for lane in lanes))
        await asyncio.gather(*(_shut(lane.name, lane.destination.close, cleanup) for lane in lanes))
        for lane in lanes:
            lane.destination.port = None
        self._enter(State.CLOSED)


async def _open(what: str, opening: Coroutine[Any, Any, None]) -> None:
    try:
        await opening
    except AiotrackError:
        raise
    except Exception as exc:
        raise StartError(f"{what} can't start: {type(exc).__name__}: {exc}") from exc


async def _all_by(deadline: float, work: list[Coroutine[Any, Any, None]]) -> None:
    """Do several things together until the deadline."""
    try:
        async with asyncio.timeout_at(deadline):
            await asyncio.gather(*work)
    except TimeoutError:
        pass


async def _within(timeout: float, work: Coroutine[Any, Any, None]) -> BaseException | None:
    """Await foreign code; return what it raised, a timeout and a cancellation of its own included."""
    try:
        await within(timeout, work)
    except FOREIGN as exc:
        raise_if_ours(exc)
        return exc
    return None


async def _shut(name: str, close: Callable[[], Coroutine[Any, Any, None]], timeout: float) -> None:
    exc = await _within(timeout, close())
    if isinstance(exc, TimeoutError):
        logger.error("%s: closing was cut short at the deadline", name)
    elif exc is not None:
        logger.error("%s: closing raised %s", name, type(exc).__name__)
