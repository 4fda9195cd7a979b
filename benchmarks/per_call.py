"""What one `await user.track_event(...)` costs, with nothing sent meanwhile."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence

import attrs
import orjson

import aiotrack
from aiotrack import hookimpl
from aiotrack.event import new_event_id

CALLS = 20_000
TAGS = {"revenue": 4200, "category": "shoes"}
ATTRIBUTES = {"logged_in": True}


class Nowhere(aiotrack.Destination):
    """Encodes as every JSON destination does, and takes everything."""

    kind = "nowhere"

    def frame(self, entries: Sequence[bytes], envelope: bytes) -> aiotrack.Request:
        return aiotrack.Request(url="nowhere:", body=b"")

    async def send(self, batch: aiotrack.Batch) -> aiotrack.Answer:
        return aiotrack.Answer()


class Checker:
    @hookimpl
    def aiotrack_check_event(self, event: aiotrack.Event) -> str | None:
        return None if len(event.key) < 100 else "the key is too long"


class Processor:
    @hookimpl
    def aiotrack_process_event(self, event: aiotrack.Event) -> aiotrack.Event:
        return event if event.session_id is None else attrs.evolve(event, session_id=None)


class Listener:
    def __init__(self) -> None:
        self.heard = 0

    @hookimpl
    def aiotrack_event_tracked(self, event: aiotrack.Event) -> None:
        self.heard += 1


async def floor() -> float:
    entries: list[bytes] = []
    started = time.perf_counter()
    for _ in range(CALLS):
        entries.append(
            orjson.dumps(
                {
                    "event_id": new_event_id(),
                    "event": "purchase",
                    "user_id": "user123",
                    "timestamp": int(time.time() * 1000),
                    "attributes": ATTRIBUTES,
                    "tags": TAGS,
                    "revenue": 4200,
                }
            )
        )
    return time.perf_counter() - started


def aiotrack_with(*plugins: type, block: Sequence[str] = ()) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        made = [plugin() for plugin in plugins]
        client = aiotrack.Client(Nowhere(), *made, block=block, batch_size=10**6, batch_bytes=10**9, flush_interval=60)
        async with client:
            user = client.create_user_context("user123", ATTRIBUTES)
            started = time.perf_counter()
            for _ in range(CALLS):
                await user.track_event("purchase", TAGS)
            return time.perf_counter() - started

    return run


CASES: dict[str, Callable[[], Awaitable[float]]] = {
    "floor: orjson + append": floor,
    "track_event, no plugins": aiotrack_with(block=["tags"]),
    "track_event, built-in checks and reserved tags": aiotrack_with(),
    "track_event, built-ins and one listener": aiotrack_with(Listener),
    "track_event, built-ins and three more plugins": aiotrack_with(Checker, Processor, Listener),
}


async def measure(rounds: int) -> dict[str, list[float]]:
    """Return microseconds a call, one figure for each round; the cases take turns."""
    figures: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(rounds + 1):
        for name, run in CASES.items():
            figures[name].append(await run() / CALLS * 1e6)
    return {name: several[1:] for name, several in figures.items()}  # the first round warms up


def show(figures: dict[str, list[float]]) -> None:
    base = figures["floor: orjson + append"]
    print(f"\n{'per call':50} {'us':>8} {'x floor':>8}")
    for name, several in figures.items():
        ratio = statistics.median(value / floor for value, floor in zip(several, base, strict=True))
        print(f"{name:50} {statistics.median(several):8.2f} {ratio:8.2f}")
