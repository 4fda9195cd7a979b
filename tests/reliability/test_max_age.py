"""`max_age` counts from an event's first commit, however often the process is restarted in between."""

import asyncio

import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import Answer, Client, FileBuffer, MemoryBuffer, SpillBuffer

MAX_AGE = 1000.0
LIFE = 300.0


class Down(Recorder):
    async def send(self, batch):
        return Answer(status=503)


@pytest.fixture(params=["file", "spill"])
def buffer(request, tmp_path):
    file = FileBuffer(tmp_path, sync="normal")
    return lambda: file if request.param == "file" else SpillBuffer(file, max_bytes=1)


async def live(clock, seconds):
    """Let so many seconds pass, a few at a time, and clients try to send."""
    for _ in range(int(seconds / 10)):
        clock.advance(10.0)
        for _ in range(20):
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)  # the buffer's thread


async def track(client, *names):
    user = client.create_user_context("u")
    return [await user.track_event(name) for name in names]


async def dead(client):
    return sorted(letter.entry.split(b'"event":"')[1].split(b'"')[0].decode() for letter in await client.dead_letters())


@pytest.fixture
def make(buffer, clock):
    return lambda: Client(Down(), buffer=buffer(), max_age=MAX_AGE, flush_interval=1, clock=clock, shutdown_timeout=0)


async def test_an_event_dies_at_its_age_and_no_younger_one_with_it(make, clock):
    died_at = {}
    began = clock.time()
    for life in range(8):
        async with make() as client:
            await track(client, f"of life {life}")
            await live(clock, LIFE)
            died_at |= dict.fromkeys(set(await dead(client)) - died_at.keys(), clock.time() - began)
    born = {name: int(name[-1]) * LIFE for name in died_at}
    assert set(born.values()) >= {0, LIFE, 2 * LIFE}
    assert all(MAX_AGE <= died_at[name] - born[name] <= MAX_AGE + 1.5 * LIFE for name in born)


async def test_what_is_taken_over_keeps_its_age_and_what_was_here_keeps_its_own(make, clock):
    async with make() as client:
        other = make()
        await other.start()
        await track(other, "old")
        await live(clock, 600.0)
        await track(client, "young")
        await other.aclose()
        await live(clock, 100.0)
        assert client.stats().total.recovered == 1
        await live(clock, 450.0)
        assert await dead(client) == ["old"]
        assert_conserved(client)
    async with make() as client:
        await live(clock, 200.0)
        assert await dead(client) == ["old"]
        await live(clock, 450.0)
        assert await dead(client) == ["old", "young"]


async def test_what_was_delivered_leaves_no_times_behind(tmp_path, clock):
    async with Client(Recorder(), buffer=FileBuffer(tmp_path), clock=clock, flush_interval=0.01) as client:
        for _ in range(50):
            await track(client, "k")
            clock.advance(2.0)
            await client.flush()
        store = client._pipeline.lanes[0]._buffer._store
        assert len(store._times()) <= 3


async def test_in_memory_an_event_dies_at_its_age_too(clock):
    options = {"buffer": MemoryBuffer(), "max_age": 100.0, "flush_interval": 1, "clock": clock, "shutdown_timeout": 0}
    async with Client(Down(), **options) as client:
        (result,) = await track(client, "k")
        await live(clock, 300.0)
        assert assert_conserved(client).total.dead == 1
        assert isinstance(await result.delivered(), aiotrack.Rejected)
