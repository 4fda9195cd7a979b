"""What a buffer costs: accepted events a second (committed, where it is durable), and bytes per queued event."""

from __future__ import annotations

import asyncio
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import aiotrack
from aiotrack.buffers.base import Buffer

from .rounds import Column, Figures, Results, Section, in_turn
from .work import ATTRIBUTES, KEY, TAGS, USER, Nowhere, floor_entry

CALLERS = 500  # at the same time, as in a busy server
EVENTS = 50_000
QUEUED = 50_000
MANY = 1_000_000

BUFFERS: dict[str, Callable[[Path], Buffer]] = {
    "memory": lambda folder: aiotrack.MemoryBuffer(2**40),
    "memory, spilling to a file": lambda folder: aiotrack.SpillBuffer(aiotrack.FileBuffer(folder)),
    "file, sync=normal": lambda folder: aiotrack.FileBuffer(folder, sync="normal"),
    "file, sync=full": lambda folder: aiotrack.FileBuffer(folder, sync="full"),
}


class Down(Nowhere):
    """Takes nothing, so that all is queued."""

    async def send(self, batch: aiotrack.Batch) -> aiotrack.Answer:
        await asyncio.Event().wait()
        raise AssertionError


async def _tracked(client: aiotrack.Client, events: int) -> None:
    user = client.create_user_context(USER, ATTRIBUTES)

    async def call() -> None:
        for _ in range(events // CALLERS):
            assert await user.track_event(KEY, TAGS)

    await asyncio.gather(*(call() for _ in range(CALLERS)))


async def _timed(make: Callable[[Path], Buffer]) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        client = aiotrack.Client(Down(), buffer=make(Path(folder)), shutdown_timeout=1.0)
        await client.start()
        wall, cpu = time.perf_counter(), time.process_time()
        await _tracked(client, EVENTS)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        total = client.stats().total
        assert total.accepted == total.pending == EVENTS
        await client.aclose()
        on_disk = sum(file.stat().st_size for file in Path(folder).rglob("*.seg"))  # noqa: ASYNC240
        return {"events/s": EVENTS / wall, "us CPU": cpu / EVENTS * 1e6, "bytes on disk": on_disk / EVENTS}


async def _weighed(make: Callable[[Path], Buffer]) -> Figures:
    """Return how many bytes of memory a queued event takes, and how many of them are not its own."""
    with tempfile.TemporaryDirectory() as folder:
        client = aiotrack.Client(Down(), buffer=make(Path(folder)), shutdown_timeout=1.0)
        await client.start()
        await _tracked(client, CALLERS * 4)
        tracemalloc.start()
        before, pending = tracemalloc.get_traced_memory()[0], client.stats().total.pending
        await _tracked(client, QUEUED)
        held = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        queued = client.stats().total.pending - pending
        await client.aclose()
        return {"bytes in memory": held / queued, "beyond its own": held / queued - len(floor_entry())}


def measure(rounds: int, events: int) -> Results:
    def timed(make: Callable[[Path], Buffer]) -> Callable[[], Figures]:
        return lambda: asyncio.run(_timed(make))

    results = in_turn({name: timed(make) for name, make in BUFFERS.items()}, max(rounds // 2, 1))
    for name, make in BUFFERS.items():
        weight = asyncio.run(_weighed(make))
        for one in results[name]:
            one.update(weight)
    return results


async def _million() -> Figures:
    """Queue a million events, one caller after the other, while the destination takes none; then close at once."""
    client = aiotrack.Client(Down(), buffer=aiotrack.MemoryBuffer(2**40), shutdown_timeout=0.1)
    await client.start()
    user = client.create_user_context(USER, ATTRIBUTES)
    figures: Figures = {}
    for part in ("first 100,000", "last 100,000"):
        started = time.process_time()
        for _ in range(100_000):
            await user.track_event(KEY, TAGS)
        figures[f"us CPU, {part}"] = (time.process_time() - started) * 10
        if part.startswith("first"):
            for _ in range(MANY - 200_000):
                await user.track_event(KEY, TAGS)
    assert client.stats().total.pending == MANY
    started = time.perf_counter()
    client.stats()
    figures["us stats()"] = (time.perf_counter() - started) * 1e6
    started = time.perf_counter()
    await client.aclose()
    figures["s to close"] = time.perf_counter() - started
    return figures


SECTION = Section(
    f"buffers, {CALLERS} callers at a time",
    (
        Column("events/s", "{:,.0f}"),
        Column("us CPU"),
        Column("bytes in memory", "{:.0f}"),
        Column("beyond its own", "{:.0f}"),
        Column("bytes on disk", "{:.0f}"),
    ),
    "events/s",
    measure,
)
MILLION = Section(
    "a million events while the destination is down",
    (
        Column("us CPU, first 100,000"),
        Column("us CPU, last 100,000"),
        Column("us stats()"),
        Column("s to close", "{:.2f}"),
    ),
    None,
    lambda rounds, events: in_turn({"memory": lambda: asyncio.run(_million())}, 1),
)
