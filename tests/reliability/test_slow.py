"""Too slow is not down: what a link or a server can't carry in one request is carried in several."""

import asyncio
import math
import time

import orjson
import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import Answer, Client
from aiotrack.extension import sleep
from aiotrack.lanes.window import HOLDS, LONGEST, Window

TIMEOUT = 10.0


class Link(Recorder):
    """Takes so many seconds for each event, and is given up on after ten."""

    def __init__(self, clock, carries, until=math.inf, max_in_flight=1):
        super().__init__()
        self.clock, self.carries, self.until = clock, carries, until
        self.max_in_flight = max_in_flight
        self.passed = self.failed = 0
        self.delivered = []

    async def send(self, batch):
        slow = self.clock.monotonic() < self.until
        seconds = 0.1 + (TIMEOUT * 0.98 * len(batch.entries) / self.carries if slow else 0.0)
        await sleep(self.clock, min(seconds, TIMEOUT))
        if seconds > TIMEOUT:
            self.failed += 1
            return Answer(error="timeout")
        self.passed += 1
        self.delivered += [orjson.loads(entry)["tags"]["n"] for entry in batch.entries]
        return Answer()


async def deliver(clock, link, count, batch_size=500, seconds=math.inf):
    """Track so many events, and let the clock run until they are delivered; return how long that took."""
    end = clock.monotonic() + seconds
    async with Client(link, batch_size=batch_size, clock=clock, shutdown_timeout=0) as client, asyncio.timeout(30):
        user = client.create_user_context("u")
        for number in range(count):
            await user.track_event("k", {"n": number})
        began = clock.monotonic()
        while client.stats().total.pending and clock.monotonic() < end:
            if clock.next_timer is not None:
                clock.advance(clock.next_timer)
            for _ in range(6):
                await asyncio.sleep(0)
        total = assert_conserved(client).total
        assert (total.dead, total.dropped) == (0, 0)
        assert sorted(link.delivered) == list(range(count))
    return clock.monotonic() - began


@pytest.mark.parametrize("carries", [3, 20, 50, 200])
@pytest.mark.parametrize("in_flight", [1, 3])
async def test_a_slow_link_is_used_nearly_as_well_as_it_can_be(carries, in_flight, clock):
    link, count = Link(clock, carries, max_in_flight=in_flight), 1000
    took = await deliver(clock, link, count)
    assert link.passed <= 1.4 * count / carries + 20
    assert link.failed <= 12 * in_flight + 0.12 * link.passed
    assert took <= 1.5 * count / carries * TIMEOUT / in_flight + 60


async def test_a_link_that_is_well_again_is_used_fully_again(clock):
    link = Link(clock, 50, until=clock.monotonic() + 100)
    assert await deliver(clock, link, 50_000) <= 100 + LONGEST
    assert link.failed <= 6


@pytest.mark.parametrize("outage", [60, 600, 3600])
async def test_after_an_outage_of_silence_batches_grow_soon(outage, clock):
    link = Link(clock, 1e-6, until=clock.monotonic() + outage)
    took = await deliver(clock, link, 20_000)
    assert link.passed <= 20_000 / 500 * 1.5 + 100
    assert took <= outage + 60


def test_what_passes_later_says_whether_a_batch_was_too_slow():
    window = Window(1000)
    window.timed_out(1000)
    assert window.bytes == 1000  # perhaps it was an outage
    window.passed(40, now=0)
    assert (window.bytes, window.slow_from) == (500, 1000)
    window.passed(500, now=1)
    window.timed_out(600)
    window.passed(100, now=2)
    assert (window.bytes, window.slow_from) == (
        480,
        math.inf,
    )  # one like it had passed a moment ago: some event may be at fault


def test_what_was_too_slow_is_tried_again_ever_more_seldom():
    window, now, tries = Window(1000), 0.0, []
    while now < 4 * LONGEST:
        now += 1
        if window.bytes > 400:
            tries.append(now)
            window.timed_out(window.bytes)
            window.passed(20, now)
        else:
            window.passed(window.bytes, now)
        assert window.bytes <= 1000
    assert len(tries) <= 10
    assert tries[1] - tries[0] <= 2 * HOLDS
    assert tries[-1] - tries[-2] >= LONGEST


async def _throttled(reader, writer, bytes_per_second):
    """Read a request no faster than that, and answer it."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            left = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            while left:
                part = await reader.readexactly(min(left, 1024))
                left -= len(part)
                await asyncio.sleep(len(part) / bytes_per_second)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def test_a_real_server_that_reads_slowly_gets_all_of_it():
    """It takes 40 kB within the timeout of a request, and a batch has 120 kB."""
    server = await asyncio.start_server(lambda r, w: _throttled(r, w, 80_000), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    failed = []
    async with server, Client(aiotrack.HTTPDestination(url, timeout=0.5), batch_size=500) as client:
        client.on("aiotrack_batch_failed", lambda batch, answer: failed.append(str(answer)))
        user = client.create_user_context("u", {"text": "x" * 100})
        for _ in range(600):
            await user.track_event("k")
        began = time.monotonic()
        await client.flush(timeout=20)
        total = assert_conserved(client).total
        assert (total.delivered, total.dead) == (600, 0)
        assert len(failed) <= 6
        assert time.monotonic() - began <= 12
