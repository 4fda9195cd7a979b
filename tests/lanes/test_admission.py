"""A full buffer: held on a lane that moves, refused on one that does not, always bounded and counted."""

import asyncio

import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import MemoryBuffer
from aiotrack.testing import Collector, ManualClock, Reply, until

ONE = 150  # bytes, a little more than one event below needs


class Gate(Recorder):
    """Answers only while the gate is open."""

    def __init__(self, **options):
        super().__init__(**options)
        self.open = asyncio.Event()
        self.asked = 0

    def encode(self, event):
        return super().encode(event).ljust(ONE)

    async def send(self, batch):
        self.asked += 1
        await self.open.wait()
        return await super().send(batch)


def keys(recorder):
    return [entry.split(b'"event":"')[1].split(b'"')[0].decode() for entry in recorder.events]


async def full(gate, clock, **options):
    """Start a client with room for two events, both taken and one batch on the way."""
    client = aiotrack.Client(gate, buffer=MemoryBuffer(2 * ONE), batch_size=1, clock=clock, **options)
    await client.start()
    user = client.create_user_context("u")
    assert await user.track_event("a")
    assert await user.track_event("b")
    await until(lambda: gate.asked == 1)
    return client, user


async def test_wait_holds_callers_until_there_is_room_first_come_first_served(clock):
    gate = Gate()
    client, user = await full(gate, clock)
    held = [asyncio.create_task(user.track_event(key)) for key in "cdef"]
    await asyncio.sleep(0)
    assert not any(task.done() for task in held)
    assert client.stats().total.accepted == 2
    gate.open.set()
    results = await asyncio.gather(*held)
    assert all(results)
    await client.flush()
    assert keys(gate) == list("abcdef")
    assert assert_conserved(client).total.delivered == 6
    await client.aclose()


async def test_nowait_never_waits(clock):
    gate = Gate()
    client, user = await full(gate, clock)
    result = user.track_event_nowait("c")
    assert not result
    assert result.refused["recorder"].reason == "buffer full"
    gate.open.set()
    await client.aclose()
    assert keys(gate) == ["a", "b"]


async def test_a_caller_is_held_no_longer_than_the_overflow_timeout(clock):
    gate = Gate()
    client, user = await full(gate, clock, overflow_timeout=0.5)
    held = asyncio.create_task(user.track_event("c"))
    await asyncio.sleep(0)
    clock.advance(0.4)
    await asyncio.sleep(0)
    assert not held.done()
    clock.advance(0.1)
    result = await held
    assert str(result.refused["recorder"]) == "buffer full: there was no room for it within 0.5 s (overflow_timeout)"
    assert not await user.track_event("d")  # at once: nothing has happened since
    gate.open.set()
    await client.aclose()
    assert_conserved(client)


async def test_nobody_is_held_for_a_request_that_takes_longer_than_requests_take(clock):
    """A destination that is silent beside one that is not costs a caller of both no more than a second, once."""
    gate = Gate()
    client, user = await full(gate, clock, overflow_timeout=60)
    held = asyncio.create_task(user.track_event("c"))
    await asyncio.sleep(0)
    clock.advance(0.9)
    late = asyncio.create_task(user.track_event("d"))
    await asyncio.sleep(0)
    assert not held.done()
    clock.advance(0.11)
    for refused in (await held, await late, await user.track_event("e")):
        assert str(refused.refused["recorder"]).endswith("there is no room, and recorder has taken nothing for 1 s")
    gate.open.set()
    await client.flush()
    assert await user.track_event("f")
    await client.aclose()
    assert keys(gate) == ["a", "b", "f"]
    assert_conserved(client)


async def test_a_slow_destination_moves_as_long_as_it_takes_what_it_took_before(clock):
    class Slow(Gate):
        async def send(self, batch):
            answer = await super().send(batch)
            clock.advance(3)
            return answer

    gate = Slow()
    client, user = await full(gate, clock, overflow_timeout=60)
    gate.open.set()
    await client.flush()
    gate.open.clear()
    for key in "cd":
        assert await user.track_event(key)
    await until(lambda: gate.asked == 3)
    held = asyncio.create_task(user.track_event("e"))
    await asyncio.sleep(0)
    clock.advance(5.9)
    await asyncio.sleep(0)
    assert not held.done()
    clock.advance(0.11)
    assert not await held
    gate.open.set()
    await client.aclose()


async def test_a_caller_that_is_cancelled_leaves_nothing_behind(clock):
    gate = Gate()
    client, user = await full(gate, clock)
    first = asyncio.create_task(user.track_event("cancelled"))
    second = asyncio.create_task(user.track_event("d"))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.open.set()
    assert await second
    await client.aclose()
    assert keys(gate) == ["a", "b", "d"]
    assert assert_conserved(client).total.accepted == 3


async def test_nobody_is_held_for_a_lane_that_is_down(clock):
    async with Collector(default=Reply(status=503)) as collector:
        destination = aiotrack.HTTPDestination(collector.url)
        async with aiotrack.Client(
            destination, buffer=MemoryBuffer(300), batch_size=1, clock=clock, shutdown_timeout=0
        ) as client:
            user = client.create_user_context("u")
            await user.track_event("a")
            await user.track_event("b")
            await until(lambda: client.stats().lanes["http"].state == "retrying")
            results = [await user.track_event("c") for _ in range(100)]
            assert {result.refused["http"].reason for result in results if not result} == {"buffer full"}
            stats = assert_conserved(client)
            assert stats.total.accepted + stats.refused["buffer full"] == 102
            assert stats.total.bytes_pending <= 300
        assert client.stats().total.dropped == stats.total.accepted


