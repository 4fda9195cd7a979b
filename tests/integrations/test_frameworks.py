"""Every page of docs/frameworks/, its program served by a real server: users are not mixed up, and no event is lost."""

import asyncio

import aiohttp
import pytest
from served import MORE_SERVERS, SERVED, buy, serve

from aiotrack.testing import Collector, until

EVERYWHERE = {**SERVED, **MORE_SERVERS}


def events(collector):
    return [event for request in collector.requests for event in request.json()]


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session:
        yield session


@pytest.mark.parametrize("served", EVERYWHERE.values(), ids=EVERYWHERE)
async def test_a_thousand_users_at_once_are_not_mixed_up(served, tmp_path, session, collector):
    users = [f"user-{number}" for number in range(1000)]
    async with serve(served, tmp_path, collector.url) as server:
        assert all(await asyncio.gather(*(buy(session, server, user) for user in users)))
        await server.end()
    got = events(collector)
    assert sorted(event["user_id"] for event in got) == sorted(users)
    for event in got:
        assert event["tags"]["item"] == event["user_id"]
        assert event["user_agent"] == f"of {event['user_id']}"
        assert event["ip_address"] == "127.0.0.1"
        assert event["revenue"] == 4200
    assert "Error" not in server.errors


@pytest.mark.parametrize("served", EVERYWHERE.values(), ids=EVERYWHERE)
async def test_what_was_tracked_arrives_when_a_loaded_server_is_told_to_end(served, tmp_path, session, collector):
    tracked = []
    ended = asyncio.Event()

    async def visit(number):
        for turn in range(1000):
            if ended.is_set():
                return
            user = f"user-{number}-{turn}"
            if await buy(session, server, user):
                tracked.append(user)

    async with serve(served, tmp_path, collector.url) as server:
        visitors = [asyncio.create_task(visit(number)) for number in range(20)]
        await until(lambda: len(tracked) > 100)
        await server.end()
        ended.set()
        await asyncio.gather(*visitors)
    arrived = {event["user_id"] for event in events(collector)}
    assert set(tracked) <= arrived, server.errors


@pytest.mark.parametrize("served", SERVED.values(), ids=SERVED)
async def test_with_a_durable_buffer_nothing_is_lost_in_an_outage(served, tmp_path, session, unused_tcp_port):
    url = f"http://127.0.0.1:{unused_tcp_port}/events"
    folder = str(tmp_path / "buffer")
    options = folder if served.page == "django" else f", buffer=aiotrack.FileBuffer({folder!r}), shutdown_timeout=1"
    users = [f"user-{number}" for number in range(50)]
    async with serve(served, tmp_path, url, options) as server:
        assert all(await asyncio.gather(*(buy(session, server, user) for user in users)))
        await server.end()
    async with Collector(port=unused_tcp_port) as collector, serve(served, tmp_path, url, options) as server:
        assert await buy(session, server, "after")
        await until(lambda: len(events(collector)) > len(users))
    assert {event["user_id"] for event in events(collector)} == {*users, "after"}
