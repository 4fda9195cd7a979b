"""Events through a real loopback server: how many a second, for how much CPU, and the longest loop stall."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import deque
from collections.abc import Awaitable, Callable

import aiohttp
import orjson

import aiotrack
from aiotrack.event import new_event_id

from . import collector
from .per_call import ATTRIBUTES, TAGS, Listener

BATCH = 500
BREATH = 256
TICK = 0.001  # seconds

Figures = dict[str, float]


async def floor(url: str, events: int) -> None:
    """Build, encode and append in this task; a second one posts batches as they fill up."""
    entries: deque[bytes] = deque()
    full = asyncio.Event()
    done = False

    async def post() -> None:
        async with aiohttp.ClientSession() as session:
            while entries or not done:
                if len(entries) < BATCH and not done:
                    full.clear()
                    await full.wait()
                batch = [entries.popleft() for _ in range(min(BATCH, len(entries)))]
                if batch:
                    body = b"[" + b",".join(batch) + b"]"
                    async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
                        await response.read()

    posting = asyncio.create_task(post())
    for number in range(events):
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
        if len(entries) >= BATCH:
            full.set()
        if number % BREATH == 0:
            await asyncio.sleep(0)
    done = True
    full.set()
    await posting


async def ours(url: str, events: int) -> None:
    """Full checks, reserved tags and a listener."""
    async with aiotrack.Client(aiotrack.HTTPDestination(url), Listener(), batch_size=BATCH) as client:
        user = client.create_user_context("user123", ATTRIBUTES)
        for _ in range(events):
            await user.track_event("purchase", TAGS)
        report = await client.flush(timeout=120)
        total = client.stats().total
        assert report.delivered == total.accepted == events, report


async def _timed(run: Callable[[str, int], Awaitable[None]], url: str, events: int) -> Figures:
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        before = time.perf_counter()
        while True:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            longest, before = max(longest, now - before - TICK), now

    watching = asyncio.create_task(watch())
    wall, cpu = time.perf_counter(), time.process_time()
    await run(f"{url}/events", events)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    watching.cancel()
    counts = await collector.report(url)
    assert counts["events"] == counts["unique"] == events, counts
    return {"events/s": events / wall, "us CPU": cpu / events * 1e6, "stall ms": longest * 1e3}


async def measure(events: int, rounds: int) -> dict[str, list[Figures]]:
    """Run both in turn; the collector counts, and every event must arrive once."""
    figures: dict[str, list[Figures]] = {"floor: orjson + aiohttp": [], "aiotrack, checks, reserved tags, listener": []}
    async with collector.running() as url:
        await _timed(ours, url, 5_000)
        for _ in range(rounds):
            figures["floor: orjson + aiohttp"].append(await _timed(floor, url, events))
            figures["aiotrack, checks, reserved tags, listener"].append(await _timed(ours, url, events))
    return figures


def show(figures: dict[str, list[Figures]]) -> None:
    base = figures["floor: orjson + aiohttp"]
    print(f"\n{'end to end, batches of ' + str(BATCH):50} {'events/s':>9} {'us CPU':>8} {'x floor':>8} {'stall ms':>9}")
    for name, several in figures.items():
        middle = {key: statistics.median(one[key] for one in several) for key in several[0]}
        ratio = statistics.median(one["us CPU"] / floor["us CPU"] for one, floor in zip(several, base, strict=True))
        print(f"{name:50} {middle['events/s']:9,.0f} {middle['us CPU']:8.2f} {ratio:8.2f} {middle['stall ms']:9.1f}")
