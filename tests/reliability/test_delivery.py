"""The delivery matrix: 500 events, one fault at a time, with either buffer. All arrive, once but for lost answers."""

import math
from collections import Counter

import pytest
from aiohttp import web
from faults import run_out
from support import assert_conserved

import aiotrack
from aiotrack.testing import Collector, ManualClock, Reply, until

EVENTS = 500


@pytest.fixture(params=["memory", "file"])
def buffer(request, tmp_path):
    return (
        aiotrack.MemoryBuffer()
        if request.param == "memory"
        else aiotrack.FileBuffer(tmp_path / "buffer", sync="normal")
    )


async def track(client, count=EVENTS):
    user = client.create_user_context("u")
    for number in range(count):
        assert user.track_event_nowait("k", {"n": number})


def ids(collector):
    """All ids that reached the server with a body it took; an answer that was lost had been taken."""
    return Counter(event["event_id"] for event in collector.events())


async def played(buffer, answer, **options):
    """Track 500 events against a server that answers by `answer(clock, request)`; return it and the counters."""
    clock = ManualClock()
    async with Collector(answer=lambda request: answer(clock, request)) as collector:
        destination = aiotrack.HTTPDestination(collector.url)
        options = {"batch_size": 100, "clock": clock, **options}
        async with aiotrack.Client(destination, buffer=buffer, **options) as client:
            await track(client)
            await until(lambda: client.stats().total.accepted == EVENTS)
            await run_out(client, clock)
            assert_conserved(client)
            stats = client.stats()
    return collector, stats.total


async def test_healthy(buffer):
    collector, total = await played(buffer, lambda clock, request: None)
    assert set(ids(collector).values()) == {1}
    assert (len(ids(collector)), total.delivered, total.retries) == (EVENTS, EVENTS, 0)


@pytest.mark.parametrize("seconds", [5, 40, 600])
@pytest.mark.parametrize("status", [500, 503])
async def test_an_outage_of_any_length(buffer, status, seconds):
    over = ManualClock().time() + seconds
    collector, total = await played(
        buffer, lambda clock, request: Reply(status=status) if clock.time() < over else None
    )
    assert set(ids(collector).values()) == {1}
    assert (len(ids(collector)), total.delivered) == (EVENTS, EVENTS)


async def test_too_many_requests_with_retry_after(buffer):
    start = ManualClock().time()
    early = []

    def answer(clock, request):
        if clock.time() < start + 4:
            return Reply(status=429, headers={"Retry-After": "3"})
        early.append(clock.time())
        return None

    collector, total = await played(buffer, answer)
    assert (len(ids(collector)), total.delivered) == (EVENTS, EVENTS)
    assert total.retries <= 3  # it waits as long as it is told


async def test_acknowledgements_are_lost(buffer):
    lost = []

    def answer(clock, request):
        if len(lost) < 3:
            lost.append(request)
            return Reply(lose=True)
        return None

    collector, total = await played(buffer, answer)
    assert len(ids(collector)) == EVENTS
    assert (total.delivered, total.retries) == (EVENTS, 3)
    again = sum(ids(collector).values()) - EVENTS
    assert 3 <= again <= 300  # of the same ids, those whose answers were lost


async def test_bodies_above_20_kilobytes_are_refused(buffer):
    collector, total = await played(
        buffer, lambda clock, request: Reply(status=413) if len(request.body) > 20_000 else None, batch_size=500
    )
    assert set(ids(collector).values()) == {1}
    assert (len(ids(collector)), total.delivered, total.dead) == (EVENTS, EVENTS, 0)
    assert Counter(request.status for request in collector.requests)[413] <= 7


async def test_what_was_too_large_once_is_not_tried_again():
    async with Collector(answer=lambda request: Reply(status=413) if len(request.body) > 20_000 else None) as collector:
        async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), batch_size=500) as client:
            for _ in range(3):
                await track(client)
                await client.flush()
        refused = [number for number, request in enumerate(collector.requests) if request.status == 413]
        assert len(ids(collector)) == 3 * EVENTS
        assert max(refused) < len(collector.requests) // 3


async def test_one_bad_event_without_a_word_about_which(buffer):
    def answer(clock, request):
        return Reply(status=400) if any(event["tags"]["n"] == 333 for event in request.json()) else None

    collector, total = await played(buffer, answer, batch_size=500)
    assert set(ids(collector).values()) == {1}
    assert (len(ids(collector)), total.delivered, total.dead) == (EVENTS - 1, EVENTS - 1, 1)
    assert len(collector.requests) <= 2 * math.log2(EVENTS) + 1


