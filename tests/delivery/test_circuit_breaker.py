"""Retries: the circuit breaker and its probes, limits, several requests under way, and what receipts say meanwhile."""

import asyncio
import math

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import Answer, Client, FileBuffer, MemoryBuffer
from aiotrack.buffers.memory import MemoryLaneBuffer
from aiotrack.delivery.circuit_breaker import OPENS_AFTER, PROBE
from aiotrack.model.verdict import Verdict
from aiotrack.testing import ManualClock, until


class Scripted(Recorder):
    """Answers by a function of the batch, and keeps every batch it was sent."""

    def __init__(self, answer, max_in_flight=1):
        super().__init__()
        self.max_in_flight = max_in_flight
        self.answer = answer
        self.sent = []

    async def send(self, batch):
        self.sent.append(batch)
        answer = self.answer(batch)
        if answer == Answer():
            self.batches.append(batch)
        await asyncio.sleep(0)
        return answer


def numbers(batches):
    return [orjson.loads(entry)["tags"]["n"] for batch in batches for entry in batch.entries]


async def track(client, count, start=0):
    user = client.create_user_context("u")
    return [await user.track_event("k", {"n": n}) for n in range(start, start + count)]


async def go_on(client, clock, until_true):
    """Move the clock from timer to timer until it is true."""
    async with asyncio.timeout(20):
        while not until_true():
            if clock.next_timer is not None:
                clock.advance(clock.next_timer)
            await asyncio.sleep(0.0005)  # a loop that never rests would starve the thread of a file buffer


@pytest.mark.parametrize("in_flight", [1, 3])
@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_an_outage_is_probed_with_one_small_batch_at_a_time(in_flight, kind, clock, tmp_path):
    up = False
    destination = Scripted(lambda batch: Answer() if up else Answer(status=503), in_flight)
    buffer = MemoryBuffer() if kind == "memory" else FileBuffer(tmp_path, sync="normal")
    async with Client(destination, buffer=buffer, batch_size=100, flush_interval=3600, clock=clock) as client:
        await track(client, 300)
        await go_on(client, clock, lambda: len(destination.sent) >= OPENS_AFTER + 2 * in_flight + 6)
        assert len(destination.sent[0]) == 100
        probes = destination.sent[in_flight:]
        assert all(len(batch) <= PROBE for batch in probes)
        first = set(numbers(destination.sent[:1]))
        others = set(range(300)) - first if in_flight == 1 else set()
        assert (
            not others or set(numbers(probes[:1])) <= others
        )  # it tells whether the server or the events are at fault
        assert client.stats().lanes["recorder"].state == "down"
        up = True
        await go_on(client, clock, lambda: client.stats().total.delivered == 300)
        assert client.stats().lanes["recorder"].state == "up"
        assert_conserved(client)
    assert sorted(numbers(destination.batches)) == list(range(300))


async def test_after_an_outage_the_first_failure_is_a_small_one_again(clock):
    answers = [Answer(status=503)] * (OPENS_AFTER + 3) + [Answer()] + [Answer(status=503), Answer()]
    destination = Scripted(lambda batch: answers.pop(0) if answers else Answer())
    async with Client(destination, batch_size=50, flush_interval=3600, clock=clock) as client:
        await track(client, 50)
        await go_on(client, clock, lambda: len(answers) == 1)
        await until(lambda: clock.next_timer is not None)
        assert clock.next_timer <= 0.5
        await go_on(client, clock, lambda: client.stats().total.delivered == 50)


async def test_the_probe_is_sent_while_another_sender_waits_for_work(clock):
    up = False
    destination = Scripted(lambda batch: Answer() if up else Answer(status=503), 2)
    async with Client(destination, batch_size=5, flush_interval=3600, clock=clock) as client:
        await track(client, 5)
        await go_on(client, clock, lambda: len(destination.sent) == OPENS_AFTER + 2)
        up = True
        await go_on(client, clock, lambda: client.stats().total.delivered == 5)


