"""Start, tracking, flush and close against endpoints that refuse, are silent, trickle, half-close, or have no name."""

import asyncio
import contextlib
import gc
import subprocess
import sys
import time

import pytest
from faults import garbage, half_closing, silent, tcp_server, trickling
from support import assert_conserved

import aiotrack
from aiotrack.testing import ManualClock

EVENTS = 20_000
GAP = 0.010  # seconds that the loop may be held up
DEADLINE = 0.3
TRIES = 20  # a machine that does other things at the time holds up some


@contextlib.asynccontextmanager
async def refused():
    """Give an address where nobody listens."""
    async with tcp_server(silent) as url:
        pass
    yield url


class _LongestGap:
    """Measures by how much a short timer is late, at worst."""

    longest = 0.0

    async def watch(self):
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest, before = max(self.longest, now - before - 0.001), now


async def life(url, buffer, deadline):
    """Start, track, flush, close; return the longest gap and how long closing took."""
    gap = _LongestGap()
    client = aiotrack.Client(aiotrack.HTTPDestination(url, timeout=5.0), buffer=buffer)
    watching = asyncio.create_task(gap.watch())
    await asyncio.sleep(0)
    await client.start()
    user = client.create_user_context("u")
    for _ in range(EVENTS):
        user.track_event_nowait("k")
        if _ % 100 == 0:
            await asyncio.sleep(0)
    began = time.perf_counter()
    report = await client.flush(timeout=0.1)
    assert time.perf_counter() - began < 0.3
    assert report.pending > 0
    began = time.perf_counter()
    await client.aclose(timeout=deadline)
    took = time.perf_counter() - began
    watching.cancel()
    assert_conserved(client)
    return gap.longest, took


async def assert_prompt(server, make):
    """Live such lives against such a server until one is prompt; the machine may hold up some, we hold up all."""
    longest, took = [], []
    gc.freeze()  # pytest's own objects take 80 ms to walk
    try:
        for _ in range(TRIES):
            async with server() as url:
                one, two = await life(url, make(), DEADLINE)
            longest.append(one)
            took.append(two)
            if one < GAP and two < DEADLINE + 0.2:
                break
    finally:
        gc.unfreeze()
    assert min(longest) < GAP, longest
    assert min(took) < DEADLINE + 0.2, took


@pytest.mark.parametrize("endpoint", [refused, silent, trickling, half_closing, garbage])
async def test_no_endpoint_holds_up_the_loop_or_the_close(endpoint):
    server = endpoint if endpoint is refused else lambda: tcp_server(endpoint)
    await assert_prompt(server, aiotrack.MemoryBuffer)


async def test_a_file_buffer_holds_up_the_loop_no_more_than_that(tmp_path):
    folders = (tmp_path / str(number) for number in range(TRIES))
    await assert_prompt(lambda: tcp_server(silent), lambda: aiotrack.FileBuffer(next(folders)))


HANGING_NAMES = """
import asyncio, socket, sys, time

def getaddrinfo(*args, **kwargs):  # a name server that never answers; it can't be cancelled, as the real one can't
    time.sleep(30)

socket.getaddrinfo = getaddrinfo
import aiotrack

async def main():
    began = time.perf_counter()
    client = aiotrack.Client(aiotrack.HTTPDestination("http://events.example.org/", timeout=0.2), batch_size=1)
    await client.start()
    user = client.create_user_context("u")
    for _ in range(100):
        assert await user.track_event("k")
    await asyncio.sleep(0.5)  # several attempts
    report = await client.aclose(timeout=0.3)
    assert report.dropped == 100, report
    assert time.perf_counter() - began < 1.5

asyncio.run(main())
"""


def test_a_name_server_that_hangs_holds_up_neither_the_close_nor_the_exit():
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", HANGING_NAMES], check=True, timeout=25)
    assert time.perf_counter() - began < 10


async def test_a_clock_that_jumps_moves_no_deadline_and_loses_nothing(collector):
    class Jumping(ManualClock):
        jump = 0.0

        def time(self):
            return super().time() + self.jump

    clock = Jumping()
    async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), clock=clock, flush_interval=1.0) as client:
        user = client.create_user_context("u")
        for jump in (0.0, 86_400.0, -86_400.0 * 400):
            clock.jump = jump
            assert await user.track_event("k")
            clock.advance(1.0)
            await collector.wait_for(len(collector.requests) + 1)
        await client.flush()
        assert assert_conserved(client).total.delivered == 3
    times = [event["timestamp"] for event in collector.events()]
    assert times[1] - times[0] > 86_000_000
    assert times[2] - times[1] < -86_000_000
