"""Tracking from other threads and event loops: the call is carried to the client's loop, and its result back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import copy
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, cast

import attrs

from aiotrack.buffers.base import MIB
from aiotrack.model.clock import milliseconds
from aiotrack.model.encoding import dumps, is_flat_json
from aiotrack.model.errors import ClientClosed, WrongLoop
from aiotrack.model.event import new_event_id
from aiotrack.model.other_loops import Withdrawn, answer_of, watch
from aiotrack.model.refusal import Reason, Refusal
from aiotrack.model.result import TrackResult
from aiotrack.model.state import ClientState, state_error
from aiotrack.model.values import is_a

from .call import Call
from .outcome import AS_LONG_AS_IT_TAKES, AT_ONCE, end_of
from .validation import copied

if TYPE_CHECKING:
    from aiotrack.model.clock import Clock
    from aiotrack.model.tasks import Tasks
    from aiotrack.model.values import JSONValues

    from .outcome import Outcome
    from .pipeline import Pipeline

__all__ = ["ThreadsafeTracking"]

MOST_BYTES = 64 * MIB  # of calls that are not answered yet
CALL_BYTES = 2 * 1024  # of one, beside its tags
LATE = 0.05  # seconds for the client's event loop to say how a call ended whose time is up there
TURN = 64  # calls before the event loop gets a turn

THREADSAFE = "track_event_threadsafe"

ResultFuture = concurrent.futures.Future[TrackResult]


class ThreadsafeTracking:
    """Calls from threads that are not the event loop's. They are bounded in bytes, and many wake the loop up once."""

    def __init__(
        self,
        pipeline: Pipeline,
        state: ClientState,
        values: JSONValues,
        tasks: Tasks,
        clock: Clock,
        timeout: float,
    ) -> None:
        self._pipeline = pipeline
        self._state = state
        self._values = values
        self._tasks = tasks
        self._clock = clock
        self._timeout = timeout
        self._calls: deque[Callable[[], None]] = deque()
        self._bytes = 0
        self._awake = False  # whether the loop will look at the calls
        self._lock = threading.RLock()

    def track(self, call: Call, wait: float = AS_LONG_AS_IT_TAKES) -> ResultFuture:
        """Track an event as it is now; return a future of the result. The loop holds it for `wait` seconds at most."""
        state = self._state
        loop = state.loop
        if not state.takes_no_more and (loop is None or loop.is_closed() or state.process != os.getpid()):
            raise state_error(state, THREADSAFE)
        answer = ResultFuture()
        call, size = self._as_it_is_now(call)

        def track() -> Outcome:
            return call.made_at(self._pipeline, wait)

        context = contextvars.copy_context()  # the caller's: plugins may look there for a request, a user or a trace

        def make() -> None:
            if not answer.done() and answer.set_running_or_notify_cancel():
                outcome = context.run(_now, answer, track)
                if outcome is not None:
                    context.run(self._wait, answer, outcome, track)

        if state.takes_no_more or loop is None:  # refused, which needs no loop
            make()
        elif self._take(make, size, loop):
            answer.add_done_callback(lambda _: self._answered(size))
            watch(answer, loop, THREADSAFE)
        else:
            message = f"calls from threads with {self._bytes} bytes are not answered yet"
            _now(answer, lambda: self._refuse(call, message))
        return answer

    def _as_it_is_now(self, call: Call) -> tuple[Call, int]:
        """Return a call that nothing changes any more, and the bytes to count for it."""
        tags, size = self._tags_as_they_are_now(call.tags)
        event_id = new_event_id() if call.event_id is None else call.event_id
        timestamp = milliseconds(self._clock.time()) if call.timestamp is None else call.timestamp
        return Call(copy.copy(call.user), call.key, tags, event_id, timestamp, call.to), CALL_BYTES + size

    def _tags_as_they_are_now(self, tags: Any) -> tuple[Any, int]:
        """Return tags that nothing changes any more, and their size; what can't be right is refused soon enough."""
        own = tags.copy() if type(tags) is dict else copied(tags)
        if type(own) is dict and is_flat_json(own):
            with contextlib.suppress(Exception):  # a lone surrogate, an odd key: look closer
                return own, len(dumps(own))
        if not is_a(tags, Mapping):
            return tags, 0
        own, problems = self._values.convert(own, "tags")
        return (tags, 0) if problems else (own, len(dumps(own)))

    def _refuse(self, call: Call, message: str) -> TrackResult:
        refusal = Refusal(Reason.BUFFER_FULL, message)
        return self._pipeline.refuse_unannounced(call.key, cast("str", call.event_id), refusal)

    def track_anywhere(self, call: Call) -> Outcome:
        """Track an event on the client's event loop, or from another one."""
        try:
            return call.made_at(self._pipeline, AS_LONG_AS_IT_TAKES)
        except WrongLoop:
            return self.track_from_another_loop(call, AS_LONG_AS_IT_TAKES)

    async def track_from_another_loop(self, call: Call, wait: float) -> TrackResult:
        """Track an event on the client's event loop, and wait for the result on another, at most so many seconds.

        Raises StateError where the client's does not run.
        """
        self._state.home_elsewhere("track_event")
        call = _with_id(call)
        answer = self.track(call, wait)
        try:
            return await answer_of(answer, "track_event", min(wait, self._timeout), min(wait + LATE, 2 * self._timeout))
        except Withdrawn as late:
            return self._refuse(call, str(late))
        except TimeoutError:
            return self._pipeline.not_known(call.key, cast("str", call.event_id))

    def track_blocking(self, call: Call, wait: float) -> TrackResult:
        """Track an event on the client's event loop, and block this thread for the result, at most so many seconds."""
        call = _with_id(call)
        answer = self.track(call, wait)
        begin = self._timeout if wait == AT_ONCE else min(wait, self._timeout)
        try:
            return answer.result(begin)
        except TimeoutError:
            if answer.cancel():
                return self._refuse(call, f"the client's event loop did not take the call within {begin:g} s")
        try:
            return answer.result(max(min(wait + LATE, 2 * self._timeout) - begin, LATE))
        except TimeoutError:
            return self._pipeline.not_known(call.key, cast("str", call.event_id))

    def _take(self, call: Callable[[], None], size: int, loop: asyncio.AbstractEventLoop) -> bool:
        """Have the loop make a call, if there is room for it; tell whether there is."""
        with self._lock:
            if self._bytes and self._bytes + size > MOST_BYTES:
                return False
            self._bytes += size
            self._calls.append(call)
            asleep = not self._awake
            self._awake = True
        if asleep:
            loop.call_soon_threadsafe(self._make_calls)
        return True

    def _answered(self, size: int) -> None:
        with self._lock:
            self._bytes -= size

    def _make_calls(self) -> None:
        """On the loop: make the calls that are here, some in a turn."""
        next_turn = asyncio.get_running_loop().call_soon(self._make_calls)  # whatever a call may raise
        for _ in range(TURN):
            with self._lock:
                if not self._calls:
                    self._awake = False
                    next_turn.cancel()
                    return
                call = self._calls.popleft()
            call()

    def _wait(
        self, answer: ResultFuture, outcome: Coroutine[Any, Any, TrackResult], track: Callable[[], Outcome]
    ) -> None:
        """Hand a coroutine's end to another thread, whatever becomes of the task that waits for it."""
        name = "aiotrack track_event_threadsafe"
        task = self._tasks.spawn(end_of(outcome), name=name, context=contextvars.copy_context())

        def ended(task: asyncio.Task[TrackResult | Exception]) -> None:
            if not task.cancelled():
                _give(answer, task.exception() or task.result())
                return
            outcome.close()
            if self._state.takes_no_more:  # the lanes have answered, so a plugin still held it, and now it is refused
                _now(answer, track)
            else:
                _give(answer, ClientClosed(f"{THREADSAFE}: the task that waited was cancelled"))

        task.add_done_callback(ended)


def _with_id(call: Call) -> Call:
    """Give a call the id that its event will have, for a result that may have to be made elsewhere."""
    return call if call.event_id is not None else attrs.evolve(call, event_id=new_event_id())


def _give(answer: ResultFuture, end: TrackResult | BaseException) -> None:
    with contextlib.suppress(concurrent.futures.InvalidStateError):  # it has failed: the loop had stopped for a while
        if isinstance(end, TrackResult):
            answer.set_result(end)
        else:
            answer.set_exception(end)


def _now(answer: ResultFuture, track: Callable[[], Outcome]) -> Coroutine[Any, Any, TrackResult] | None:
    """Track, and answer at once if that is possible; else return the coroutine that ends in the answer."""
    try:
        outcome = track()
    except Exception as exc:  # noqa: BLE001 - it belongs to the thread that waits
        _give(answer, exc)
        return None
    if isinstance(outcome, TrackResult):
        _give(answer, outcome)
        return None
    return outcome
