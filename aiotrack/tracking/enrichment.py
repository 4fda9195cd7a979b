"""The one stage of an event that awaits plugins: `aiotrack_enrich_event`."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from aiotrack.model.errors import ClientClosed, EventRefused
from aiotrack.model.event import Event
from aiotrack.model.refusal import CLOSING, Reason, Refusal
from aiotrack.model.result import TrackResult
from aiotrack.model.state import NO_LOOP, ClientState

from .outcome import AS_LONG_AS_IT_TAKES, AT_ONCE, DEEPEST, RECURSION, Outcome, end_of

if TYPE_CHECKING:
    from aiotrack.model.tasks import Tasks

    from .changes import Changes
    from .user import To

__all__ = ["Enrichment"]

NEEDS_AWAIT = Refusal(Reason.NEEDS_AWAIT, "a plugin must await (aiotrack_enrich_event): use `await track_event(...)`")

_enriching: contextvars.ContextVar[int] = contextvars.ContextVar("aiotrack_enriching", default=0)


class Enrichment:
    """Has plugins enrich events; `finish` goes on with one, and `refuse` ends what goes no further."""

    def __init__(
        self,
        changes: Changes,
        state: ClientState,
        tasks: Tasks,
        finish: Callable[[Event, Event, To, float], Outcome],
        refuse: Callable[..., TrackResult],
        not_known: Callable[[str, str], TrackResult],
    ) -> None:
        self._changes = changes
        self._state = state
        self._tasks = tasks
        self._finish = finish
        self._refuse = refuse
        self._not_known = not_known

    def outcome(self, event: Event, made: Event, to: To, wait: float) -> Outcome:
        """Enrich an event; `made` is as the caller brought it, who may be held for `wait` seconds."""
        if wait == AT_ONCE:
            return self._refuse(event, NEEDS_AWAIT)
        enriched = self._enrich(event, made, to)
        return self._in_time(enriched, event, wait) if wait < AS_LONG_AS_IT_TAKES else enriched

    async def _enrich(self, event: Event, made: Event, to: To) -> TrackResult:
        depth = _enriching.get()
        if depth >= DEEPEST:
            return self._refuse(event, RECURSION, announce=False)
        deeper = _enriching.set(depth + 1)
        try:
            event = await self._changes.enrich(event)
        except EventRefused as dropped:
            return self._refuse(event, dropped.refusal)
        finally:
            _enriching.reset(deeper)
        if self._state.tracking_loop is NO_LOOP:
            return self._refuse(event, CLOSING)
        outcome = self._finish(event, made, to, AS_LONG_AS_IT_TAKES)
        return outcome if isinstance(outcome, TrackResult) else await outcome

    async def _in_time(self, enriched: Coroutine[Any, Any, TrackResult], event: Event, wait: float) -> TrackResult:
        """Wait for an event that is enriched, which goes on without its caller after so many seconds."""
        context = contextvars.copy_context()
        try:
            task = self._tasks.spawn(end_of(enriched), name="aiotrack track_event", context=context)
        except ClientClosed:
            enriched.close()
            return self._refuse(event, CLOSING)
        try:
            await asyncio.wait({task}, timeout=wait)
        except BaseException:
            task.cancel()
            raise
        if not task.done():
            return self._not_known(event.key, event.event_id)
        if task.cancelled():  # at the close, by which no plugin may be held up
            return self._refuse(event, CLOSING)
        end = task.result()
        if isinstance(end, Exception):
            raise end
        return end
