"""Callers that wait for room: admitted as it comes, in order, and gone without a trace when they leave."""

import asyncio

import pytest
from support import Recorder

import aiotrack
from aiotrack import Client, MemoryBuffer, errors
from aiotrack.lanes.wait_queue import WaitQueue
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


async def test_a_caller_gets_what_the_buffer_promised_or_why_it_did_not_keep_it(clock):
    """A buffer that stores later answers with a future; its end is the caller's."""
    loop = asyncio.get_running_loop()
    queue = WaitQueue(clock, 60, lambda: errors.BufferFull("too late"))
    promises = [loop.create_future() for _ in range(4)]
    answers = [queue.hold(lambda promise=promise: promise, 1) for promise in promises]
    queue.admit()
    assert not queue.callers
    promises[0].set_result(7)
    promises[1].set_exception(errors.BufferFailed("disk"))
    promises[2].cancel()
    answers[3].cancel()
    promises[3].set_result(9)
    assert await answers[0] == 7
    with pytest.raises(errors.BufferFailed):
        await answers[1]
    with pytest.raises(errors.BufferFull, match="the buffer was closed"):
        await answers[2]


async def test_a_caller_whose_event_can_not_be_stored_is_told_and_the_next_is_admitted(clock):
    queue = WaitQueue(clock, 60, lambda: errors.BufferFull("too late"))

    def fail():
        raise KeyError

    first, second = queue.hold(fail, 1), queue.hold(lambda: 5, 1)
    queue.admit()
    with pytest.raises(KeyError):
        await first
    assert await second == 5
