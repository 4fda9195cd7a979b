"""The current user: under every way that Python has to do things at once, each event is its own user's."""

import asyncio
import contextlib
import json
import threading
from collections import Counter

import aiohttp
import orjson
import pytest
from aiohttp import web
from support import Recorder

import aiotrack
from aiotrack import Client, current_user, use_user
from aiotrack.testing import until

IDENTITIES = 1000


@pytest.fixture
async def recorder():
    return Recorder()


@pytest.fixture
async def client(recorder):
    async with Client(recorder) as client:
        yield client


async def tracked(client, recorder):
    """Return how often each user's events came, by whose they were to be."""
    await client.flush()
    events = [orjson.loads(entry) for entry in recorder.events]
    assert all(event["user_id"] == event["event"] for event in events)
    return Counter(event["event"] for event in events)


async def test_without_one_there_is_none_and_the_event_is_refused(caplog):
    assert current_user() is None
    for _ in range(3):
        result = await aiotrack.track_event("purchase", {"a": 1}, event_id="id")
        assert not result
        assert result.event_id == "id"
        assert result.refused["client"].reason == "no current user"
        assert await result.delivered() == aiotrack.Rejected("no current user")
    assert [record.message for record in caplog.records] == [
        "event 'purchase' refused: no current user: none is set where this is called: `with aiotrack.use_user(user):`"
    ]


async def test_with_one_all_that_a_call_takes_goes_along(client, recorder):
    with use_user(client.create_user_context("ann")) as user:
        assert current_user() is user
        moment = 1_700_000_000_000
        assert await aiotrack.track_event("k", {"a": 1}, event_id="id", timestamp=moment, to="recorder", timeout=5)
        assert not await aiotrack.track_event("k", to="nobody")
    assert current_user() is None
    await client.flush()
    (event,) = map(orjson.loads, recorder.events)
    assert (event["event_id"], event["timestamp"], event["tags"]) == ("id", moment, {"a": 1})


async def test_blocks_within_blocks_and_errors(client):
    ann, bob = client.create_user_context("ann"), client.create_user_context("bob")
    with use_user(ann):
        with contextlib.suppress(KeyError), use_user(bob):
            assert current_user() is bob
            raise KeyError
        assert current_user() is ann
        with use_user(None):
            assert current_user() is None
        assert current_user() is ann
    assert current_user() is None


@pytest.mark.parametrize("user", ["ann", 5, {"id": "ann"}])
def test_anything_else_is_a_mistake(user):
    with pytest.raises(TypeError, match="use_user: expected a user context or None, got"), use_user(user):
        pass


async def test_a_thousand_users_in_tasks_task_groups_and_background_tasks(client, recorder):
    background = []

    async def later(name):
        await asyncio.sleep(0)
        await aiotrack.track_event(name)

    async def request(name):
        with use_user(client.create_user_context(name)):
            await asyncio.sleep(0)
            await aiotrack.track_event(name)
            async with asyncio.TaskGroup() as group:
                group.create_task(later(name))
                group.create_task(later(name))
            background.append(asyncio.create_task(later(name)))

    names = [f"user {number}" for number in range(IDENTITIES)]
    await asyncio.gather(*(request(name) for name in names))
    await asyncio.gather(*background)
    assert await tracked(client, recorder) == dict.fromkeys(names, 4)


async def test_a_thousand_users_in_threads(client, recorder):
    def work(name):
        user = current_user()
        assert user.track_event_threadsafe(name).result(30)
        with use_user(user):
            return user.user_id

    async def request(name):
        with use_user(client.create_user_context(name)):
            assert await asyncio.to_thread(work, name) == name

    names = [f"user {number}" for number in range(IDENTITIES)]
    await asyncio.gather(*map(request, names))
    assert await tracked(client, recorder) == dict.fromkeys(names, 1)


async def test_a_bare_thread_has_none(client):
    seen = []
    with use_user(client.create_user_context("ann")):
        thread = threading.Thread(target=lambda: seen.append(current_user()))
        thread.start()
        await asyncio.to_thread(thread.join)
    assert seen == [None]


async def test_a_thousand_users_in_async_generators_that_take_turns(client, recorder):
    async def parts(name):
        for _ in range(3):
            await asyncio.sleep(0)
            await aiotrack.track_event(name)
            yield name

    async def stream(name):
        with use_user(client.create_user_context(name)):
            async for part in parts(name):
                assert part == name == current_user().user_id

    names = [f"user {number}" for number in range(IDENTITIES)]
    await asyncio.gather(*map(stream, names))
    assert await tracked(client, recorder) == dict.fromkeys(names, 3)