async def test_bad_events_that_the_server_names(buffer):
    class Named(aiotrack.HTTPDestination):
        def judge(self, answer, now):
            verdict = super().judge(answer, now)
            if answer.status == 400:
                return aiotrack.Verdict(verdict.action, bad=[int(word) for word in answer.body.split()])
            return verdict

    bad = {3, 4, 499}

    def answer(request):
        named = [str(place) for place, event in enumerate(request.json()) if event["tags"]["n"] in bad]
        return Reply(status=400, body=" ".join(named).encode()) if named else None

    async with Collector(answer=answer) as collector:
        async with aiotrack.Client(Named(collector.url), buffer=buffer) as client:
            await track(client)
            await client.flush()
            total = assert_conserved(client).total
            letters = await client.dead_letters()
        assert (total.delivered, total.dead, len(collector.requests)) == (EVENTS - 3, 3, 2)
        assert [letter.cause.answer for letter in letters] == [b"3 4 499"] * 3


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), b"bytes", object(), "\ud800"])
async def test_a_poisoned_event_is_refused_and_its_neighbours_arrive(buffer, poison):
    async with Collector() as collector:
        async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), buffer=buffer) as client:
            user = client.create_user_context("u")
            cycle = []
            cycle.append(cycle)
            results = [
                await user.track_event("k", {"n": poison if n == 30 else cycle if n == 31 else n}) for n in range(60)
            ]
            assert [n for n, result in enumerate(results) if not result] == [30, 31]
            await client.flush()
            assert assert_conserved(client).total.delivered == 58
        assert len(ids(collector)) == 58


async def test_a_server_that_comes_up_late(buffer, unused_tcp_port):
    received = Counter()

    async def take(request):
        received.update(event["event_id"] for event in await request.json())
        return web.Response(status=204)

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/", take)
    clock = ManualClock()
    destination = aiotrack.HTTPDestination(f"http://127.0.0.1:{unused_tcp_port}/")
    async with aiotrack.Client(destination, buffer=buffer, batch_size=100, clock=clock) as client:
        await track(client)
        await until(lambda: client.stats().total.retries >= 1)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
        await run_out(client, clock)
        assert assert_conserved(client).total.delivered == EVENTS
        await runner.cleanup()
    assert len(received) == EVENTS
    assert set(received.values()) == {1}


async def test_a_close_at_once_during_an_outage_delivers_what_the_time_allows(tmp_path):
    async with Collector() as collector:
        collector.script(*[Reply(status=503)] * 2)
        for buffer in (aiotrack.MemoryBuffer(), aiotrack.FileBuffer(tmp_path)):
            async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), buffer=buffer) as client:
                await track(client)
            assert assert_conserved(client).total.delivered == EVENTS
        assert len(ids(collector)) == 2 * EVENTS


async def test_a_close_during_a_longer_outage_counts_what_memory_loses_and_a_file_keeps(tmp_path, unused_tcp_port):
    url = f"http://127.0.0.1:{unused_tcp_port}/events"
    async with Collector(default=Reply(status=503), port=unused_tcp_port) as collector:
        assert collector.url == url
        for buffer, expected in ((aiotrack.MemoryBuffer(), (EVENTS, 0)), (aiotrack.FileBuffer(tmp_path), (0, EVENTS))):
            client = aiotrack.Client(aiotrack.HTTPDestination(url), buffer=buffer)
            await client.start()
            await track(client)
            report = await client.aclose(timeout=0.3)
            assert (report.dropped, report.pending) == expected
            assert_conserved(client)
    async with Collector(port=unused_tcp_port) as collector:
        async with aiotrack.Client(
            aiotrack.HTTPDestination(collector.url), buffer=aiotrack.FileBuffer(tmp_path)
        ) as client:
            assert client.stats().total.recovered == client.stats().total.accepted == EVENTS
        assert assert_conserved(client).total.delivered == EVENTS
        assert set(ids(collector).values()) == {1}


async def test_several_requests_under_way(buffer):
    under_way, most = 0, 0

    async def take(request):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        received.update(event["event_id"] for event in await request.json())
        await until(lambda: most == 4 or len(received) == EVENTS)
        under_way -= 1
        return web.Response()

    received = Counter()
    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    destination = aiotrack.HTTPDestination(f"http://127.0.0.1:{runner.addresses[0][1]}/", max_in_flight=4)
    async with aiotrack.Client(destination, buffer=buffer, batch_size=25) as client:
        await track(client)
        await client.flush()
        assert assert_conserved(client).total.delivered == EVENTS
    await runner.cleanup()
    assert most == 4
    assert len(received) == EVENTS
    assert set(received.values()) == {1}
