"""The client: what a user holds. It puts plugins, pipeline and lanes together and hands calls on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from .buffers.base import Buffer, usable
from .buffers.dead_letters import DeadLetter
from .buffers.memory import MemoryBuffer
from .hooks.plugins import Plugins
from .hooks.reserved_tags import StrictTags, Tags
from .lanes.dead_letters import DeadLetters
from .lifecycle import ClientLifecycle
from .model.catalog import Catalog
from .model.clock import Clock, SystemClock
from .model.health import Health, HealthStatus
from .model.log import EpisodeLog
from .model.mistakes import Mistakes
from .model.result import BulkResult, TrackResult
from .model.settings import DEFAULTS, ConfigSource, Overflow, Settings
from .model.state import ClientState
from .model.stats import Report, Stats
from .model.tasks import Tasks
from .model.values import JSONValues, UserId, is_a
from .tracking.context import UserContext
from .tracking.many import BulkTracking, Events
from .tracking.pipeline import Pipeline
from .tracking.threads import ThreadsafeTracking
from .tracking.user import context_of, loaded
from .unclosed import Unclosed

__all__ = ["Client"]

T = TypeVar("T")
Counted = TypeVar("Counted", bound=Stats)


class Client:
    """Tracks events to its destinations. Give it plugins; destinations are plugins.

    With no destination, events go to `LocalStore("aiotrack.db")`. The constructor starts nothing and needs
    no running loop: `async with client`, or `await client.start()` and `await client.aclose()`. The options
    are those of docs/configuration.md; `buffer` holds the events of each lane until they are sent
    (default: `MemoryBuffer()`, 64 MiB a lane).

    Raises ConfigError for a bad option and PluginError for a bad plugin.
    """

    def __init__(
        self,
        *plugins: object,
        batch_size: int = DEFAULTS.batch_size,
        batch_bytes: int = DEFAULTS.batch_bytes,
        flush_interval: float = DEFAULTS.flush_interval,
        buffer: Buffer | None = None,
        overflow: Overflow = DEFAULTS.overflow,
        overflow_timeout: float = DEFAULTS.overflow_timeout,
        start_timeout: float = DEFAULTS.start_timeout,
        shutdown_timeout: float = DEFAULTS.shutdown_timeout,
        max_retries: int | None = DEFAULTS.max_retries,
        max_age: float | None = DEFAULTS.max_age,
        plugin_timeout: float = DEFAULTS.plugin_timeout,
        plugin_budget: float = DEFAULTS.plugin_budget,
        strict: bool = DEFAULTS.strict,
        autoload: bool = DEFAULTS.autoload,
        block: Iterable[str] = DEFAULTS.block,
        json_default: Callable[[Any], Any] | None = None,
        clock: Clock | None = None,
    ) -> None:
        with Mistakes() as mistakes:
            settings = mistakes.check(
                Settings.checked,
                batch_size=batch_size,
                batch_bytes=batch_bytes,
                flush_interval=flush_interval,
                overflow=overflow,
                overflow_timeout=overflow_timeout,
                start_timeout=start_timeout,
                shutdown_timeout=shutdown_timeout,
                max_retries=max_retries,
                max_age=max_age,
                plugin_timeout=plugin_timeout,
                plugin_budget=plugin_budget,
                strict=strict,
                autoload=autoload,
                block=block,
            )
            chosen = MemoryBuffer() if buffer is None else mistakes.check(usable, buffer)
        self._clock: Clock = SystemClock() if clock is None else clock
        self._state = ClientState()
        log = EpisodeLog(self._clock.monotonic)
        self._plugins = Plugins((StrictTags() if strict else Tags(), *plugins), settings, log)
        self._values = JSONValues(json_default)
        calls = Tasks()
        self._pipeline = Pipeline(self._plugins, settings, self._state, self._values, calls, self._clock, log)
        self._lifecycle = ClientLifecycle(
            *(self._state, self._pipeline, self._plugins, calls, chosen, settings, self._clock, log),
        )
        self._dead_letters = DeadLetters(
            self._lifecycle.on_loop, lambda call: [lane.dead_letters for lane in self._lifecycle.lanes(call)]
        )
        self._unclosed = Unclosed(self._state, self._pipeline)
        self._threads = ThreadsafeTracking(
            *(self._pipeline, self._state, self._values, calls, self._clock, settings.overflow_timeout)
        )

    @classmethod
    def from_config(cls, source: ConfigSource = None, *plugins: object, **options: Any) -> Self:
        """Make a client from a TOML file, a mapping, or the environment alone; `AIOTRACK_*` variables go over all.

        `plugins` come after those of the configuration, `options` over its. Raises ConfigError with all that is wrong.
        """
        from .config import load  # noqa: PLC0415 - only those who configure pay for cattrs

        configured, settings = load(source)
        return cls(*configured, *plugins, **{**settings, **options})

    def __reduce__(self) -> NoReturn:
        """Raise TypeError, for `copy` and `pickle`: a client has connections, files and tasks."""
        raise TypeError("a Client can't be copied or pickled: make another one")

    def __repr__(self) -> str:
        return f"<aiotrack.Client {self._state.current}, destinations: {', '.join(self.stats().lanes) or 'none yet'}>"

    @property
    def clock(self) -> Clock:
        """The clock that plugins should use, so that tests can own their time, too."""
        return self._clock

    @property
    def catalog(self) -> Catalog:
        """What the destinations know of their events now: `client.catalog.metrics_of("purchase")`."""
        catalogs = (lane.destination.catalog for lane in self._pipeline.lanes)
        return Catalog.merged(catalog for catalog in catalogs if catalog is not None)

    # -- tracking -----------------------------------------------------------------------------------

    def create_user_context(
        self,
        user_id: UserId,
        attributes: Mapping[str, Any] | None = None,
        *,
        user_agent: str | None = None,
        ip_address: str | None = None,
        session_id: int | str | None = None,
    ) -> UserContext:
        """Return a context that tracks events as this user. Works in any state, and never raises."""
        return UserContext(
            self._pipeline.track,
            self._threads,
            self._values,
            user_id,
            attributes,
            user_agent,
            ip_address,
            session_id,
        )

    def load_user(self, data: Mapping[str, Any]) -> UserContext:
        """Return a context of the user that `UserContext.dump` has described, in another process, say.

        Anything else gives a context that refuses its events.
        """
        return loaded(data, self.create_user_context)

    async def track_event(
        self,
        event_name: str,
        context: UserContext | Mapping[str, Any],
        event_properties: Mapping[str, Any] | None = None,
    ) -> TrackResult:
        """Track an event in VWO's spelling; `context` is a user context, or a mapping with `id`.

        A mapping may also hold `user_agent`, `ip_address`, `session_id` and `custom_variables`, which
        become attributes. Raises what `UserContext.track_event` raises.
        """
        given: Any = context
        user: UserContext = given if is_a(given, UserContext) else context_of(given, self.create_user_context)
        return await user.track_event(event_name, event_properties)

    async def track_many(self, events: Events) -> BulkResult:
        """Track many events, for imports and bulk producers: constant memory, and one commit for many.

        `events` is an iterable or async iterable of `Event`s, or of mappings with `user_id` and `key`, and, where there
        is one, `tags`, `attributes`, `event_id`, `timestamp`, `to`, `user_agent`, `ip_address`, `session_id`. An event
        is taken when there is room for it: half of a buffer is left to others. While a destination is down that may be
        long; cancel the call, or close the client, to end it. Nothing is taken once the client closes.

        Raises what `events` raises, NotStarted, and with `strict=True` EventRefused for the first event that is
        refused; those that were taken before are tracked all the same, and a note of the exception has their number.
        """
        bulk = BulkTracking(self.create_user_context, self._threads.track_anywhere, lambda: self._pipeline.lanes)
        return await bulk.run(events)

    def on(self, hook_name: str, callback: Callable[..., object]) -> Callable[[], None]:
        """Add a listener without writing a plugin; return a function that removes it.

        Works at any time, for the listener hooks: `aiotrack_event_tracked(event)`,
        `aiotrack_event_refused(event, refusal)`, `aiotrack_event_lost(destination, lost, reason)`,
        `aiotrack_batch_sending(batch)`, `aiotrack_batch_delivered(batch, answer)`,
        `aiotrack_batch_failed(batch, answer)` and `aiotrack_catalog_updated(destination, catalog)`. Raises PluginError
        for any other.
        """
        return self._plugins.on(hook_name, callback)

    def stats(self) -> Stats:
        """Return a snapshot of all counters. Works in any state."""
        return self._counted(Stats)

    def health(self) -> Health:
        """Tell how the client is, for a readiness probe. Works in any state and from any thread.

        Failing: no event is accepted. Degraded: a destination is down, has no datafile yet, or its buffer takes no
        events. The reasons are sentences for an operator.
        """
        problem = self._state.problem
        if problem:
            return Health(HealthStatus.FAILING, (problem,))
        return Health.of_all(lane.health() for lane in self._pipeline.lanes)

    def _counted(self, kind: type[Counted]) -> Counted:
        return kind(
            lanes={lane.name: lane.stats() for lane in self._pipeline.lanes},
            refused=dict(self._pipeline.refusals.counts),
            plugins=self._plugins.stats(),
            routed_nowhere=self._pipeline.routed_nowhere,
        )

    # -- dead letters -------------------------------------------------------------------------------

    async def dead_letters(self) -> list[DeadLetter]:
        """Return the events that were refused for good or given up on, with the server's answer, by lane, oldest first.

        Their number is bounded, 10,000 a lane and 16 MiB: the oldest make way. Raises NotStarted and ClientClosed.
        """
        return await self._dead_letters.list()

    async def replay(self, letters: Iterable[DeadLetter]) -> int:
        """Put dead letters back into their lanes, as new events with the same bytes; return how many were taken.

        Those that were not, for want of room, stay dead letters. Raises NotStarted and ClientClosed.
        """
        return await self._dead_letters.replay(list(letters))

    async def forget(self, letters: Iterable[DeadLetter]) -> None:
        """Delete dead letters. Raises NotStarted and ClientClosed."""
        await self._dead_letters.forget(list(letters))

    # -- start and close ---------------------------------------------------------------------------------------

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run a plugin's coroutine as a task that the client owns: named, logged if it fails, cancelled at close."""
        return self._lifecycle.spawn(coro, name=name)

    async def start(self) -> None:
        """Open buffers and destinations, run the plugins' startup, begin to send. Does nothing when started.

        Raises StartError, with all that had started closed again; the client is closed then, too. Raises
        ClientClosed when it was closed before.
        """
        await self._lifecycle.start(self)

    async def flush(self, timeout: float | None = None) -> Report:
        """Send what is pending now, wait until it has ended, at most `timeout` seconds; report where all stands.

        None is `shutdown_timeout`, and `float("inf")` is as long as it takes. A destination that is failing is tried
        again at once, unless it said when to come back. Raises StateError, and ConfigError for a timeout that is no
        number.
        """
        await self._lifecycle.flush(timeout)
        return self._counted(Report)

    async def aclose(self, timeout: float | None = None) -> Report:
        """Flush and close, within `timeout` seconds; report where all stands.

        None is `shutdown_timeout`, and `float("inf")` is as long as it takes.

        Safe to call again, concurrently, from a plugin, and when cancelled: there is one closing, and it
        goes on. What a memory buffer still holds at the deadline is counted as dropped; a durable one keeps it.
        """
        await self._lifecycle.close(self, timeout)
        return self._counted(Report)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        unclosed = getattr(self, "_unclosed", None)  # absent when the constructor raised
        if unclosed is not None:
            unclosed.let_go(self)
