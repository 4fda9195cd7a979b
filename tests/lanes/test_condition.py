"""What an operator sees of an outage: in the log, and in `stats()`."""

import asyncio
import itertools
import logging
import socket

import pytest
from support import Recorder

import aiotrack
from aiotrack import Answer, Client
from aiotrack.testing import until


async def pass_time(clock, seconds):
    for _ in range(int(seconds)):
        clock.advance(1.0)
        for _ in range(20):
            await asyncio.sleep(0)


class Switch(Recorder):
    up = False
    status = 503

    async def send(self, batch):
        return Answer() if self.up else Answer(status=self.status)


@pytest.mark.parametrize(("status", "level"), [(503, "WARNING"), (401, "ERROR")])
async def test_an_outage_says_itself_every_minute_and_its_end_as_loudly(status, level, clock, caplog):
    caplog.set_level(logging.INFO, "aiotrack")
    destination = Switch()
    destination.status = status
    async with Client(destination, flush_interval=1, clock=clock) as client:
        for _ in range(3):
            await client.create_user_context("u").track_event("k")
        await pass_time(clock, 600)
        destination.up = True
        await pass_time(clock, 90)
        said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert {name for name, _ in said} == {level}
    *outage, end = [text for _, text in said]
    assert 8 <= len(outage) <= 11
    assert f"a batch of 3 failed (HTTP {status}); 3 events wait, the oldest for 1 s, next try in" in outage[0]
    ages = [int(text.split("the oldest for ")[1].split(" s")[0]) for text in outage]
    assert all(later - earlier >= 55 for earlier, later in itertools.pairwise(ages))
    assert end == "recorder: delivering again"


async def test_stats_say_how_old_the_oldest_is_and_what_went_last(clock):
    destination = Switch()
    destination.up = True
    async with Client(destination, Recorder(name="other"), flush_interval=1, clock=clock, shutdown_timeout=0) as client:
        user = client.create_user_context("u")
        lane = client.stats().lanes["recorder"]
        assert (lane.oldest_age, lane.last_delivered_at, lane.last_error) == (0.0, None, None)
        await user.track_event("k")
        await pass_time(clock, 5)
        delivered_at = client.stats().lanes["recorder"].last_delivered_at
        assert clock.time() - 5 <= delivered_at <= clock.time()
        destination.up = False
        await user.track_event("k")
        await pass_time(clock, 50)
        await user.track_event("k")
        await pass_time(clock, 50)
        lane = client.stats().lanes["recorder"]
        assert 99 <= lane.oldest_age <= 101
        assert lane.last_delivered_at == delivered_at
        assert lane.last_error == "a batch of 1 failed (HTTP 503)"
        total = client.stats().total
        assert (total.oldest_age, total.pending, total.last_error) == (lane.oldest_age, 2, None)
        assert total.last_delivered_at == client.stats().lanes["other"].last_delivered_at
        destination.up = True
        await client.flush(timeout=5)
        assert client.stats().total.oldest_age == 0


async def test_the_age_of_the_oldest_is_known_after_thousands_of_batches(clock):
    destination = Switch()
    async with Client(destination, batch_size=1, flush_interval=1, clock=clock, shutdown_timeout=0) as client:
        user = client.create_user_context("u")
        for _ in range(2000):
            await user.track_event("k")
            clock.advance(1.0)
        assert 1900 <= client.stats().total.oldest_age <= 2010
        assert len(client._pipeline.lanes[0]._schedule._marks) <= 200


async def test_the_line_names_the_address_and_the_errno(caplog):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = f"http://user:secret@127.0.0.1:{port}/in?key=secret"
    async with Client(aiotrack.HTTPDestination(url), flush_interval=0.01, shutdown_timeout=0) as client:
        await client.create_user_context("u").track_event("k")
        await until(lambda: caplog.records)
    said = caplog.records[0].getMessage()
    assert f"failed (ClientConnectorError: ECONNREFUSED) at http://127.0.0.1:{port}; 1 events wait" in said
    assert "secret" not in said
