"""Start, flush and close a client: everything starts together or not at all, and ends by the deadline."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from .buffers.base import Buffer, lane_buffer
from .hooks.destinations import destinations_of
from .lanes.lane import Lane
from .model.errors import AiotrackError, StartError
from .model.log import EpisodeLog, logger
from .model.settings import seconds
from .model.state import ClientState, State, state_error
from .model.tasks import PLUGIN_ERRORS, OwnTask, Tasks, run_with_timeout

if TYPE_CHECKING:
    from .destinations.base import Destination
    from .hooks.plugins import Plugins
    from .model.clock import Clock
    from .model.host import Client
    from .model.settings import Settings
    from .tracking.pipeline import Pipeline

__all__ = ["ClientLifecycle"]

T = TypeVar("T")

CLEANUP = 0.1  # seconds that closing files and sockets may take when the deadline has already passed

RESERVE = 0.25  # of the time for a close, kept for durable buffers to write what they hold

_closed_from: contextvars.ContextVar[object] = contextvars.ContextVar("aiotrack_closed_from", default=None)


class ClientLifecycle:
    """Starts and closes what a client consists of."""

    def __init__(
        self,
        state: ClientState,
        pipeline: Pipeline,
        plugins: Plugins,
        calls: Tasks,
        buffer: Buffer,
        settings: Settings,
        clock: Clock,
        log: EpisodeLog,
    ) -> None:
        self.tasks = Tasks()
        """Those of plugins and destinations."""
        self._state = state
        self._pipeline = pipeline
        self._plugins = plugins
        self._calls = calls  # tasks that track for callers who are elsewhere: they end when the lanes have answered
        self._buffer = buffer
        self._settings = settings
        self._clock = clock
        self._log = log
        self._close_tasks = Tasks()
        self._start_lock = asyncio.Lock()
        self._close_task: asyncio.Task[None] | None = None
        self._folder = ""
        with contextlib.suppress(OSError):  # a folder that is gone matters only to who stores in it
            self._folder = os.getcwd()

    def lanes(self, call: str) -> tuple[Lane, ...]:
        """Return the lanes for a call that needs them running. Raises StateError."""
        self._state.check_on_loop(call)
        return self._pipeline.lanes

    async def on_loop(self, call: str, function: Callable[[], Coroutine[Any, Any, T]], within: float = math.inf) -> T:
        """Run a call on the client's event loop, wherever it comes from; it must begin there within so many seconds.

        Raises StateError.
        """
        if self._state.is_on_loop or self._state.takes_no_more:
            return await function()
        within = min(within, self._settings.overflow_timeout)
        return await self._state.home_elsewhere(call).call(call, function, within)

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run a coroutine as a task that ends when the client closes, at the latest."""
        try:
            self._state.check_on_loop("spawn")
        except BaseException:
            coro.close()
            raise
        return self.tasks.spawn(coro, name=name)

    def abandon(self) -> int:
        """Count a client as closed that nobody can close any more; return how many events it still held."""
        self._state.enter(State.CLOSED)
        return sum(lane.pending for lane in self._pipeline.lanes)

    # -- start --------------------------------------------------------------------------------------

    async def start(self, client: Client) -> None:
        """Start once; a second caller waits for the first."""
        async with self._start_lock:
            if self._state.current is State.STARTED and not self._state.loop_is_gone:
                return
            if self._state.current is not State.NEW:
                raise state_error(self._state, "start")
            self._state.enter(State.STARTING)
            try:
                async with AsyncExitStack() as stack:
                    stack.push_async_callback(self.tasks.stop, CLEANUP)
                    await self._start_in_time(client, stack)
                    stack.pop_all()  # from here on `close` closes them
            except BaseException:
                self._state.enter(State.CLOSED)
                raise
            self._state.enter(State.STARTED)

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
        for destination in self.destinations(client):
            lane = self._lane(destination)
            stack.callback(setattr, destination, "lane", None)
            stack.push_async_callback(_close_in_time, lane.name, lane.close, CLEANUP)
            await _open(f"the buffer of {destination.name!r}", lane.open(), self._settings.start_timeout)
            stack.push_async_callback(_close_in_time, lane.name, destination.close, CLEANUP)
            await _open(f"destination {destination.name!r}", destination.start(client), self._settings.start_timeout)
            lanes.append(lane)
        self._pipeline.lanes = tuple(lanes)
        stack.push_async_callback(self._shutdown_plugins, client, CLEANUP)
        await self._start_plugins(client)
        for lane in lanes:
            lane.start_sending()

    def destinations(self, client: Client) -> list[Destination]:
        """Return the destinations of a client that starts."""
        return destinations_of(client, self._plugins.calls["aiotrack_destination"], self._folder)

    def _lane(self, destination: Destination) -> Lane:
        """Make a destination's lane."""
        buffer = lane_buffer(self._buffer, destination.name, destination.identity)
        pipeline = self._pipeline
        lane = Lane(
            *(destination, buffer, self._plugins, pipeline.refusals.count, pipeline.changes.apply_all),
            *(self._settings, self._clock, self._log),
        )
        destination.lane = lane
        return lane

    async def _start_plugins(self, client: Client) -> None:
        """Run the plugins' startup, one after the other."""
        for name, function in self._plugins.calls["aiotrack_startup"]:
            exc = await _raised_within(self._settings.plugin_timeout, function(client))
            if exc is not None:
                self._plugins.failed(name, "aiotrack_startup", exc)

    async def _shutdown_plugins(self, client: Client, timeout: float) -> None:
        """Run the plugins' shutdown, all together, none longer than `timeout`."""
        calls = self._plugins.calls["aiotrack_shutdown"]
        limit = min(timeout, self._settings.plugin_timeout)
        raised = await asyncio.gather(*(_raised_within(limit, function(client)) for _, function in calls))
        for (name, _), exc in zip(calls, raised, strict=True):
            if exc is not None:
                self._plugins.record(name, "aiotrack_shutdown", exc)

    # -- flush and close ----------------------------------------------------------------------------

    def _seconds(self, timeout: float | None) -> float:
        """Return how long to wait; None is `shutdown_timeout`, and `inf` is for ever."""
        given = self._settings.shutdown_timeout if timeout is None else timeout
        return seconds("timeout", given, zero=True, infinite=True)

    async def flush(self, timeout: float | None) -> None:
        """Wait until all that is pending now has ended, or the time is up."""
        left = self._seconds(timeout)
        await self.on_loop("flush", lambda: self._flush(left), left)

    async def _flush(self, left: float) -> None:
        deadline = asyncio.get_running_loop().time() + left
        await asyncio.gather(*(lane.revive() for lane in self.lanes("flush")))
        await _all_by(deadline, [lane.flush for lane in self._pipeline.lanes])

    async def close(self, client: Client, timeout: float | None) -> None:
        """Close once; every caller waits for the same closing, each no longer than its own timeout."""
        deadline = asyncio.get_running_loop().time() + self._seconds(timeout)
        if self._state.current is State.NEW:
            self._state.enter(State.CLOSED)
        if self._is_closed():
            return
        self._state.check_on_loop("aclose")
        part_of_it = _closed_from.get() is self  # a plugin's shutdown, which can't wait for it
        while not self._is_closed():
            if self._close_task is None or self._close_task.done():  # or somebody cancelled it
                self._close_task = self._close_tasks.spawn(self._close(client, deadline), name="aiotrack close")
            if part_of_it:
                return
            remaining = max(deadline - asyncio.get_running_loop().time(), 0) + CLEANUP
            done, _ = await asyncio.wait({self._close_task}, timeout=None if remaining == math.inf else remaining)
            if not done or asyncio.get_running_loop().time() > deadline + CLEANUP:
                return

    def _is_closed(self) -> bool:
        return self._state.current is State.CLOSED

    async def _close(self, client: Client, deadline: float) -> None:
        await asyncio.sleep(0)  # a task that starts eagerly would call plugins before `close` knows of it
        _closed_from.set(self)
        async with self._start_lock:  # a start under way ends first
            if self._is_closed():
                return
            self._state.enter(State.SHUTTING_DOWN)
        lanes = self._pipeline.lanes
        loop = asyncio.get_running_loop()
        for lane in lanes:
            await _close_in_time(lane.name, lane.revive, max(deadline - loop.time(), CLEANUP))
            lane.expedite()  # what is pending leaves while the plugins shut down
        if self._state.current is State.SHUTTING_DOWN:
            try:
                await self._shutdown_plugins(client, max((deadline - loop.time()) / 2, 0))
            finally:
                self._state.enter(State.CLOSING)
        await self._drain(deadline)
        await asyncio.gather(*(lane.stop_sending() for lane in lanes))
        await self.tasks.stop(CLEANUP)
        cleanup = max(deadline - loop.time(), CLEANUP)
        await asyncio.gather(*(_close_in_time(lane.name, lane.close, cleanup) for lane in lanes))
        await self._calls.join(CLEANUP)
        await asyncio.gather(*(_close_in_time(lane.name, lane.destination.close, cleanup) for lane in lanes))
        for lane in lanes:
            lane.destination.lane = None
        self._state.enter(State.CLOSED)

    async def _drain(self, deadline: float) -> None:
        """Send what is pending, until the deadline; what a durable buffer holds may need time to be written instead."""
        left = deadline - asyncio.get_running_loop().time()
        reserve = 0.0 if left == math.inf else max(left * RESERVE, 0)
        durable = [lane.drain for lane in self._pipeline.lanes if lane.durable]
        others = [lane.drain for lane in self._pipeline.lanes if not lane.durable]
        await asyncio.gather(_all_by(deadline - CLEANUP - reserve, durable), _all_by(deadline - CLEANUP, others))


