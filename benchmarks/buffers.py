"""What a buffer costs: accepted events a second (committed, where it is durable), and bytes per queued event."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import aiotrack
from aiotrack.buffer import Buffer

from .per_call import ATTRIBUTES, TAGS, Nowhere

CALLERS = 500  # at the same time, as in a busy server
EVENTS = 50_000
QUEUED = 50_000

Figures = dict[str, float]
BUFFERS: dict[str, Callable[[Path], Buffer]] = {
    "memory": lambda folder: aiotrack.MemoryBuffer(),
    "memory, spilling to a file": lambda folder: aiotrack.SpillBuffer(aiotrack.FileBuffer(folder)),
    "file, sync=normal": lambda folder: aiotrack.FileBuffer(folder, sync="normal"),
    "file, sync=full": lambda folder: aiotrack.FileBuffer(folder, sync="full"),
}


class Waiting(Nowhere):
    """Takes nothing, so that all is queued."""

    async def send(self, batch: aiotrack.Batch) -> aiotrack.Answer:
        await asyncio.Event().wait()
        raise AssertionError


async def _tracked(client: aiotrack.Client, events: int) -> None:
    user = client.create_user_context("user123", ATTRIBUTES)

    async def call() -> None:
        for _ in range(events // CALLERS):
            assert await user.track_event("purchase", TAGS)

    await asyncio.gather(*(call() for _ in range(CALLERS)))


async def _timed(make: Callable[[Path], Buffer], events: int) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        client = aiotrack.Client(Waiting(), buffer=make(Path(folder)), shutdown_timeout=1.0)
        await client.start()
        wall, cpu = time.perf_counter(), time.process_time()
        await _tracked(client, events)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        total = client.stats().total
        assert total.accepted == total.pending == events
        on_disk = sum(file.stat().st_size for file in Path(folder).iterdir())  # noqa: ASYNC240
        await client.aclose()
        return {"events/s": events / wall, "us CPU": cpu / events * 1e6, "bytes on disk": on_disk / events}


async def _weighed(make: Callable[[Path], Buffer]) -> float:
    """Return how many bytes of memory a queued event takes, beyond its encoded size where that is in memory."""
    with tempfile.TemporaryDirectory() as folder:
        client = aiotrack.Client(Waiting(), buffer=make(Path(folder)), shutdown_timeout=1.0)
        await client.start()
        await _tracked(client, CALLERS * 4)
        tracemalloc.start()
        before, pending = tracemalloc.get_traced_memory()[0], client.stats().total.pending
        await _tracked(client, QUEUED)
        held = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        queued = client.stats().total.pending - pending
        await client.aclose()
        return held / queued


def measure(rounds: int, events: int = EVENTS) -> dict[str, list[Figures]]:
    """Take turns; each round has all buffers."""
    figures: dict[str, list[Figures]] = {name: [] for name in BUFFERS}
    for _ in range(rounds):
        for name, make in BUFFERS.items():
            figures[name].append(asyncio.run(_timed(make, events)))
    for name, make in BUFFERS.items():
        weight = asyncio.run(_weighed(make))
        for one in figures[name]:
            one["bytes in memory"] = weight
    return figures


def show(figures: dict[str, list[Figures]]) -> None:
    base = figures["memory"]
    print(
        f"\n{'buffers, ' + str(CALLERS) + ' callers at a time':38}"
        f" {'events/s':>9} {'us CPU':>7} {'x memory':>9} {'in memory':>10} {'on disk':>8}"
    )
    for name, several in figures.items():
        middle = {key: statistics.median(one[key] for one in several) for key in several[0]}
        pairs = zip(several, base, strict=True)
        ratio = statistics.median(one["events/s"] / memory["events/s"] for one, memory in pairs)
        print(
            f"{name:38} {middle['events/s']:9,.0f} {middle['us CPU']:7.1f} {ratio:9.2f}"
            f" {middle['bytes in memory']:8.0f} B {middle['bytes on disk']:6.0f} B"
        )