async def test_a_receipt_does_not_say_delivered_for_what_was_put_back(clock):
    destination = Scripted(lambda batch: Answer(status=503), 2)
    client = Client(destination, batch_size=50, flush_interval=3600, clock=clock, shutdown_timeout=0)
    await client.start()
    results = await track(client, 200)
    asked = [asyncio.create_task(result.delivered()) for result in results]
    await go_on(client, clock, lambda: len(destination.sent) > OPENS_AFTER + 6)
    assert not any(task.done() for task in asked)
    await client.aclose()
    assert {type(task.result()) for task in [*asked] if task.done()} <= {aiotrack.Unknown}
    await asyncio.gather(*asked)
    assert_conserved(client)


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize(("limit", "requests"), [(0, 1), (3, 4), (5, 6)])
async def test_a_batch_is_given_up_after_so_many_retries(limit, requests, kind, clock, tmp_path):
    buffer = MemoryBuffer() if kind == "memory" else FileBuffer(tmp_path, sync="normal")
    destination = Scripted(lambda batch: Answer(status=503))
    async with Client(
        destination, buffer=buffer, max_retries=limit, batch_size=5, flush_interval=3600, clock=clock
    ) as client:
        (result, *_) = await track(client, 5)
        await go_on(client, clock, lambda: client.stats().total.dead == 5)
        assert len(destination.sent) == requests
        assert {batch.attempt for batch in destination.sent} == set(range(1, requests + 1))
        why = f"given up after {requests} requests: HTTP 503"
        assert await result.delivered(1) == aiotrack.Rejected(why)
        assert {letter.cause.reason for letter in await client.dead_letters()} == {why}


@pytest.mark.parametrize("in_flight", [1, 2])
async def test_an_event_is_given_up_when_it_is_too_old(in_flight, clock):
    destination = Scripted(lambda batch: Answer(status=503), in_flight)
    async with Client(destination, max_age=100, batch_size=5, flush_interval=3600, clock=clock) as client:
        began = clock.monotonic()
        await track(client, 10)
        await go_on(client, clock, lambda: client.stats().total.dead == 10)
        assert 100 <= clock.monotonic() - began <= 200


async def test_giving_up_does_not_hurry(clock):
    destination = Scripted(lambda batch: Answer(status=429, headers={"Retry-After": "60"}))
    async with Client(destination, max_retries=0, batch_size=10, flush_interval=3600, clock=clock) as client:
        began = clock.monotonic()
        await track(client, 50)
        await go_on(client, clock, lambda: client.stats().total.dead == 50)
        assert clock.monotonic() - began >= 4 * 60


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 60, 333, 500])
@pytest.mark.parametrize("bad", [0, 0.3, 0.5, 0.99])
async def test_one_bad_event_is_found_in_few_requests_wherever_it_is(count, bad):
    bad = int(bad * count)
    destination = Scripted(lambda batch: Answer(status=400) if bad in numbers([batch]) else Answer())
    async with Client(destination, batch_size=500) as client:
        await track(client, count)
        await client.flush()
        total = assert_conserved(client).total
    assert (total.delivered, total.dead) == (count - 1, 1)
    assert len(destination.sent) <= 2 * math.log2(count) + 1
    assert numbers(destination.batches) == [n for n in range(count) if n != bad]


@pytest.mark.parametrize("bad", [range(9), [*range(9), 499], range(100, 140), range(1, 500, 50), [0, 250, 499]])
async def test_many_bad_events_do_not_take_the_good_ones_with_them(bad):
    bad = set(bad)
    destination = Scripted(lambda batch: Answer(status=400) if bad & set(numbers([batch])) else Answer())
    async with Client(destination, batch_size=500) as client:
        await track(client, 500)
        await client.flush()
        total = assert_conserved(client).total
    assert (total.delivered, total.dead) == (500 - len(bad), len(bad))


async def test_events_that_are_too_large_do_not_take_the_others_with_them():
    def answer(batch):
        return Answer(status=413) if len(batch.request.body) > 5000 else Answer()

    destination = Scripted(answer)
    async with Client(destination, batch_size=500) as client:
        user = client.create_user_context("u")
        for n in range(500):
            assert await user.track_event("k", {"n": n, "text": "x" * (6000 if n < 9 else 1)})
        await client.flush()
        total = assert_conserved(client).total
    assert (total.delivered, total.dead) == (491, 9)


@pytest.mark.parametrize(
    "verdict",
    [None, "delivered", Verdict("dead"), ("bisect", None, ["0"]), ("retry", float("inf")), ("bisect", 1, [-1])],
)
async def test_a_wrong_verdict_neither_stops_nor_spins_the_lane(verdict, clock):
    class Judging(Scripted):
        wrong = 2

        def judge(self, answer, now):
            if self.wrong:
                self.wrong -= 1
                return Verdict(*verdict) if isinstance(verdict, tuple) else verdict
            return super().judge(answer, now)

    destination = Judging(lambda batch: Answer())
    async with Client(destination, batch_size=3, flush_interval=3600, clock=clock) as client:
        await track(client, 6)
        await go_on(client, clock, lambda: client.stats().total.pending == 0)
        assert len(destination.sent) <= 10
        assert clock.monotonic() <= 700
        assert_conserved(client)