async def test_a_generator_that_is_abandoned_raises_nothing(client):
    async def parts():
        with use_user(client.create_user_context("ann")):
            yield 1
            yield 2

    async def elsewhere():
        generator = parts()
        assert await anext(generator) == 1
        return generator

    generator = await asyncio.create_task(elsewhere())
    await generator.aclose()  # in another context than that in which it began
    assert current_user() is None


async def test_each_websocket_has_its_own(client, recorder):
    async def serve(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        with use_user(client.create_user_context(request.query["user"])):
            async for message in socket:
                await asyncio.sleep(0)
                await aiotrack.track_event(message.data)
                await socket.send_str(current_user().user_id)
        return socket

    application = web.Application()
    application.add_routes([web.get("/", serve)])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]

    async def talk(session, name):
        async with session.ws_connect(f"http://127.0.0.1:{port}/", params={"user": name}) as socket:
            for _ in range(3):
                await socket.send_str(name)
                assert await socket.receive_str() == name

    names = [f"user {number}" for number in range(20)]
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(talk(session, name) for name in names))
    await runner.cleanup()
    assert await tracked(client, recorder) == dict.fromkeys(names, 3)


# -- carried to a worker -------------------------------------------------------------------------------


async def test_a_user_is_carried_as_json_and_tracks_the_same(client, recorder):
    user = client.create_user_context("ann", {"plan": "pro", "n": 5}, user_agent="UA", ip_address="::1", session_id=7)
    data = json.loads(json.dumps(user.dump()))
    assert data == {
        "version": 1,
        "user_id": "ann",
        "attributes": {"plan": "pro", "n": 5},
        "user_agent": "UA",
        "ip_address": "::1",
        "session_id": 7,
    }
    for one in (user, client.load_user(data)):
        assert await one.track_event("k", event_id="e", timestamp=1_700_000_000_000)
    await client.flush()
    first, second = recorder.events
    assert first == second


async def test_an_attribute_that_is_no_json_is_left_out_with_a_warning(client, caplog):
    user = client.create_user_context("ann", {"plan": "pro", "file": object()})
    assert json.loads(json.dumps(user.dump()))["attributes"] == {"plan": "pro"}
    assert "attributes.file: expected a JSON value, or what stands for one, got object" in caplog.text


async def test_a_user_that_refuses_its_events_does_so_there_too(client):
    data = json.loads(json.dumps(client.create_user_context(5.5).dump()))
    result = await client.load_user(data).track_event("k")
    assert str(result.refused["recorder"]) == "invalid event: user_id: expected a str, an int or a UUID, got float"


class Hostile(dict):
    def __iter__(self):
        raise RuntimeError("secret-value")

    keys = items = __iter__


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (None, "user: expected what dump() returns, of version 1, got NoneType"),
        ("ann", "user: expected what dump() returns, of version 1, got str"),
        ([], "user: expected what dump() returns, of version 1, got list"),
        ({}, "user: expected what dump() returns, of version 1, got dict"),
        ({"user_id": "ann"}, "user: expected what dump() returns, of version 1, got dict"),
        ({"version": 2, "user_id": "ann"}, "user: expected what dump() returns, of version 1, got version 2"),
        ({"version": True, "user_id": "ann"}, "user: expected what dump() returns, of version 1, got another"),
        ({"version": 1}, "user_id: expected a str, an int or a UUID, got NoneType"),
        ({"version": 1, "user_id": "ann", "attributes": 5}, "attributes: expected a mapping or None, got int"),
        ({"version": 1, "user_id": "ann", "problem": [1, 2]}, None),
        (Hostile(version=1), "user: expected what dump() returns, of version 1, got"),
    ],
)
async def test_garbage_gives_a_user_that_refuses_its_events(data, sentence, client):
    result = await client.load_user(data).track_event("k")
    assert bool(result) == (sentence is None)
    assert sentence is None or str(result.refused["recorder"]).startswith(f"invalid event: {sentence}")


async def test_it_can_be_set_before_the_client_starts():
    recorder = Recorder()
    client = Client(recorder)
    with use_user(client.create_user_context("ann")):
        async with client:
            assert await aiotrack.track_event("ann")
            await until(lambda: client.stats().total.accepted == 1)
    assert len(recorder.events) == 1
