"""Callers that wait for room: admitted as it comes, in order, and gone without a trace when they leave."""

import asyncio

from support import Recorder

import aiotrack
from aiotrack import Client, MemoryBuffer
from aiotrack.testing import Collector


async def test_held_callers_are_let_in_as_fast_as_the_server_takes_them(clock):
    async with (
        Collector() as collector,
        Client(
            aiotrack.HTTPDestination(collector.url), buffer=MemoryBuffer(1000), flush_interval=60, clock=clock
        ) as client,
    ):
        user = client.create_user_context("u")
        results = await asyncio.gather(*(user.track_event("k", {"n": n}) for n in range(50)))
        assert all(results)


async def test_a_close_delivers_what_it_lets_in():
    async with Collector() as collector:
        client = Client(aiotrack.HTTPDestination(collector.url), buffer=MemoryBuffer(1000), flush_interval=60)
        await client.start()
        user = client.create_user_context("u")
        held = [asyncio.create_task(user.track_event("k", {"n": n})) for n in range(30)]
        await asyncio.sleep(0)
        report = await client.aclose(timeout=5)
        results = await asyncio.gather(*held)
    assert report.delivered == sum(map(bool, results))
    assert report.dropped == 0


async def test_callers_who_left_hold_neither_memory_nor_the_door(clock):
    class Never(Recorder):
        async def send(self, batch):
            await asyncio.Event().wait()

    async with Client(
        Never(), buffer=MemoryBuffer(700), batch_size=1, overflow_timeout=1, clock=clock, shutdown_timeout=0
    ) as client:
        user = client.create_user_context("u")
        for _ in range(3):
            assert await user.track_event("k", {"text": "x" * 50})
        held = [asyncio.create_task(user.track_event("k", {"text": "x" * 300})) for _ in range(100)]
        await asyncio.sleep(0)
        clock.advance(1)
        assert not any(await asyncio.gather(*held))
        assert user.track_event_nowait("k")  # it fits, and nobody stands in its way
