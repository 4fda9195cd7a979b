"""How the cost of a call grows with what is there: queue, attributes, tags, plugins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from .per_call import queueing
from .rounds import Column, Figures, Results, Section, in_turn
from .work import ATTRIBUTES, KEY, TAGS, USER, Listener, Nowhere

CALLS = 5_000


def case(queued: int = 0, attributes: int = 1, tags: int = 2, plugins: int = 0) -> Callable[[], Figures]:
    async def run() -> Figures:
        async with queueing(Nowhere(), *(Listener() for _ in range(plugins))) as client:
            filler = client.create_user_context(USER, ATTRIBUTES)
            for _ in range(queued):
                await filler.track_event(KEY, TAGS)
            user = client.create_user_context(USER, {f"attribute {number}": "gold" for number in range(attributes)})
            payload = {f"tag {number}": "shoes" for number in range(tags)}
            started = time.perf_counter()
            for _ in range(CALLS):
                await user.track_event(KEY, payload)
            return {"us": (time.perf_counter() - started) / CALLS * 1e6}

    return lambda: asyncio.run(run())


CASES: dict[str, Callable[[], Figures]] = {
    "empty queue, 1 attribute, 2 tags, no plugins": case(),
    "10,000 events queued": case(queued=10_000),
    "100,000 events queued": case(queued=100_000),
    "1,000,000 events queued": case(queued=1_000_000),
    "10 attributes": case(attributes=10),
    "50 attributes": case(attributes=50),
    "10 tags": case(tags=10),
    "50 tags": case(tags=50),
    "10 listeners": case(plugins=10),
    "50 listeners": case(plugins=50),
}


def measure(rounds: int, events: int) -> Results:
    return in_turn(CASES, max(rounds // 2, 1))


SECTION = Section("growth of one call", (Column("us", "{:.2f}"),), "us", measure)
