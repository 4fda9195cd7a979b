"""Weekends, limits, segments and counters for aiotrack."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import attrs

import aiotrack

__all__ = ["Counts", "Segment", "Weekend", "plugin"]

DAY = 86_400_000  # milliseconds; 1970-01-01 was a Thursday

Segment = Callable[[str], Awaitable[str | None]]
"""Look up the segment of a user by the user's id; None when there is none."""


@attrs.define
class Counts:
    """What was counted: `tracked` and `failed` since the start, `minute` in the current minute."""

    tracked: int = 0
    failed: int = 0
    minute: int = 0


class Weekend(aiotrack.Plugin):
    """Refuse purchases above `limit`, tag events that happen at a weekend, add the user's segment, and count.

    `limit` is in minor units, as `revenue` is. `segment` is an async function; without it the plugin has no async
    hook, so that `track_event_nowait` goes on working.
    """

    name = "weekend"

    def __init__(self, limit: int = 1_000_000, segment: Segment | None = None) -> None:
        self.limit = limit
        self.counts = Counts()
        self._segment = segment
        if segment is None:  # an instance without this hook: it costs nothing, and nobody has to await
            self.aiotrack_enrich_event = None  # type: ignore[method-assign, assignment]

    @aiotrack.hookimpl
    def aiotrack_check_event(self, event: aiotrack.Event) -> aiotrack.Problem | None:
        """Refuse purchases above the limit."""
        if event.key == "purchase" and event.reserved.get("revenue", 0) > self.limit:
            return aiotrack.Problem("tags.revenue", f"at most {self.limit}", "more")
        return None

    @aiotrack.hookimpl
    def aiotrack_process_event(self, event: aiotrack.Event) -> aiotrack.Event:
        """Say whether it was a weekend, in UTC."""
        weekday = (event.timestamp // DAY + 3) % 7  # Monday is 0; any integer will do, unlike `datetime`
        return attrs.evolve(event, tags={**event.tags, "weekend": weekday >= 5})

    @aiotrack.hookimpl
    async def aiotrack_enrich_event(self, event: aiotrack.Event) -> aiotrack.Event:
        """Add the user's segment to this event's attributes."""
        segment = await self._segment(event.user_id) if self._segment else None
        if segment is None:
            return event
        return attrs.evolve(event, attributes={**event.attributes, "segment": segment})

    @aiotrack.hookimpl
    def aiotrack_event_tracked(self, event: aiotrack.Event) -> None:
        """Count it."""
        self.counts.tracked += 1
        self.counts.minute += 1

    @aiotrack.hookimpl
    def aiotrack_batch_failed(self, batch: aiotrack.Batch, answer: aiotrack.Answer) -> None:
        """Count a request that failed; each attempt is one."""
        self.counts.failed += 1

    @aiotrack.hookimpl
    async def aiotrack_startup(self, client: aiotrack.Client) -> None:
        """Begin to count minutes."""
        client.spawn(self._minutes(client), name="weekend minutes")

    async def _minutes(self, client: aiotrack.Client) -> None:
        while True:
            self.counts.minute = 0
            await _sleep(client, 60)


async def _sleep(client: aiotrack.Client, seconds: float) -> None:
    """Sleep by the client's clock, so that a frozen clock can be advanced past it."""
    over = asyncio.Event()
    timer = client.clock.call_later(seconds, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()


plugin = Weekend()
