"""Many events at once, for imports and bulk producers: constant memory, one commit for many, results counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from aiotrack.model.event import NO_TAGS, Event
from aiotrack.model.refusal import Problem, Reason
from aiotrack.model.result import BulkFailure, BulkResult, TrackResult
from aiotrack.model.tasks import wake
from aiotrack.model.values import is_a, kind_of, text_of

from .call import Call

if TYPE_CHECKING:
    from aiotrack.lanes.lane import Lane

    from .outcome import Outcome
    from .user import User

__all__ = ["BulkTracking", "Events"]

AT_ONCE = 256  # events that are on their way in: a durable buffer commits them together
TURN = 64  # events before the event loop gets a turn
MOST_LISTED = 1000  # failures; more are counted

OF_USER = ("user_id", "attributes", "user_agent", "ip_address", "session_id")
OF_EVENT = ("key", "tags", "event_id", "timestamp", "to")
FIELDS = (*OF_USER, *OF_EVENT)

Events = Iterable[Event | Mapping[str, Any]] | AsyncIterable[Event | Mapping[str, Any]]
"""What `Client.track_many` takes."""


class BulkTracking:
    """One call of `Client.track_many`: events are taken one after the other, and end when they may.

    `create` makes user contexts, `track` makes a call of one, and `lanes` are those of the client.
    """

    def __init__(
        self,
        create: Callable[..., User],
        track: Callable[[Call], Outcome],
        lanes: Callable[[], Iterable[Lane]],
    ) -> None:
        self._create = create
        self._track = track
        self._lanes = lanes
        self._taken = self._accepted = self._refused = 0
        self._failures: list[BulkFailure] = []
        self._error: Exception | None = None
        self._is_over = False  # because something raised, or the client closes
        self._tasks: set[asyncio.Task[None]] = set()
        self._fewer: asyncio.Future[None] | None = None

    async def run(self, events: Events) -> BulkResult:
        """Track all events. Raises what their source raises, and what tracking one raises."""
        try:
            try:
                await self._take_all(_each_of(events))
            except Exception as exc:  # noqa: BLE001 - raised when the others have ended
                self._error = self._error or exc
            await self._all_ended()
        except BaseException:
            for task in self._tasks:
                task.cancel()
            await self._all_ended()
            raise
        if self._error is not None:
            self._error.add_note(f"track_many: {self._taken} events were taken, and {self._accepted} accepted")
            raise self._error
        failures = sorted(self._failures, key=lambda failure: failure.place)
        return BulkResult(self._accepted, self._refused, tuple(failures))

    async def _all_ended(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _take_all(self, events: AsyncGenerator[object]) -> None:
        async with contextlib.aclosing(events):
            async for event in events:
                for lane in self._lanes():
                    await lane.wait_for_room()
                place = self._taken
                self._taken = place + 1
                outcome = self._begin(event)
                if isinstance(outcome, TrackResult):
                    self._count(place, outcome)
                else:
                    task = asyncio.create_task(self._end(place, outcome), name="aiotrack track_many")
                    self._tasks.add(task)
                    task.add_done_callback(self._ended)
                if self._is_over:
                    return
                if self._taken % TURN == 0:
                    await asyncio.sleep(0)
                if len(self._tasks) >= AT_ONCE:
                    self._fewer = asyncio.get_running_loop().create_future()
                    await self._fewer

    def _begin(self, event: object) -> Outcome:
        if is_a(event, Event):
            event = cast("Event", event)
            user = self._create(
                event.user_id,
                event.attributes,
                user_agent=event.user_agent,
                ip_address=event.ip_address,
                session_id=event.session_id,
            )
            tags = None if event.tags is NO_TAGS else event.tags
            return self._track(Call(user, event.key, tags, event.event_id, event.timestamp))
        fields, problem = _fields_of(event)
        user_id, attributes, *others = OF_USER
        user = self._create(fields.get(user_id), fields.get(attributes), **{name: fields.get(name) for name in others})
        user.problem = problem or user.problem
        key: Any = fields.get("key")
        return self._track(Call(user, key, **{name: fields.get(name) for name in OF_EVENT if name != "key"}))

    async def _end(self, place: int, outcome: Coroutine[Any, Any, TrackResult]) -> None:
        try:
            self._count(place, await outcome)
        except Exception as exc:  # noqa: BLE001 - raised when all have ended
            self._is_over = True
            self._error = self._error or exc

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if len(self._tasks) <= AT_ONCE // 2:  # together, so that they are committed together
            wake(self._fewer)

    def _count(self, place: int, result: TrackResult) -> None:
        if result:
            self._accepted += 1
        if not result.refused:
            return
        self._refused += 1
        if len(self._failures) < MOST_LISTED:
            self._failures.append(BulkFailure(place, result.event_id, dict(result.refused)))
        if any(refusal.reason == Reason.CLOSING for refusal in result.refused.values()):
            self._is_over = True


async def _each_of(events: object) -> AsyncGenerator[object]:
    """Iterate over events. Raises TypeError for what is no source of any."""
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield event
    elif isinstance(events, Iterable) and not isinstance(events, str | bytes | Mapping):
        for event in events:
            yield event
    else:
        raise TypeError(f"track_many: expected an iterable or async iterable of events, got {kind_of(events)}")


def _fields_of(event: object) -> tuple[dict[str, Any], Problem | None]:
    """Read an event in the form of a mapping; say what is wrong with one that can't be read."""
    if not is_a(event, Mapping):
        return {}, Problem("event", "an aiotrack.Event or a mapping", kind_of(event))
    try:
        fields = dict(cast("Mapping[str, Any]", event))
    except Exception as exc:  # noqa: BLE001 - a mapping of the caller's own making
        return {}, Problem("event", "a mapping that can be read", kind_of(exc))
    for name in fields:
        text = text_of(name) if is_a(name, str) else None
        if text not in FIELDS:
            got = kind_of(name) if text is None else repr(text[:100])
            return {}, Problem("event", f"the fields {', '.join(FIELDS)}", got)
    return fields, None
