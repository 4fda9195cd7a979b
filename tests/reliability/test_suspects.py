"""One bad event costs one event, whatever the server answers; and in an outage no event is given up on."""

import asyncio
import itertools
import math
import random

import orjson
import pytest
from support import Recorder, assert_conserved

from aiotrack import Answer, Client, FileBuffer, MemoryBuffer
from aiotrack.buffers.memory import MemoryLaneBuffer
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
    async with asyncio.timeout(20):
        while not until_true() and clock.monotonic() < end:
            if every is not None:
                await every()
            for _ in range(300):  # what needs no time is done first
                await asyncio.sleep(0)
                if until_true() or clock.next_timer is not None:
                    break
            left, timer = end - clock.monotonic(), clock.next_timer
            if timer is not None:
                clock.advance(min(timer, left, 1.0) if every is not None else min(timer, left))
            elif left < math.inf:
                clock.advance(left)
            for _ in range(3):
                await asyncio.sleep(0)


@pytest.fixture(params=["memory", "file"])
def buffer(request, tmp_path):
    return MemoryBuffer() if request.param == "memory" else FileBuffer(tmp_path, sync="normal")


@pytest.mark.parametrize("bad", [1, 5])
@pytest.mark.parametrize("how", INCONCLUSIVE)
async def test_bad_events_alone_are_dead_while_others_come(how, bad, buffer):
    clock, worst = ManualClock(), set(random.Random(bad).sample(range(EVENTS), bad))
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
        # Each request that finds the bad ones has at most one ordinary batch between it and the next. After silence
        # batches are narrower, too, in case they were too large for the link.
        halvings = math.ceil(math.log2(EVENTS))
        assert found <= 2 * (2 * len(worst) * halvings + 1) + (halvings if how == "hang" else 0) + 10
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
        assert server.requests <= 60


@pytest.mark.parametrize(("failed", "passed", "trials"), [(0, 100, 3), (10, 90, 7), (30, 70, 12), (50, 50, 20)])
def test_the_more_a_server_fails_at_random_the_more_trials_an_event_has(failed, passed, trials):
    assert trials_needed([True] * failed + [False] * passed) == trials


@pytest.mark.parametrize("count", [2, 10, 20, 21, 100])
async def test_a_batch_with_nothing_beside_it_is_divided_until_the_good_pass(count):
    clock = ManualClock()
    server = Server(lambda numbers: Answer(status=500) if 1 in numbers else Answer())
    async with Client(server, batch_size=count, flush_interval=1, clock=clock, shutdown_timeout=0.1) as client:
        await track(client, count)
        await play(client, clock, lambda: len(server.delivered) == count - 1, seconds=600)
        assert sorted(server.delivered) == [n for n in range(count) if n != 1]
        assert (client.stats().total.dead, client.stats().total.pending) == (0, 1)


@pytest.mark.parametrize("every", [5, 20, 60])
@pytest.mark.parametrize("in_flight", [1, 3])
async def test_on_a_quiet_lane_the_bad_event_is_found_and_the_lane_is_not_down(every, in_flight):
    clock = ManualClock()
    server = Server(lambda numbers: Answer(status=500) if 0 in numbers else Answer(), in_flight)
    async with Client(server, batch_size=10, flush_interval=1, clock=clock) as client:
        for n in range(60):
            await track(client, 1, n)
            await play(client, clock, lambda: False, seconds=every)
        stats = assert_conserved(client)
        assert (stats.total.delivered, stats.total.dead) == (59, 1)
        assert server.requests <= 59 + 100


@pytest.mark.parametrize("max_retries", [0, 1, 3, 8])
@pytest.mark.parametrize("bad", [{7}, {0, 99}, {5, 30, 60, 80, 95}])
async def test_max_retries_takes_no_good_event_along_where_others_pass(max_retries, bad):
    clock = ManualClock()
    server = Server(lambda numbers: Answer(status=500) if bad & set(numbers) else Answer())
    async with Client(server, batch_size=100, flush_interval=1, clock=clock, max_retries=max_retries) as client:
        await track(client, 20, 1000)
        await play(client, clock, lambda: client.stats().total.pending == 0)
        await track(client, 100)
        await play(client, clock, lambda: client.stats().total.pending == 0)
        assert assert_conserved(client).total.dead == len(bad)


class SlowClaims(MemoryLaneBuffer):
    """Takes its time, as one behind a network does; fails to bury as often as it is told."""

    failures = 0

    def for_lane(self, name):
        return self

    async def claim(self, max_events, max_bytes):
        for _ in range(5):
            await asyncio.sleep(0)
        return await super().claim(max_events, max_bytes)

    async def bury(self, claim, cause):
        if self.failures:
            self.failures -= 1
            raise OSError("disk full")
        await super().bury(claim, cause)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("max_retries", [None, 2])