async def test_those_who_are_held_are_turned_away_when_the_lane_goes_down(clock):
    gate = Gate()
    gate.answers = [aiotrack.Answer(error="down")] * 3
    client, user = await full(gate, clock)
    held = [asyncio.create_task(user.track_event("c")) for _ in range(5)]
    await asyncio.sleep(0)
    gate.open.set()
    results = await asyncio.gather(*held)
    assert not any(results)
    await client.aclose(timeout=0)
    assert_conserved(client)


async def test_drop_newest_refuses_the_new(clock):
    gate = Gate()
    client, user = await full(gate, clock, overflow="drop_newest")
    result = await user.track_event("c")
    assert result.refused["recorder"].reason == "buffer full"
    gate.open.set()
    await client.aclose()
    assert keys(gate) == ["a", "b"]


async def test_drop_oldest_pushes_out_the_oldest_that_is_not_on_its_way(clock):
    gate = Gate()
    client, user = await full(gate, clock, overflow="drop_oldest")
    c = await user.track_event("c")
    d = await user.track_event("d")
    assert c
    assert d
    assert await c.delivered() == aiotrack.Rejected("dropped: pushed out by newer events")
    gate.open.set()
    await client.flush()
    assert keys(gate) == ["a", "d"]
    stats = assert_conserved(client)
    assert (stats.total.accepted, stats.total.delivered, stats.total.dropped) == (4, 2, 2)
    await client.aclose()


@pytest.mark.parametrize("overflow", ["wait", "drop_newest", "drop_oldest"])
async def test_an_event_that_never_fits_is_refused_at_once(overflow):
    async with aiotrack.Client(Recorder(), buffer=MemoryBuffer(100), overflow=overflow) as client:
        result = await client.create_user_context("u").track_event("k", {"text": "x" * 200})
        assert result.refused["recorder"].reason == "too large"


async def test_an_event_larger_than_the_destination_takes_is_refused_at_once():
    class Small(Recorder):
        max_batch_bytes = 200

    async with aiotrack.Client(Small()) as client:
        user = client.create_user_context("u")
        assert (await user.track_event("k", {"text": "x" * 200})).refused["recorder"].reason == "too large"
        assert await user.track_event("k")


async def test_one_slow_lane_does_not_touch_another():
    gate, other = Gate(name="slow"), Recorder(name="other")
    client = aiotrack.Client(gate, other, buffer=MemoryBuffer(2 * ONE), batch_size=1, overflow="drop_newest")
    async with client:
        user = client.create_user_context("u")
        accepted = []
        for number in range(20):
            result = await user.track_event("k", {"n": number})
            accepted.append(result.accepted)
            await until(lambda: client.stats().lanes["other"].pending == 0)
        assert accepted[:2] == [("slow", "other")] * 2
        assert accepted[2:] == [("other",)] * 18
        stats = assert_conserved(client)
        assert stats.lanes["other"].delivered == 20
        assert stats.lanes["slow"].accepted == 2
        assert stats.refused == {"buffer full": 18}
        gate.open.set()


async def test_a_producer_that_never_pauses_lets_the_loop_run():
    ticks = []

    async def tick():
        while True:
            ticks.append(None)
            await asyncio.sleep(0)

    async with aiotrack.Client(Recorder(), clock=ManualClock()) as client:
        ticking = asyncio.create_task(tick())
        user = client.create_user_context("u")
        for _ in range(5000):
            await user.track_event("k")
        ticking.cancel()
        assert len(ticks) >= 5000 // 64


async def test_more_callers_than_may_wait_are_refused_with_the_number(monkeypatch):
    monkeypatch.setattr("aiotrack.lanes.admission.MOST_HELD", 2)
    gate = Gate()
    async with aiotrack.Client(gate, buffer=MemoryBuffer(200), batch_size=1) as client:
        user = client.create_user_context("u")
        tracking = [asyncio.ensure_future(user.track_event("k")) for _ in range(8)]
        await until(lambda: bool(client.stats().refused))
        gate.open.set()
        refused = [result.refused["recorder"] for result in await asyncio.gather(*tracking) if not result]
        assert {str(one) for one in refused} == {"buffer full: there is no room, and 2 callers wait for some already"}


async def test_callers_that_wait_are_bounded_in_bytes_too(monkeypatch):
    monkeypatch.setattr("aiotrack.lanes.admission.MOST_HELD_BYTES", 3000)
    gate = Gate()
    async with aiotrack.Client(gate, buffer=MemoryBuffer(1500), batch_size=1) as client:
        user = client.create_user_context("u")
        tracking = [asyncio.ensure_future(user.track_event("k", {"text": "x" * 1000})) for _ in range(8)]
        await until(lambda: bool(client.stats().refused))
        gate.open.set()
        results = await asyncio.gather(*tracking)
        assert sum(map(bool, results)) == 3  # one in the buffer, two that waited
        assert {str(result.refused["recorder"].reason) for result in results if not result} == {"buffer full"}
        assert client._pipeline.lanes[0]._admission._queue.bytes == 0
        assert all(await asyncio.gather(*(user.track_event("k") for _ in range(3))))
