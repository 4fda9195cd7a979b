"""The life of a client: everything starts together or not at all, and closes by the deadline."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from .destination import Destination
from .errors import AiotrackError, PluginError, StartError
from .lane import Lane
from .local_store import LocalStore
from .log import EpisodeLog, logger
from .sender import Sender
from .state import State, misuse
from .tasks import Tasks

if TYPE_CHECKING:
    from .buffer import Buffer
    from .client import Client
    from .clock import Clock
    from .pipeline import Pipeline
    from .plugins import Plugins
    from .settings import Settings

__all__ = ["Life"]

T = TypeVar("T")

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
        self._pipeline = pipeline
        self._plugins = plugins
        self._buffer = buffer
        self._settings = settings
        self._clock = clock
        self._log = log
        self._tasks = Tasks()
        self._senders = Tasks()
        self._start_lock = asyncio.Lock()
        self._closing: asyncio.Task[None] | None = None

    def _enter(self, state: State) -> None:
        self.state = self._pipeline.state = state

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run a coroutine as a task that ends when the client closes, at the latest."""
        if self.state in {State.NEW, State.CLOSED}:
            coro.close()
            raise misuse(self.state, "spawn")
        return self._tasks.spawn(coro, name=name)

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
            try:
                async with asyncio.timeout(self._settings.start_timeout), AsyncExitStack() as stack:
                    await self._start(client, stack)
                    stack.pop_all()  # from here on `close` closes them
            except BaseException as exc:
                await self._tasks.stop(CLEANUP)
                self._enter(State.CLOSED)
                if isinstance(exc, TimeoutError):
                    raise StartError(f"start took longer than {self._settings.start_timeout:g} s") from exc
                raise
            self._enter(State.STARTED)

    async def _start(self, client: Client, stack: AsyncExitStack) -> None:
        """Start everything; what is on the stack is closed again if a later one fails."""
        lanes: list[Lane] = []
        for destination in self._destinations(client):
            buffer = self._buffer.for_lane(destination.name)
            lane = Lane(
                destination,
                buffer,
                self._plugins,
                self._pipeline.count_refusal,
                self._settings,
                self._clock,
                self._log,
            )
            destination.port = lane
            await _open(f"the buffer of {destination.name!r}", lane.open())
            stack.push_async_callback(lane.close)
            await _open(f"destination {destination.name!r}", destination.start(client))
            stack.push_async_callback(destination.close)
            lanes.append(lane)
        self._pipeline.lanes = tuple(lanes)
        await self._call_async("aiotrack_startup", client, math.inf)
        for lane in lanes:
            sender = Sender(lane, self._plugins, self._clock, self._log)
            self._senders.spawn(sender.run(), name=f"aiotrack sender {lane.name}")

    def _destinations(self, client: Client) -> list[Destination]:
        found: dict[str, Destination] = {}
        for plugin, function in self._plugins.calls("aiotrack_destination"):
            destination = function(client)
            if destination is None:
                continue
            if not isinstance(destination, Destination):
                kind = type(destination).__name__
                raise PluginError(f"plugin {plugin!r}: aiotrack_destination must return a Destination, got {kind}")
            if destination.name in found:
                raise PluginError(f"two destinations are called {destination.name!r}: give one another name=")
            found[destination.name] = destination
        return list(found.values()) or [LocalStore()]

    async def _call_async(self, hook: str, client: Client, deadline: float) -> None:
        """Await a hook of every plugin, each within the plugin timeout, none past the deadline."""
        now = asyncio.get_running_loop().time
        for name, function in self._plugins.calls(hook):
            try:
                async with asyncio.timeout_at(min(deadline, now() + self._settings.plugin_timeout)):
                    await function(client)
            except Exception as exc:  # noqa: BLE001 - a plugin is foreign code
                if self.state is State.STARTING:
                    self._plugins.failed(name, hook, exc)
                else:
                    self._plugins.record(name, hook, exc)

    # -- flush and close ----------------------------------------------------------------------------

    def _deadline(self, timeout: float | None) -> float:
        seconds = self._settings.shutdown_timeout if timeout is None else timeout
        return asyncio.get_running_loop().time() + seconds

    async def flush(self, timeout: float | None) -> None:
        """Wait until all that is pending now has ended, or the time is up."""
        if self.state not in {State.STARTED, State.CLOSING}:
            raise misuse(self.state, "flush")
        await self._flush(self._deadline(timeout))

    async def _flush(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.gather(*(lane.flush() for lane in self._pipeline.lanes))
        except TimeoutError:
            pass

    async def close(self, client: Client, timeout: float | None) -> None:
        """Close once; every caller waits for the same closing, each no longer than its own timeout."""
        if self.state is State.NEW:
            self._enter(State.CLOSED)
        if self.state is State.CLOSED and self._closing is None:
            return
        deadline = self._deadline(timeout)
        if self._closing is None:
            # Not one of self._tasks: closing stops those.
            self._closing = self._senders.spawn(self._close(client, deadline), name="aiotrack close")
        if asyncio.current_task() is not self._closing:
            remaining = max(deadline - asyncio.get_running_loop().time(), 0) + CLEANUP
            await asyncio.wait({self._closing}, timeout=remaining)

    async def _close(self, client: Client, deadline: float) -> None:
        async with self._start_lock:  # a start under way ends first
            if self.state is State.CLOSED:
                return
            self.state = State.CLOSING
        await self._call_async("aiotrack_shutdown", client, deadline)
        self._pipeline.state = State.CLOSING
        await self._flush(deadline - CLEANUP)
        await self._senders.stop(CLEANUP)
        await self._tasks.stop(CLEANUP)
        lanes = self._pipeline.lanes
        cleanup = max(deadline, asyncio.get_running_loop().time() + CLEANUP)
        await asyncio.gather(*(_shut(lane.name, lane.close(), cleanup) for lane in lanes))
        await asyncio.gather(*(_shut(lane.name, lane.destination.close(), cleanup) for lane in lanes))
        self._enter(State.CLOSED)


async def _open(what: str, opening: Coroutine[Any, Any, None]) -> None:
    try:
        await opening
    except (AiotrackError, TimeoutError):
        raise
    except Exception as exc:
        raise StartError(f"{what} can't start: {type(exc).__name__}: {exc}") from exc


async def _shut(name: str, closing: Coroutine[Any, Any, None], deadline: float) -> None:
    try:
        async with asyncio.timeout_at(deadline):
            await closing
    except TimeoutError:
        logger.error("%s: closing was cut short at the deadline", name)
    except Exception as exc:  # noqa: BLE001 - a destination is foreign code
        logger.error("%s: closing raised %s", name, type(exc).__name__)
