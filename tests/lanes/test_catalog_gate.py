"""Events that come before their destination knows its events: held in order, bounded, and not for ever."""

import asyncio

import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import Catalog, Client, MemoryBuffer
from aiotrack.lanes import catalog_gate
from aiotrack.testing import until


class Learns(Recorder):
    """A destination that learns its events from a document."""

    needs_catalog = True
    kind = "learns"


def tracking(client, count, **tags):
    user = client.create_user_context("u", {"plan": {"name": "gold"}})
    return [asyncio.ensure_future(user.track_event("k", {"n": number, **tags})) for number in range(count)]


async def test_events_wait_for_the_first_catalog_and_leave_in_order():
    destination = Learns()
    async with Client(destination) as client:
        waiting = tracking(client, 120)
        await asyncio.sleep(0)
        assert client.stats().total.accepted == 0
        destination.update_catalog(Catalog("1"))
        assert all(await asyncio.gather(*waiting))
        later = await client.create_user_context("u").track_event("later")
        assert later
        await client.flush()
        assert assert_conserved(client).total.delivered == 121
    numbers = [int(entry.split(b'"n":')[1].split(b"}")[0]) for entry in destination.events[:-1]]
    assert numbers == list(range(120))


async def test_an_event_keeps_its_tags_and_attributes_as_they_were_at_the_call():
    destination, tags, plan = Learns(), {"items": ["shoes"]}, {"name": "gold"}
    async with Client(destination) as client:
        user = client.create_user_context("u", {"plan": plan})
        waiting = asyncio.ensure_future(user.track_event("k", tags))
        untagged = asyncio.ensure_future(user.track_event("untagged"))
        await asyncio.sleep(0)
        tags["items"].append("socks")
        plan["name"] = "none"
        destination.update_catalog(Catalog("1"))
        assert await waiting
        assert await untagged
    assert b'"items":["shoes"]' in destination.events[0]
    assert b'"name":"gold"' in destination.events[0]


async def test_who_can_not_wait_is_refused_and_so_are_more_than_fit(monkeypatch):
    monkeypatch.setattr(catalog_gate, "MOST", 3)
    destination = Learns()
    async with Client(destination) as client:
        refused = client.create_user_context("u").track_event_nowait("k").refused["learns"]
        assert str(refused) == "not ready: there is no datafile or settings document yet"
        waiting = tracking(client, 5)
        await until(lambda: client.stats().refused == {"not ready": 3})
        destination.update_catalog(Catalog("1"))
        assert [bool(result) for result in await asyncio.gather(*waiting)] == [True] * 3 + [False] * 2


async def test_the_tags_of_those_who_wait_are_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(catalog_gate, "MOST_BYTES", 250)
    destination = Learns()
    async with Client(destination) as client:
        waiting = tracking(client, 3, text="x" * 100)
        await until(lambda: client.stats().refused == {"not ready": 1})
        destination.update_catalog(Catalog("1"))
        assert sum(map(bool, await asyncio.gather(*waiting))) == 2


async def test_callers_who_left_take_no_room(monkeypatch):
    monkeypatch.setattr(catalog_gate, "MOST_BYTES", 250)
    destination = Learns()
    async with Client(destination) as client:
        for _ in range(5):
            (leaves,) = tracking(client, 1, text="x" * 100)
            await asyncio.sleep(0)
            leaves.cancel()
        waiting = tracking(client, 2, text="x" * 100)
        await asyncio.sleep(0)
        destination.update_catalog(Catalog("1"))
        assert all(await asyncio.gather(*waiting))


async def test_after_the_deadline_all_are_refused_at_once_and_a_late_catalog_still_opens(clock):
    destination = Learns()
    destination.ready_timeout = 5.0
    async with Client(destination, clock=clock) as client:
        waiting = tracking(client, 60)
        await asyncio.sleep(0)
        clock.advance(4.9)
        await asyncio.sleep(0)
        assert not any(one.done() for one in waiting)
        clock.advance(0.2)
        assert not any(await asyncio.gather(*waiting))
        assert not await tracking(client, 1)[0]
        assert client.stats().refused == {"not ready": 61}
        destination.update_catalog(Catalog("1"))
        assert await tracking(client, 1)[0]


async def test_what_finds_no_room_when_it_is_admitted_is_refused_as_the_policy_says():
    destination, options = Learns(), {"overflow": "drop_newest", "flush_interval": 3600}
    async with Client(destination, buffer=MemoryBuffer(200), **options) as client:
        waiting = tracking(client, 3, text="x" * 20)
        await asyncio.sleep(0)
        destination.update_catalog(Catalog("1"))
        results = await asyncio.gather(*waiting)
        assert [bool(result) for result in results] == [True, False, False]
        assert results[1].refused["learns"].reason == "buffer full"


async def test_one_that_comes_while_the_others_are_admitted_waits_behind_them():
    destination = Learns()
    async with Client(destination) as client:
        waiting = tracking(client, 120)
        await asyncio.sleep(0)
        destination.update_catalog(Catalog("1"))
        nowait = client.create_user_context("u").track_event_nowait("now")
        assert (
            str(nowait.refused["learns"])
            == "not ready: events that waited for the first datafile or settings document are still on their way in"
        )
        behind = asyncio.ensure_future(client.create_user_context("u").track_event("behind"))
        assert all(await asyncio.gather(*waiting, behind))
    assert b'"behind"' in destination.events[-1]


@pytest.mark.parametrize("late", [False, True])
async def test_a_close_refuses_who_still_waits(late, clock):
    destination = Learns()
    client = Client(destination, clock=clock, shutdown_timeout=0.05)
    await client.start()
    waiting = tracking(client, 2)
    await asyncio.sleep(0)
    if late:
        waiting.pop().cancel()
    await client.aclose()
    assert not any(await asyncio.gather(*waiting))
    assert_conserved(client)


async def test_a_destination_that_starts_with_a_catalog_holds_nobody():
    heard = []

    class Listens:
        @aiotrack.hookimpl
        def aiotrack_catalog_updated(self, destination, catalog):
            heard.append((destination.name, catalog.revision))

    destination = Learns()
    destination.update_catalog(Catalog("7"))
    async with Client(destination, Listens()) as client:
        assert client.create_user_context("u").track_event_nowait("k")
    assert heard == [("learns", "7")]
