"""One bad event costs one event, whatever the server answers; and in an outage no event is given up on."""

import asyncio
import math
import random

import orjson
import pytest
from support import Recorder, assert_conserved

from aiotrack import Answer, Client, FileBuffer, MemoryBuffer
from aiotrack.delivery.suspects import trials_needed
from aiotrack.testing import ManualClock

EVENTS = 500
INCONCLUSIVE = [403, 404, 406, 409, 500, 502, "reset", "hang"]


class Server(Recorder):
    """Answers by a function of the numbers in a batch; counts its requests."""

    def __init__(self, answer, max_in_flight=1):
        super().__init__()
        self.max_in_flight = max_in_flight
        self.answer = answer
        self.requests = 0
        self.delivered = []

    async def send(self, batch):
        numbers = [orjson.loads(entry)["tags"]["n"] for entry in batch.entries]
        self.requests += 1
        answer = self.answer(numbers)
        await asyncio.sleep(0)
        if answer == Answer():
            self.delivered += numbers
        return answer


def failure(how):
    """Return the answer for a status, a broken connection or silence."""
    if how == "reset":
        return Answer(error="ServerDisconnectedError")
    return Answer(error="timeout") if how == "hang" else Answer(status=how)


async def track(client, count, start=0):
    user = client.create_user_context("u")
    for n in range(start, start + count):
        assert await user.track_event("k", {"n": n})


async def play(client, clock, until_true, every=None, seconds=math.inf):
    """Move the clock from timer to timer until it is true, or so many seconds have passed; `every` step, do that."""
    end = clock.monotonic() + seconds
    async with asyncio.timeout(60):
        while not until_true() and clock.monotonic() < end:
            if every is not None:
                await every()
            if clock.next_timer is not None:
                clock.advance(min(clock.next_timer, 1.0) if every is not None else clock.next_timer)
            for _ in range(3):
                await asyncio.sleep(0)


@pytest.fixture(params=["memory", "file"])
def buffer(request, tmp_path):
    return MemoryBuffer() if request.param == "memory" else FileBuffer(tmp_path, sync="normal")


@pytest.mark.parametrize("bad", [1, 5])
@pytest.mark.parametrize("how", INCONCLUSIVE)
async def test_bad_events_alone_are_dead_while_others_come(how, bad, buffer):
    clock, worst = ManualClock(), {random.Random(bad).randrange(EVENTS) for _ in range(bad)}
    server = Server(lambda numbers: failure(how) if worst & set(numbers) else Answer())
    client = Client(server, buffer=buffer, batch_size=EVENTS, flush_interval=1, clock=clock, shutdown_timeout=1)
    async with client:
        await track(client, EVENTS)
        others = EVENTS

        async def one_more():
            nonlocal others
            await track(client, 1, others)
            others += 1

        good = set(range(EVENTS)) - worst
        await play(client, clock, lambda: good <= set(server.delivered), one_more)
        found = server.requests
        await play(client, clock, lambda: client.stats().total.dead == len(worst), one_more)
        stats = assert_conserved(client).total
        assert stats.dead == len(worst)
        letters = {orjson.loads(letter.entry)["tags"]["n"] for letter in await client.dead_letters()}
        assert letters == worst
        assert len(server.delivered) == len(set(server.delivered))
        # Each request that finds the bad ones has at most one ordinary batch between it and the next.
        assert found <= 2 * (2 * len(worst) * math.ceil(math.log2(EVENTS)) + 1) + 10
        await client.flush(5)


@pytest.mark.parametrize("how", INCONCLUSIVE)
async def test_in_an_outage_of_an_hour_nothing_dies_and_nothing_spins(how):
    clock, down = ManualClock(), True
    server = Server(lambda numbers: failure(how) if down else Answer())
    async with Client(server, batch_size=100, flush_interval=1, clock=clock) as client:
        await track(client, EVENTS)
        await play(client, clock, lambda: False, seconds=3600)
        assert assert_conserved(client).total.dead == 0
        assert server.requests <= 3600 / 10
        down = False
        await play(client, clock, lambda: client.stats().total.delivered == EVENTS)
        assert clock.monotonic() < 3600 + 300
        assert sorted(server.delivered) == list(range(EVENTS))


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
async def test_a_server_that_fails_at_random_kills_no_event(p):
    clock, dice = ManualClock(), random.Random(p)
    server = Server(lambda numbers: Answer(status=500) if dice.random() < p else Answer())
    async with Client(server, batch_size=10, flush_interval=1, clock=clock) as client:
        for start in range(0, 2000, 100):
            await track(client, 100, start)
            await play(client, clock, lambda: client.stats().total.pending == 0)
        stats = assert_conserved(client).total
    assert (stats.delivered, stats.dead) == (2000, 0)
    assert sorted(server.delivered) == list(range(2000))


async def test_nothing_dies_alone_but_by_a_limit():
    clock = ManualClock()
    server = Server(lambda numbers: Answer(status=403))
    async with Client(server, batch_size=1, flush_interval=1, clock=clock, shutdown_timeout=0.1) as client:
        await track(client, 1)
        await play(client, clock, lambda: False, seconds=3600)
        assert client.stats().total.pending == 1


async def test_max_retries_gives_up_on_the_bad_one_only():
    clock = ManualClock()
    server = Server(lambda numbers: Answer(status=500) if 7 in numbers else Answer())
    async with Client(server, batch_size=100, flush_interval=1, clock=clock, max_retries=5) as client:
        await track(client, 300)
        await play(client, clock, lambda: client.stats().total.pending == 0)
        stats = assert_conserved(client).total
    assert (stats.delivered, stats.dead) == (299, 1)


async def test_a_link_that_carries_small_batches_only_is_slow_and_not_down():
    clock = ManualClock()
    server = Server(lambda numbers: failure("hang") if len(numbers) > 50 else Answer())
    async with Client(server, batch_size=500, flush_interval=1, clock=clock) as client:
        await track(client, 1000)
        await play(client, clock, lambda: client.stats().total.pending == 0)
        stats = assert_conserved(client).total
        assert (stats.delivered, stats.dead) == (1000, 0)
        assert server.requests <= 150


@pytest.mark.parametrize(("failed", "passed", "trials"), [(0, 100, 3), (10, 90, 7), (30, 70, 12), (50, 50, 20)])
def test_the_more_a_server_fails_at_random_the_more_trials_an_event_has(failed, passed, trials):
    assert trials_needed([True] * failed + [False] * passed) == trials
