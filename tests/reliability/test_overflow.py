"""50,000 events to a silent endpoint, under each policy: bounded memory, no thread or task more, exact counters."""

import asyncio
import threading
from pathlib import Path

import pytest
from faults import silent, tcp_server
from support import Recorder, assert_conserved

import aiotrack
from aiotrack.testing import ManualClock, until

EVENTS = 50_000
MAX_BYTES = 2 * 1024 * 1024
TAGS = {"text": "x" * 100}


def resident():
    """Return the process's memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def ours():
    return sum(task.get_name().startswith("aiotrack") for task in asyncio.all_tasks())


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize("overflow", ["wait", "drop_newest", "drop_oldest"])
async def test_a_silent_endpoint_costs_no_more_than_the_buffer(overflow, kind, tmp_path):
    clock = ManualClock()
    buffer = (
        aiotrack.MemoryBuffer(MAX_BYTES) if kind == "memory" else aiotrack.FileBuffer(tmp_path, MAX_BYTES, "normal")
    )
    async with tcp_server(silent) as url:
        client = aiotrack.Client(
            aiotrack.HTTPDestination(url), buffer=buffer, overflow=overflow, overflow_timeout=1.0, clock=clock
        )
        await client.start()
        user = client.create_user_context("u")
        assert await user.track_event("k", TAGS)
        threads, tasks, memory = threading.active_count(), ours(), resident()
        accepted = 1

        async def track(count):
            nonlocal accepted
            for _ in range(count):
                result = await user.track_event("k", TAGS)
                accepted += bool(result)

        async def let_callers_be_held_too_long():
            while True:
                await until(lambda: clock.next_timer is not None and clock.next_timer <= 1.0, timeout=60)
                clock.advance(1.0)
                await asyncio.sleep(0)

        ticking = asyncio.create_task(let_callers_be_held_too_long())
        await asyncio.gather(*(track(EVENTS // 50) for _ in range(50)))
        ticking.cancel()
        assert resident() - memory < MAX_BYTES + 18 * 1024 * 1024
        stats = assert_conserved(client)
        total = stats.total
        assert total.accepted == accepted
        assert total.bytes_pending <= MAX_BYTES
        assert threading.active_count() <= threads + 1
        assert ours() == tasks
        if overflow == "drop_oldest":
            assert total.accepted == EVENTS + 1
            assert total.dropped == total.accepted - total.pending > 0
        else:
            assert total.dropped == 0
            assert stats.refused == {"buffer full": EVENTS + 1 - accepted}
        report = await client.aclose(timeout=0.1)
        assert_conserved(client)
        assert report.pending == (0 if kind == "memory" else total.pending)


async def test_held_callers_are_served_in_turn_and_may_leave(tmp_path):
    class Gate(Recorder):
        def __init__(self):
            super().__init__()
            self.open = asyncio.Event()

        async def send(self, batch):
            await self.open.wait()
            return await super().send(batch)

    gate = Gate()
    async with aiotrack.Client(
        gate,
        buffer=aiotrack.FileBuffer(tmp_path, 2000, "normal"),
        batch_size=2,
        flush_interval=3600,
        overflow_timeout=60,
    ) as client:
        user = client.create_user_context("u")
        calls = [asyncio.create_task(user.track_event("k", {"n": n, "text": "x" * 200})) for n in range(30)]
        await until(lambda: client.stats().total.accepted >= 5)
        assert not all(call.done() for call in calls)
        for call in calls[10::3]:
            call.cancel()
        gate.open.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(result, asyncio.CancelledError) for result in results] == [
            n >= 10 and (n - 10) % 3 == 0 for n in range(30)
        ]
        await client.flush()
        numbers = [int(entry.split(b'"n":')[1].split(b",")[0]) for entry in gate.events]
        assert numbers == sorted(numbers)
        assert set(numbers) >= {n for n, result in enumerate(results) if isinstance(result, aiotrack.TrackResult)}
        assert assert_conserved(client).total.delivered == len(numbers)