async def _open(what: str, opening: Coroutine[Any, Any, None], timeout: float) -> None:
    """Await a start; leave one behind that does not end when its time is up, or the whole start's."""
    try:
        await run_with_timeout(timeout, opening)
    except AiotrackError:
        raise
    except Exception as exc:
        raise StartError(f"{what} can't start: {type(exc).__name__}: {exc}") from exc


async def _all_by(deadline: float, work: Sequence[Callable[[float], Coroutine[Any, Any, None]]]) -> None:
    """Do several things together until the deadline; one that fails is named in the log, and stops no other."""
    try:
        async with asyncio.timeout_at(None if deadline == math.inf else deadline):
            raised = await asyncio.gather(*(one(deadline) for one in work), return_exceptions=True)
    except TimeoutError:
        return
    for exc in raised:
        if exc is not None:
            logger.error("waiting for what is pending raised %s", type(exc).__name__)


async def _raised_within(timeout: float, work: Coroutine[Any, Any, None]) -> BaseException | None:
    """Await foreign code; return what it raised, a timeout and a cancellation of its own included."""
    own = OwnTask()
    try:
        await run_with_timeout(timeout, work)
    except PLUGIN_ERRORS as exc:
        own.reraise(exc)
        return exc
    return None


async def _close_in_time(name: str, close: Callable[[], Coroutine[Any, Any, None]], timeout: float) -> None:
    exc = await _raised_within(min(timeout, 1e9), close())
    if isinstance(exc, TimeoutError):
        logger.error("%s: closing was cut short at the deadline", name)
    elif exc is not None:
        logger.error("%s: closing raised %s", name, type(exc).__name__)
