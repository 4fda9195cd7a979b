"""Destinations are foreign code: what one does wrong is counted, and costs its own events at most."""

import asyncio

import pytest
from support import Recorder

import aiotrack
from aiotrack import Client, Rejected, errors
from aiotrack.testing import Collector, Reply, until


async def accepted(client, count=1):
    user = client.create_user_context("u")
    return [await user.track_event("k", {"n": number}) for number in range(count)]


class ReturnsNothing(Recorder):
    async def send(self, batch):
        if len(self.batches) == 0 and not self.answers:
            self.answers = [aiotrack.Answer()]
            return None
        return await super().send(batch)


class CancelsItself(Recorder):
    async def send(self, batch):
        if not self.answers:
            self.answers = [aiotrack.Answer()]
            raise asyncio.CancelledError
        return await super().send(batch)


class JudgesBadly(Recorder):
    judged = 0

    def judge(self, answer, now):
        self.judged += 1
        if self.judged == 1:
            raise KeyError
        return super().judge(answer, now)


@pytest.mark.parametrize("kind", [ReturnsNothing, CancelsItself, JudgesBadly])
async def test_a_destination_that_misbehaves_once_is_counted_and_sent_to_again(kind, clock):
    destination = kind()
    async with Client(destination, batch_size=1, clock=clock) as client:
        await accepted(client)
        await until(lambda: client.stats().total.retries == 1)
        assert client.stats().plugins["recorder"].errors == 1
        report = await client.flush()
        assert report.delivered == 1


@pytest.mark.parametrize(
    "text", ["Mon, 1 Jan 2024 00:00:00 +99999999999999999999", "0", "Mon, 01 Jan 2024 00:00:00 GMT"]
)
async def test_no_retry_after_stops_or_spins_the_sender(text, clock):
    async with (
        Collector(default=Reply(status=503, headers={"Retry-After": text})) as collector,
        Client(aiotrack.HTTPDestination(collector.url), batch_size=1, clock=clock, shutdown_timeout=0.1) as client,
    ):
        await accepted(client)
        for attempt in range(1, 6):
            await until(lambda attempt=attempt: client.stats().total.retries == attempt)
            assert clock.next_timer > 0
            clock.advance(clock.next_timer)
        assert len(collector.requests) <= 6


async def test_adjacent_bad_events_do_not_take_the_good_ones_with_them():
    async def deliver(bad, count=500):
        def answer(request):
            return Reply(status=400) if any(event["tags"]["n"] in bad for event in request.json()) else None

        async with Collector(answer=answer) as collector:
            async with Client(aiotrack.HTTPDestination(collector.url), batch_size=count) as client:
                await accepted(client, count)
                return await client.flush()

    for bad in (range(8), range(200, 216), range(484, 500), {0, 499}):
        report = await deliver(bad)
        assert (report.delivered, report.dead) == (500 - len(bad), len(bad))


async def test_a_rejection_is_told_before_a_slow_destination_has_answered():
    async with Collector(default=Reply(hang=True)) as slow, Collector(default=Reply(status=400)) as dead:
        destinations = [aiotrack.HTTPDestination(server.url, name=name) for name, server in (("s", slow), ("d", dead))]
        async with Client(*destinations, batch_size=1, shutdown_timeout=0.1) as client:
            (result,) = await accepted(client)
            assert await result.delivered(5) == Rejected("HTTP 400")


async def test_one_destination_serves_one_client_at_a_time():
    recorder = Recorder()
    async with Client(recorder):
        with pytest.raises(errors.StartError, match="in use by another client"):
            await Client(recorder).start()
    async with Client(recorder) as client:
        await accepted(client)
    assert len(recorder.events) == 1


async def test_an_encode_that_was_put_in_place_of_another_is_the_one_that_counts(monkeypatch):
    """On the object or on the class."""
    recorder = Recorder()
    recorder.encode = lambda event: b"1"
    async with Client(recorder) as client:
        await accepted(client)
    monkeypatch.setattr(aiotrack.Destination, "encode", lambda self, event: b"2")
    other = Recorder()
    async with Client(other) as client:
        await accepted(client)
    assert (recorder.events, other.events) == ([b"1"], [b"2"])
