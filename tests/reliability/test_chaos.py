"""A random server on the test's clock: whatever it does, every healthy event is delivered, and the counters add up."""

import asyncio
import json
import os
import random
from collections import Counter

import attrs
import pytest
from support import assert_conserved

import aiotrack
from aiotrack import Answer, Client, FileBuffer, SpillBuffer
from aiotrack.testing import ManualClock

ROUNDS = int(os.environ.get("RELIABILITY_ROUNDS", "1"))
HANGS = 15.0  # seconds that a request takes which is never answered
TO_BAD_EVENTS = [400, 403, 404, 406, 409, 413, 422, 429, 500, 502, 503, 302, "ServerDisconnectedError", "hang"]
IN_OUTAGES = [401, 403, 404, 429, 500, 503, "ClientConnectorError", "hang"]
NO_LIMIT = 10**9
SECONDS = 8000  # by which all has ended, after the last outage, while other events come now and then
NEIGHBOURS = 15  # seconds between two of those


@attrs.frozen
class Plan:
    """What a server does."""

    events: int
    bad: dict[int, int | str]
    """The answer that an event draws, by its number."""
    outages: list[tuple[float, float, int | str]]
    flaky: float
    """The share of requests that fail at random; of these a third was taken all the same."""
    seconds_per_event: float
    most: int
    in_flight: int
    batch_size: int

    @classmethod
    def of(cls, dice):
        """Throw the dice."""
        events = dice.choice([100, 300, 600])
        outages, time = [], 0.0
        for _ in range(dice.choice([0, 0, 1, 2])):
            begin = time + dice.uniform(0, 200)
            time = begin + dice.uniform(1, 600)
            outages.append((begin, time, dice.choice(IN_OUTAGES)))
        return cls(
            events=events,
            bad={n: dice.choice(TO_BAD_EVENTS) for n in dice.sample(range(events), dice.choice([0, 1, 1, 2, 5]))},
            outages=outages,
            flaky=dice.choice([0, 0, 0.1, 0.3]),
            seconds_per_event=dice.choice([0, 0.0001, 0.002]),
            most=dice.choice([NO_LIMIT, NO_LIMIT, 50, 7]),
            in_flight=dice.choice([1, 1, 3]),
            batch_size=dice.choice([20, 100, 500]),
        )


class Chaos(aiotrack.Destination):
    """Answers as a plan and the dice say, and keeps what it took."""

    kind = "chaos"

    def __init__(self, plan, dice, clock):
        super().__init__()
        self.plan, self.dice, self.clock = plan, dice, clock
        self.max_in_flight = plan.in_flight
        self.taken = Counter()
        self.answers_lost = 0

    def frame(self, entries, batch_header):
        return aiotrack.Request(url="chaos:", body=b"[" + b",".join(entries) + b"]")

    async def send(self, batch):
        numbers = [event["tags"]["n"] for event in json.loads(batch.request.body)]
        began = self.clock.monotonic()
        await self.wait(0.01 + len(numbers) * self.plan.seconds_per_event)
        for begin, end, what in self.plan.outages:
            if begin <= began < end:
                return await self.answer(what)
        bad = [self.plan.bad[number] for number in numbers if number in self.plan.bad]
        if self.dice.random() < self.plan.flaky:
            if bad or self.dice.random() < 0.7:
                return await self.answer(self.dice.choice([429, 500, 502, 503]))
            self.answers_lost += 1
            self.taken.update(numbers)
            return await self.answer("ServerDisconnectedError")
        if bad:
            return await self.answer(bad[0])
        if len(numbers) > self.plan.most:
            return await self.answer(413)
        self.taken.update(numbers)
        return Answer(status=200)

    async def answer(self, what):
        if what == "hang":
            await self.wait(HANGS)
            return Answer(error="TimeoutError")
        return Answer(error=what) if isinstance(what, str) else Answer(status=what)

    async def wait(self, seconds):
        waiting = asyncio.get_running_loop().create_future()
        timer = self.clock.call_later(seconds, lambda: waiting.done() or waiting.set_result(None))
        try:
            await waiting
        finally:
            timer.cancel()


async def play(client, server, plan, dice, clock):
    """Track all events, then a neighbour now and then, until everything has ended; return how many were tracked."""
    user = client.create_user_context("u")
    tracked, last = 0, 0.0
    over = max((end for _, end, _ in plan.outages), default=0.0)
    while tracked < plan.events or client.stats().total.pending:
        now = clock.monotonic()
        assert now - over < SECONDS, client.stats()
        some = min(dice.choice([0, 1, 10, 50]), plan.events - tracked) if tracked < plan.events else 0
        if tracked >= plan.events and now > over and now - last > NEIGHBOURS:
            some, last = 1, now
        for _ in range(some):
            assert await user.track_event("k", {"n": tracked})
            tracked += 1
        for _ in range(6):
            await asyncio.sleep(0)
        if dice.random() < 0.2:
            await asyncio.sleep(0.0005)  # a file's thread has its turn, too
        assert_conserved(client)
        clock.advance(max(min(clock.next_timer or 0.5, 5.0), 0.001))
    return tracked


@pytest.mark.parametrize("seed", range(12 * ROUNDS))
async def test_every_healthy_event_is_delivered_and_none_is_dead(seed, tmp_path):
    dice, clock = random.Random(seed), ManualClock()
    plan = Plan.of(dice)
    server = Chaos(plan, dice, clock)
    kind = dice.choice(["memory", "memory", "file", "spill"])
    buffer = None if kind == "memory" else FileBuffer(tmp_path)
    if kind == "spill":
        buffer = SpillBuffer(buffer, 20_000)
    options = {"batch_size": plan.batch_size, "shutdown_timeout": 5}
    async with Client(server, buffer=buffer, clock=clock, **options) as client:
        tracked = await asyncio.wait_for(play(client, server, plan, dice, clock), 60)
        dead = {json.loads(letter.entry)["tags"]["n"] for letter in await client.dead_letters()}
    assert dead == set(plan.bad)
    assert set(server.taken) == set(range(tracked)) - dead
    repeated = sum(times - 1 for times in server.taken.values())
    assert repeated <= server.answers_lost * plan.batch_size
    assert server.answers_lost or not repeated
