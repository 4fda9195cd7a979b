"""Optimizely: one tracked event here and with the official SDK, and the bridge beside the official processor.

`python plugins/aiotrack-optimizely/benchmarks/track.py`. One run, the cases in turn, medians.
"""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import threading
import time
from typing import Any

import optimizely.optimizely
from optimizely.logger import NoOpLogger

import aiotrack
from aiotrack.testing import Collector, Reply, until
from aiotrack_optimizely import Optimizely

CALLS, ROUNDS, THREADS, DECISIONS = 5_000, 5, 4, 250
TAGS = {"revenue": 4200, "value": 13.5, "category": "shoes"}
ATTRIBUTES = {"plan": "gold", "logged_in": True}
EXPERIMENT = {
    "id": "exp-1",
    "key": "rule",
    "status": "Running",
    "layerId": "layer-1",
    "audienceIds": [],
    "forcedVariations": {},
    "variations": [{"id": "v-1", "key": "on", "featureEnabled": True, "variables": []}],
    "trafficAllocation": [{"entityId": "v-1", "endOfRange": 10000}],
}
DATAFILE = {
    "version": "4",
    "accountId": "12001",
    "projectId": "555",
    "revision": "7",
    "sendFlagDecisions": True,
    "events": [{"id": "901", "key": "purchase", "experimentIds": []}],
    "attributes": [{"id": "77", "key": "plan"}, {"id": "78", "key": "logged_in"}],
    "experiments": [EXPERIMENT],
    "featureFlags": [{"id": "f-1", "key": "flag", "experimentIds": ["exp-1"], "rolloutId": "", "variables": []}],
    **{key: [] for key in ("groups", "audiences", "rollouts")},
}


class Queue:
    """The official client's cheapest processor: it keeps the event and does nothing."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def process(self, event: object) -> None:
        self.events.append(event)


async def ours() -> float:
    destination = Optimizely(datafile=DATAFILE, events_url="http://127.0.0.1:9/")
    options: dict[str, Any] = {"batch_size": 10**6, "batch_bytes": 10**9, "flush_interval": 60, "shutdown_timeout": 0}
    async with aiotrack.Client(destination, **options) as client:
        user = client.create_user_context("user123", ATTRIBUTES)
        started = time.perf_counter()
        for _ in range(CALLS):
            await user.track_event("purchase", TAGS)
        return (time.perf_counter() - started) / CALLS * 1e6


def official() -> float:
    client = optimizely.optimizely.Optimizely(json.dumps(DATAFILE), event_processor=Queue(), logger=NoOpLogger())
    user = client.create_user_context("user123", ATTRIBUTES)
    started = time.perf_counter()
    for _ in range(CALLS):
        user.track_event("purchase", TAGS)
    return (time.perf_counter() - started) / CALLS * 1e6


def decide_and_track(client: Any) -> list[threading.Thread]:
    def work(number: int) -> None:
        user = client.create_user_context(f"user {number}", ATTRIBUTES)
        for _ in range(DECISIONS):
            user.decide("flag")
            user.track_event("purchase", TAGS)

    return [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]


async def threads_done(threads: list[threading.Thread]) -> float:
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):  # noqa: ASYNC110 - a thread has no event to wait for
        await asyncio.sleep(0.001)
    return (time.perf_counter() - started) / (THREADS * DECISIONS * 2) * 1e6


def arrived(collector: Collector) -> int:
    return sum(len(request.json()["visitors"]) for request in collector.requests)


async def bridge() -> tuple[float, int]:
    async with Collector(default=Reply(status=204)) as collector:
        destination = Optimizely(datafile=DATAFILE, events_url=collector.url)
        client = optimizely.optimizely.Optimizely(
            json.dumps(DATAFILE), event_processor=destination.event_processor(), logger=NoOpLogger()
        )
        async with aiotrack.Client(destination):
            cost = await threads_done(decide_and_track(client))
        return cost, arrived(collector)


async def official_processor() -> tuple[float, int]:
    from optimizely.event.event_factory import EventFactory

    async with Collector(default=Reply(status=204)) as collector:
        EventFactory.EVENT_ENDPOINTS = {"US": collector.url, "EU": collector.url}
        client = optimizely.optimizely.Optimizely(
            json.dumps(DATAFILE), event_processor_options={"batch_size": 500, "flush_interval": 1}, logger=NoOpLogger()
        )
        cost = await threads_done(decide_and_track(client))
        closing = asyncio.create_task(asyncio.to_thread(client.close))
        await until(closing.done, timeout=30)
        return cost, arrived(collector)


async def main() -> None:
    logging.disable(logging.ERROR)
    tracked: dict[str, list[float]] = {"aiotrack-optimizely": [], "optimizely-sdk, queueing only": []}
    for _ in range(ROUNDS):
        tracked["aiotrack-optimizely"].append(await ours())
        tracked["optimizely-sdk, queueing only"].append(official())
    print(f"{'one tracked event, two attributes, both reserved tags':60} {'us':>8}")
    for name, several in tracked.items():
        print(f"{name:60} {statistics.median(several):8.2f}")
    total = THREADS * DECISIONS * 2
    print(f"\n{THREADS} threads deciding and tracking, {total} events in all{'':18} {'us an event':>12} {'arrived':>8}")
    for name, run in {"through the bridge": bridge, "official processor, batches of 500": official_processor}.items():
        results = [await run() for _ in range(ROUNDS)]
        cost, count = statistics.median(cost for cost, _ in results), min(count for _, count in results)
        print(f"{name:60} {cost:12.1f} {count:8}")


if __name__ == "__main__":
    asyncio.run(main())
