"""The client for code without an event loop."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Concatenate, NoReturn, ParamSpec, Self

from aiotrack.buffers.dead_letters import DeadLetter
from aiotrack.client import Client
from aiotrack.model.catalog import Catalog
from aiotrack.model.errors import AiotrackError, ClientClosed, NotStarted
from aiotrack.model.event import Event, new_event_id
from aiotrack.model.forks import in_child, notice_fork
from aiotrack.model.health import Health, HealthStatus
from aiotrack.model.log import logger
from aiotrack.model.refusal import CLOSING, Reason, Refusal
from aiotrack.model.result import BulkFailure, BulkResult, Receipt, TrackResult
from aiotrack.model.settings import DEFAULTS, ConfigSource
from aiotrack.model.stats import Report, Stats
from aiotrack.model.values import UserId, is_a
from aiotrack.tracking.call import Call
from aiotrack.tracking.outcome import AT_ONCE
from aiotrack.tracking.user import context_of, loaded

from .background import Background
from .user import SyncUserContext

__all__ = ["SyncClient"]

P = ParamSpec("P")

AT_ONE_TIME = 500  # events of `track_many` that go to the client's thread together
MOST_LISTED = 1000  # failures
PAUSE = 60.0  # seconds after a start that failed, before the next call tries again


def _as_client(init: Callable[Concatenate[Client, P], None]) -> Callable[[Any], Callable[Concatenate[Any, P], None]]:
    """Have type checkers know the arguments of one constructor as those of another."""
    return lambda own: own


class SyncClient:
    """A `Client` for code without an event loop: the same options, plugins and results, and no `await`.

    One event loop runs in one thread, which starts with `with`, `start()` or the first event; a forked child starts its
    own. At the interpreter's end, and at that of a process of `multiprocessing` or Celery, what is pending is flushed
    within `shutdown_timeout`. Usable from any thread. Raises ConfigError and PluginError.
    """

    @_as_client(Client.__init__)
    def __init__(self, *plugins: object, **options: Any) -> None:
        self._make: Callable[[], Client] = lambda: Client(*plugins, **options)
        self._client = self._make()  # the next to be started; made now for what is wrong with the options
        self._strict = bool(options.get("strict"))
        self._start_timeout: float = options.get("start_timeout", DEFAULTS.start_timeout)
        self._shutdown_timeout: float = options.get("shutdown_timeout", DEFAULTS.shutdown_timeout)
        self._background: Background | None = None
        self._starting: Background | None = None
        self._lock = threading.RLock()
        self._failed: tuple[float, AiotrackError] | None = None
        self._is_closed = self._is_ended = False
        self._listeners: dict[object, tuple[str, Callable[..., object], Callable[[], None]]] = {}
        _all.add(self)

    @classmethod
    def from_config(cls, source: ConfigSource = None, *plugins: object, **options: Any) -> Self:
        """Make a client from a TOML file, a mapping, or the environment alone, as `Client.from_config` does."""
        from aiotrack.config import load  # noqa: PLC0415 - only those who configure pay for cattrs

        configured, settings = load(source)
        return cls(*configured, *plugins, **{**settings, **options})

    def __repr__(self) -> str:
        return f"<aiotrack.SyncClient of {self._client!r}>"

    def __reduce__(self) -> NoReturn:
        """Raise TypeError, for `copy` and `pickle`: a client has connections, files and a thread."""
        raise TypeError("a SyncClient can't be copied or pickled: make another one")

    # -- tracking -----------------------------------------------------------------------------------

    def create_user_context(
        self,
        user_id: UserId,
        attributes: Mapping[str, Any] | None = None,
        *,
        user_agent: str | None = None,
        ip_address: str | None = None,
        session_id: int | str | None = None,
    ) -> SyncUserContext:
        """Return a context that tracks events as this user. Starts nothing, and never raises."""
        values = self._client._values  # noqa: SLF001 - the same library's
        return SyncUserContext(self._track, None, values, user_id, attributes, user_agent, ip_address, session_id)

    def load_user(self, data: Mapping[str, Any]) -> SyncUserContext:
        """Return a context of the user that `dump` has described; anything else gives one that refuses its events."""
        return loaded(data, self.create_user_context)

    def track_event(
        self,
        event_name: str,
        context: SyncUserContext | Mapping[str, Any],
        event_properties: Mapping[str, Any] | None = None,
    ) -> TrackResult:
        """Track an event in VWO's spelling, as `Client.track_event` does."""
        given: Any = context
        user: SyncUserContext = given if is_a(given, SyncUserContext) else context_of(given, self.create_user_context)
        return user.track_event(event_name, event_properties)

    def track_many(self, events: Iterable[Event | Mapping[str, Any]]) -> BulkResult:
        """Track many events, as `Client.track_many` does. `events` is iterated over in the calling thread."""
        background = self._started()
        accepted = refused = taken = 0
        failures: list[BulkFailure] = []
        source = iter(events)
        while some := list(itertools.islice(source, AT_ONE_TIME)):
            result = background.call("track_many", functools.partial(background.client.track_many, some))
            accepted, refused = accepted + result.accepted, refused + result.refused
            listed = result.failures[: MOST_LISTED - len(failures)]
            failures += [BulkFailure(taken + one.place, one.event_id, one.refused) for one in listed]
            taken += len(some)
            if self._is_closed:
                break
        return BulkResult(accepted, refused, tuple(failures))

    def _track(self, call: Call, wait: float) -> TrackResult:
        background = self._background
        if background is None or background.process != os.getpid():
            try:
                background = self._started()
            except AiotrackError as exc:
                if self._strict:
                    raise
                refusal = CLOSING if self._is_closed else Refusal(Reason.NOT_READY, f"the client can't start: {exc}")
                return TrackResult(call.key, call.event_id or new_event_id(), (), {"client": refusal})
        threads = background.client._threads  # noqa: SLF001 - the same library's
        if background.is_here:  # a plugin's call, which can't wait for its own thread
            outcome = call.made_at(background.client._pipeline, AT_ONCE)  # noqa: SLF001
            assert isinstance(outcome, TrackResult)  # noqa: S101 - what AT_ONCE means
            return outcome
        return threads.track_blocking(call, wait)

    def delivered(self, result: TrackResult, timeout: float | None = None) -> Receipt:
        """Wait until an event is delivered or given up on, at most so many seconds: see `TrackResult.delivered`."""
        return self._started().call("delivered", lambda: result.delivered(timeout))

    # -- what the client knows ----------------------------------------------------------------------

    def on(self, hook_name: str, callback: Callable[..., object]) -> Callable[[], None]:
        """Add a listener, as `Client.on` does; it is called on the client's thread. Returns what removes it."""
        mark = object()
        with self._lock:
            self._listeners[mark] = hook_name, callback, self._client.on(hook_name, callback)

        def remove() -> None:
            with self._lock:
                found = self._listeners.pop(mark, None)
            if found is not None:
                found[2]()

        return remove

    @property
    def catalog(self) -> Catalog:
        """What the destinations know of their events now."""
        return self._client.catalog

    def stats(self) -> Stats:
        """Return a snapshot of all counters; a forked child has its own."""
        return self._client.stats()

    def health(self) -> Health:
        """Tell how the client is, for a readiness probe; one that will start with the first event is well."""
        return self._client.health() if self._background is not None or self._is_closed else Health(HealthStatus.OK, ())

    def dead_letters(self) -> list[DeadLetter]:
        """Return the events that were refused for good or given up on, as `Client.dead_letters` does."""
        background = self._started()
        return background.call("dead_letters", background.client.dead_letters)

    def replay(self, letters: Iterable[DeadLetter]) -> int:
        """Put dead letters back into their lanes; return how many were taken."""
        background, listed = self._started(), list(letters)
        return background.call("replay", lambda: background.client.replay(listed))

    def forget(self, letters: Iterable[DeadLetter]) -> None:
        """Delete dead letters."""
        background, listed = self._started(), list(letters)
        background.call("forget", lambda: background.client.forget(listed))

    # -- start and close ----------------------------------------------------------------------------

    def async_client(self) -> Client:
        """Return the client that runs in the thread, started where it is not: for code on an event loop of its own.

        Its awaited calls are taken over to the thread's loop, and hold the caller's no longer than that takes. Raises
        StartError and ClientClosed.
        """
        return self._started().client

    def start(self) -> None:
        """Start the thread and the client in it. Does nothing when started. Raises StartError and ClientClosed."""
        self._failed = None
        self._started()

    def flush(self, timeout: float | None = None) -> Report:
        """Send what is pending now, and wait until it has ended, at most `timeout` seconds, as `Client.flush` does."""
        background = self._started()
        limit = self._shutdown_timeout if timeout is None else timeout
        with contextlib.suppress(TimeoutError):  # something holds the client's thread up
            background.call("flush", lambda: background.client.flush(timeout), limit)
        return self._client._counted(Report)  # noqa: SLF001 - the same library's

    def close(self, timeout: float | None = None) -> Report:
        """Flush and close within `timeout` seconds, as `Client.aclose` does, and end the thread. Safe to call again."""
        with self._lock:
            self._is_closed = True
            background = self._background
            if background is not None and not self._is_ended:
                background.close(self._shutdown_timeout if timeout is None else timeout)
                self._is_ended = True
        return self._client._counted(Report)  # noqa: SLF001 - the same library's

    def _started(self) -> Background:
        """Return the client's thread, and start it where there is none yet. Raises StartError and ClientClosed."""
        notice_fork()
        with self._lock:
            if self._background is not None:
                return self._background
            if self._is_closed:
                raise ClientClosed("the client is closed; a client never reopens, make a new one")
            if self._failed is not None and time.monotonic() < self._failed[0]:
                raise self._failed[1]
            if self._starting is not None:  # a signal handler that tracks, while this very thread is in here
                raise NotStarted("the client is starting")
            self._starting = background = Background(self._client, self._shutdown_timeout)
            try:
                background.start(self._start_timeout)
            except AiotrackError as exc:
                logger.error("a SyncClient can't start, and refuses events for %g s: %s", PAUSE, exc)
                self._failed = time.monotonic() + PAUSE, exc
                self._renew()
                raise
            finally:
                self._starting = None
            self._background = background
            weakref.finalize(self, background.end).atexit = False
            return background

    def _renew(self) -> None:
        """Make another client of the same plugins and options."""
        self._client = self._make()
        for mark, (hook_name, callback, _) in self._listeners.items():
            self._listeners[mark] = hook_name, callback, self._client.on(hook_name, callback)

    def after_fork(self) -> None:
        """In a forked child: begin anew, with the first use."""
        self._lock = threading.RLock()
        left = self._starting or self._background
        if left is not None and not self._is_ended:
            left.abandon()
            self._starting = self._background = None
            self._renew()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


_all: weakref.WeakSet[SyncClient] = weakref.WeakSet()


def _in_child() -> None:
    for client in _all:
        client.after_fork()


in_child(_in_child)
