"""A close uses its whole deadline: a server that is well again shortly before it still gets everything."""

import asyncio
import itertools
import os
import random

import pytest
from aiohttp import web

import aiotrack

CLOSES = 10 * int(os.environ.get("RELIABILITY_ROUNDS", "4"))


class Recovering:
    """A server whose paths fail, each until it is well again; it takes its time for every request."""

    def __init__(self, how, latency):
        self.how, self.latency = how, latency
        self.well_from = {}
        self.took = {}

    async def answer(self, request):
        number = int(request.match_info["number"])
        is_well = asyncio.get_running_loop().time() >= self.well_from[number]
        events = await request.json()
        await asyncio.sleep(self.latency)
        if is_well:
            self.took.setdefault(number, set()).update(event["event_id"] for event in events)
        elif self.how == "reset":
            request.transport.abort()
        return web.Response(status=200 if is_well else 503)

    async def __aenter__(self):
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/{number}", self.answer)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        host, port = self.runner.addresses[0]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_):
        await self.runner.cleanup()


@pytest.mark.parametrize(
    ("how", "latency", "events"), [(503, 0, 100), (503, 0, 1500), ("reset", 0, 300), (503, 0.2, 500)]
)
async def test_a_server_that_is_well_again_before_the_deadline_gets_everything(how, latency, events):
    timeout = 4.0
    latest = timeout - max(1.0, 3 * latency)

    async def close(number):
        loop = asyncio.get_running_loop()
        await asyncio.sleep(random.random() * timeout)  # not all at once: they share this machine
        server.well_from[number] = loop.time() + 3600
        client = aiotrack.Client(
            aiotrack.HTTPDestination(f"{server.url}/{number}"), batch_size=500, flush_interval=0.05
        )
        await client.start()
        user = client.create_user_context("u")
        for _ in range(events):
            await user.track_event("k")
        began = loop.time()
        server.well_from[number] = began + (latest if number % 2 else random.random() * latest)
        report = await client.aclose(timeout)
        assert loop.time() - began <= timeout + 0.5
        return report.dropped + (events - len(server.took[number]))

    async with Recovering(how, latency) as server:
        assert sum(await asyncio.gather(*(close(number) for number in range(CLOSES)))) == 0


async def test_a_flush_ends_soon_after_a_long_outage_does(clock):
    """The pauses that an outage has made long are cut short for who waits."""
    well = False

    class Down(aiotrack.HTTPDestination):
        async def send(self, batch):
            return aiotrack.Answer(status=200 if well else 503)

    async with aiotrack.Client(Down("http://127.0.0.1:9/"), flush_interval=1, clock=clock) as client:
        await client.create_user_context("u").track_event("k")
        for _ in range(200):
            clock.advance(10.0)
            await asyncio.sleep(0)
        flush = asyncio.ensure_future(client.flush(timeout=60))
        waited = 0.0
        while not flush.done():
            await asyncio.sleep(0)
            if waited > 40:
                well = True
            clock.advance(0.25)
            waited += 0.25
            await asyncio.sleep(0)
        assert (await flush).delivered == 1
        assert waited <= 40 + 3


async def test_who_waits_does_not_hurry_a_server_that_said_when_to_come_back(clock):
    sent = []

    class Busy(aiotrack.HTTPDestination):
        async def send(self, batch):
            sent.append(clock.monotonic())
            return aiotrack.Answer(status=503, headers={"Retry-After": "30"})

    async with aiotrack.Client(Busy("http://127.0.0.1:9/"), clock=clock, shutdown_timeout=0) as client:
        await client.create_user_context("u").track_event("k")
        flush = asyncio.ensure_future(client.flush(timeout=0.2))
        while not flush.done():
            clock.advance(0.1)
            await asyncio.sleep(0.001)
    assert all(later - earlier >= 30 for earlier, later in itertools.pairwise(sent))
