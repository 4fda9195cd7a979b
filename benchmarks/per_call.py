"""What one call costs, with nothing sent meanwhile: by plugins, hooks, destinations and spelling."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiotrack

from .rounds import Column, Figures, Results, Section, in_turn
from .work import ATTRIBUTES, KEY, TAGS, USER, Checker, Enricher, Listener, Nowhere, Processor, floor_entry

CALLS = 20_000
QUEUEING: dict[str, Any] = {"batch_size": 10**7, "batch_bytes": 10**12, "flush_interval": 600, "shutdown_timeout": 0.1}

Track = Callable[[aiotrack.UserContext], Awaitable[None]]


def queueing(*plugins: object, **options: Any) -> aiotrack.Client:
    """Return a client that only queues."""
    return aiotrack.Client(*plugins, buffer=aiotrack.MemoryBuffer(2**40), **QUEUEING, **options)


async def awaited(user: aiotrack.UserContext) -> None:
    for _ in range(CALLS):
        await user.track_event(KEY, TAGS)


async def nowait(user: aiotrack.UserContext) -> None:
    for _ in range(CALLS):
        user.track_event_nowait(KEY, TAGS)


async def threadsafe(user: aiotrack.UserContext) -> None:
    """From another thread, which waits for the last one's result."""

    def work() -> None:
        for _ in range(CALLS):
            answer = user.track_event_threadsafe(KEY, TAGS)
        answer.result()

    await asyncio.to_thread(work)


def floor() -> Figures:
    entries: list[bytes] = []
    started = time.perf_counter()
    for _ in range(CALLS):
        entries.append(floor_entry())
    return {"us": (time.perf_counter() - started) / CALLS * 1e6}


def case(
    *plugins: Callable[[], object],
    destinations: int = 1,
    block: Sequence[str] = (),
    track: Track = awaited,
    ip_address: str | None = None,
) -> Callable[[], Figures]:
    async def run() -> Figures:
        made = [Nowhere(name=f"lane {number}") for number in range(destinations)]
        async with queueing(*made, *(plugin() for plugin in plugins), block=block) as client:
            user = client.create_user_context(USER, ATTRIBUTES, ip_address=ip_address)
            started = time.perf_counter()
            await track(user)
            return {"us": (time.perf_counter() - started) / CALLS * 1e6}

    return lambda: asyncio.run(run())


CASES: dict[str, Callable[[], Figures]] = {
    "floor: dict, orjson, append": floor,
    "no plugins at all": case(block=["tags"]),
    "built-in checks and reserved tags": case(),
    "built-ins, one listener": case(Listener),
    "built-ins, a check, a process hook, a listener": case(Checker, Processor, Listener),
    "built-ins, ten plugins": case(*[Checker] * 4, *[Processor] * 3, *[Listener] * 3),
    "built-ins, ten listeners": case(*[Listener] * 10),
    "built-ins, one async hook": case(Enricher),
    "two destinations": case(destinations=2),
    "three destinations": case(destinations=3),
    "track_event_nowait": case(track=nowait),
    "track_event_threadsafe": case(track=threadsafe),
}


def measure(rounds: int, events: int) -> Results:
    return in_turn(CASES, rounds, warm=True)


SECTION = Section("per call", (Column("us", "{:.2f}"),), "us", measure)