async def test_several_senders_never_stand_still_or_send_twice(seed, max_retries):
    dice, clock = random.Random(seed), ManualClock()
    answers = [Answer(status=status) for status in (503, 500, 400, 413)] + [Answer(error="timeout"), Answer(), Answer()]
    script = [dice.choice(answers) for _ in range(dice.randint(3, 30))]
    count = dice.choice([2, 3, 5, 20, 40])
    server = Server(lambda numbers: script.pop(0) if script else Answer(), dice.choice([2, 3, 4]))
    options = {"batch_size": dice.choice([1, 2, 5, 20]), "max_retries": max_retries, "flush_interval": 1}
    async with Client(server, buffer=SlowClaims(1 << 20), clock=clock, **options) as client:
        await track(client, count)
        await play(client, clock, lambda: client.stats().total.pending == 0, seconds=7200)
        stats = assert_conserved(client)
        assert stats.total.pending == 0
        assert len(server.delivered) == len(set(server.delivered)) == stats.total.delivered
        assert stats.plugins["recorder"].errors == 0


async def test_a_dead_event_that_can_not_be_buried_is_buried_later():
    clock, buffer = ManualClock(), SlowClaims(1 << 20)
    buffer.failures = 2
    server = Server(lambda numbers: Answer(status=500) if 3 in numbers else Answer())
    async with Client(server, buffer=buffer, batch_size=10, flush_interval=1, clock=clock, max_retries=5) as client:
        await track(client, 40)
        await play(client, clock, lambda: client.stats().total.pending == 0)
        stats = assert_conserved(client)
        assert (stats.total.delivered, stats.total.dead) == (39, 1)
        assert len(server.delivered) == 39
        assert stats.plugins["recorder"].errors == 2


async def test_senders_that_start_again_count_what_was_kept_aside():
    clock = ManualClock()
    server = Server(lambda numbers: Answer(status=500) if 3 in numbers else Answer())
    client = Client(server, batch_size=10, flush_interval=1, clock=clock)
    await client.start()
    await track(client, 40)
    accounting = client._pipeline.lanes[0]._accounting
    await play(client, clock, lambda: accounting.pending == 1 and accounting.awaited == 0)
    for task in asyncio.all_tasks():
        if "sender" in task.get_name():  # as `asyncio.run` does at its end
            task.cancel()
    server.answer = lambda numbers: Answer()
    async with asyncio.timeout(5):
        await client.flush()
        assert (accounting.pending, accounting.awaited) == (0, 0)
        await client.aclose()


async def test_however_many_events_are_bad_the_others_go_on_for_ever():
    """When as much is kept aside as may be, and all of it holds bad events, others still tell that it is no outage."""
    clock, delivered = ManualClock(), []
    server = Server(
        lambda numbers: Answer(status=500) if any(number * 7919 % 100 < 3 for number in numbers) else Answer()
    )
    async with Client(server, batch_size=20, flush_interval=1, clock=clock, shutdown_timeout=0) as client:
        for start in range(0, 10_000, 20):
            await track(client, 20, start)
            await play(client, clock, lambda: False, seconds=1)
            delivered.append(len(server.delivered))
        await play(client, clock, lambda: False, seconds=600)
        delivered.append(len(server.delivered))
        assert_conserved(client)
    assert all(later > earlier for earlier, later in itertools.pairwise(delivered[::50]))
    assert delivered[-1] > 5000


class Distant(Server):
    """Takes 20 ms for each request."""

    clock: ManualClock

    async def send(self, batch):
        answered = asyncio.get_running_loop().create_future()
        self.clock.call_later(0.02, lambda: answered.done() or answered.set_result(None))
        await answered
        return await super().send(batch)


@pytest.mark.parametrize(
    ("share", "while_they_come", "later"),
    [(0.01, 0.98, 1), (0.05, 0.8, 1), (0.1, 0.5, 1), (0.2, 0.15, 0.3), (0.5, 0.03, 0.1)],
)
async def test_where_many_events_are_bad_the_good_are_delivered_in_smaller_batches(share, while_they_come, later):
    clock, count = ManualClock(), 4000
    bad = {n for n in range(count) if random.Random(n).random() < share}
    server = Distant(lambda numbers: Answer(status=403) if bad & set(numbers) else Answer())
    server.clock = clock
    async with Client(server, batch_size=20, flush_interval=1, clock=clock, shutdown_timeout=0.5) as client:
        for start in range(0, count, 20):
            await track(client, 20, start)
            await play(client, clock, lambda: False, seconds=1)
        assert len(server.delivered) >= while_they_come * (count - len(bad))
        await play(client, clock, lambda: len(server.delivered) == count - len(bad), seconds=600)
        assert len(server.delivered) >= later * (count - len(bad))
        letters = [orjson.loads(letter.entry)["tags"]["n"] for letter in await client.dead_letters()]
        assert set(letters) <= bad
        assert_conserved(client)