async def test_a_buffer_that_fails_again_and_again_keeps_its_claim(clock):
    class Failing(MemoryLaneBuffer):
        failures = 3

        def for_lane(self, name):
            return self

        async def ack(self, claim):
            if self.failures:
                self.failures -= 1
                raise OSError("disk")
            await super().ack(claim)

    recorder = Recorder()
    async with Client(recorder, buffer=Failing(1 << 20), batch_size=2, flush_interval=3600, clock=clock) as client:
        await track(client, 2)
        await go_on(client, clock, lambda: client.stats().total.pending == 0)
        assert assert_conserved(client).total.delivered == 2


async def test_nothing_grows_while_a_lane_is_down_for_long(clock):
    destination = Scripted(lambda batch: Answer(status=503))
    client = Client(
        *[destination],
        buffer=MemoryBuffer(20_000),
        overflow="drop_oldest",
        max_age=10_000,
        batch_size=10,
        flush_interval=1,
        clock=clock,
        shutdown_timeout=0,
    )
    async with client:
        for n in range(300):
            await track(client, 20, n * 20)
            clock.advance(1)
            await asyncio.sleep(0)
        lane = client._pipeline.lanes[0]
        assert len(lane._schedule._marks) <= 210
        assert len(lane._accounting.requeued) <= 20
        assert_conserved(client)


ANSWERS = st.sampled_from([200, 200, 200, 413, 400, 404, 500, 503, "named"])


@settings(max_examples=40, deadline=None)
@given(
    script=st.lists(ANSWERS, max_size=30),
    in_flight=st.integers(1, 4),
    bad=st.sets(st.integers(0, 119), max_size=12),
    batch=st.integers(1, 60),
    data=st.data(),
)
def test_whatever_is_answered_every_event_ends_once(script, in_flight, bad, batch, data):
    script = list(script)

    def answer(sent):
        status = script.pop(0) if script else 200
        found = [place for place, n in enumerate(numbers([sent])) if n in bad]
        if status == "named":
            return Answer(status=400, body=repr(found).encode()) if found else Answer()
        if status == 200:
            return Answer(status=400) if found else Answer()
        return Answer(status=status)

    class Naming(Scripted):
        def judge(self, answer, now):
            verdict = super().judge(answer, now)
            return Verdict(verdict.action, verdict.delay, bad=orjson.loads(answer.body)) if answer.body else verdict

    async def main():
        clock = ManualClock()
        destination = Naming(answer, in_flight)
        async with Client(destination, batch_size=batch, flush_interval=3600, clock=clock) as client:
            results = await track(client, 120)
            client.stats()
            asked = [asyncio.create_task(result.delivered()) for result in results]
            flushing = asyncio.create_task(client.flush(timeout=60))
            await go_on(client, clock, lambda: client.stats().total.pending == 0)
            await flushing
            total = assert_conserved(client).total
            receipts = await asyncio.gather(*asked)
            delivered = numbers(destination.batches)
            assert len(delivered) == len(set(delivered)) == total.delivered
            dead = [orjson.loads(letter.entry)["tags"]["n"] for letter in await client.dead_letters()]
            assert sorted(delivered + dead) == list(range(120))
            assert [n for n, receipt in enumerate(receipts) if receipt == aiotrack.Delivered()] == sorted(delivered)
            assert client.stats().total.bytes_pending == 0

    asyncio.run(main())


async def test_a_server_that_flaps_is_one_line_and_an_outage_after_it_another(clock, caplog):
    caplog.set_level("INFO", "aiotrack")
    failing = True
    destination = Scripted(lambda batch: Answer(status=503) if failing else Answer())
    async with Client(destination, batch_size=1, flush_interval=3600, clock=clock) as client:
        for _ in range(20):
            failing = True
            await track(client, 1)
            await go_on(client, clock, lambda: client.stats().lanes["recorder"].state != "up")
            failing = False
            await go_on(client, clock, lambda: client.stats().total.pending == 0)
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
        clock.advance(61)
        failing = True
        await track(client, 1)
        await go_on(client, clock, lambda: client.stats().lanes["recorder"].state != "up")
        failing = False
        await go_on(client, clock, lambda: client.stats().total.pending == 0)
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"] * 2


async def test_a_flush_tries_a_paused_lane_at_once(clock):
    wrong = True
    destination = Scripted(lambda batch: Answer(status=404) if wrong else Answer())
    async with Client(destination, batch_size=5, flush_interval=3600, clock=clock) as client:
        await track(client, 5)
        await until(lambda: client.stats().lanes["recorder"].state == "paused")
        wrong = False
        async with asyncio.timeout(5):
            assert (await client.flush()).delivered == 5
        assert clock.monotonic() == 0
