"""`max_age` counts from an event's first commit, however often the process is restarted in between."""

import asyncio
import itertools

import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import Answer, Client, FileBuffer, MemoryBuffer, SpillBuffer
from aiotrack.testing.listener import RecordingListener

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


async def test_a_segment_knows_when_its_records_came_in_a_few_dozen_steps(tmp_path, clock):
    """However long it is written to: what an outage of a day has left dies at its own age, and not at the newest's."""
    async with Client(Down(), buffer=FileBuffer(tmp_path), clock=clock, shutdown_timeout=0) as client:
        for _ in range(500):
            await track(client, "k")
            clock.advance(60.0)
        (segment,) = client._pipeline.lanes[0]._buffer._holdings._backlog.segments
        header = segment.file.header
        assert header.count == 500
        assert 15 <= len(header.times) <= 37
        assert max(later - at for (_, at), (_, later) in itertools.pairwise(header.times)) < 500 * 60.0 / 8
    ages = []

    class Listener(RecordingListener):
        def recovered(self, last, events, since=None):
            self.recovered_events += events
            ages.append((events, since))

        def time(self):
            return clock.time()

    listener = Listener()
    again = FileBuffer(tmp_path).for_lane("recorder", Down().identity)
    await again.open(listener)
    assert listener.recovered_events == 500
    assert len(ages) >= 15
    assert [since for _, since in ages] == sorted(since for _, since in ages)
    assert 0 <= clock.time() - ages[-1][1] < 120
    await again.close()


async def test_in_memory_an_event_dies_at_its_age_too(clock):
    options = {"buffer": MemoryBuffer(), "max_age": 100.0, "flush_interval": 1, "clock": clock, "shutdown_timeout": 0}
    async with Client(Down(), **options) as client:
        (result,) = await track(client, "k")
        await live(clock, 300.0)
        assert assert_conserved(client).total.dead == 1
        assert isinstance(await result.delivered(), aiotrack.Rejected)
