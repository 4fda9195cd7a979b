"""Events that come before their destination knows its events: they hold nobody, and are encoded once it does."""

import asyncio
import itertools

import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import Catalog, Client, Delivered, FileBuffer, MemoryBuffer, Rejected, SpillBuffer, errors
from aiotrack.lanes import late_encoding
from aiotrack.testing import until

NOTHING_LEAVES = "buffer full: there is no room, and learns has no datafile or settings document yet: nothing leaves"


class Learns(Recorder):
    """A destination that learns its events from a document; it numbers what it encodes."""

    needs_catalog = True
    kind = "learns"

    def __init__(self, *answers, **options):
        super().__init__(*answers, **options)
        self.encoded = itertools.count(1)

    def learn(self, revision, *keys):
        self.batch_header = revision.encode()
        self.update_catalog(Catalog(revision, dict.fromkeys(keys or ["k"])))

    def encode(self, event):
        if event.key not in self.catalog.events:
            raise errors.EventRefused(aiotrack.Refusal("unknown event", f"{event.key} is not in the document"))
        return b"%d|%s" % (next(self.encoded), super().encode(event))


@pytest.fixture(params=["memory", "spill", "file"])
def buffer(request, tmp_path):
    return {
        "memory": MemoryBuffer,
        "spill": lambda: SpillBuffer(FileBuffer(tmp_path), max_bytes=500),
        "file": lambda: FileBuffer(tmp_path),
    }[request.param]()


def numbers(destination):
    return [int(entry.split(b'"n":')[1].split(b"}")[0]) for entry in destination.events]


async def track(client, count, key="k", **tags):
    user = client.create_user_context("u", {"plan": {"name": "gold"}})
    return [await user.track_event(key, {"n": number, **tags}) for number in range(count)]


async def test_nobody_waits_for_the_first_document_and_all_leaves_in_order(buffer):
    destination, neighbour = Learns(), Recorder()
    async with Client(destination, neighbour, buffer=buffer, flush_interval=0.01) as client:
        results = await asyncio.wait_for(track(client, 120), 5)
        assert all(set(result.accepted) == {"learns", "recorder"} for result in results)
        await until(lambda: len(neighbour.events) == 120)
        assert client.stats().lanes["learns"].pending == 120
        destination.learn("1")
        results += await track(client, 1)
        await client.flush()
        assert await results[0].delivered(1) == Delivered()
        assert assert_conserved(client).lanes["learns"].delivered == 121
    assert numbers(destination) == [*range(120), 0]
    assert {batch.batch_header for batch in destination.batches} == {b"1"}


async def test_an_event_keeps_its_tags_and_attributes_as_they_were_at_the_call():
    seen = []

    class Sees(Learns):
        def encode(self, event):
            seen.append(event)
            return super().encode(event)

    destination, tags, plan = Sees(), {"items": ["shoes"]}, {"name": "gold"}
    async with Client(destination) as client:
        user = client.create_user_context("u", {"plan": plan}, user_agent="ua", ip_address="::1", session_id=7)
        made = [
            await user.track_event("k", tags, timestamp=5),
            await user.track_event("k", {}),
            user.track_event_nowait("k"),
        ]
        tags["items"].append("socks")
        plan["name"] = "none"
        destination.learn("1")
        await client.flush()
    assert [event.event_id for event in seen] == [result.event_id for result in made]
    first, empty, untagged = seen
    assert (first.tags, first.attributes, first.timestamp) == ({"items": ["shoes"]}, {"plan": {"name": "gold"}}, 5)
    assert (first.user_agent, first.ip_address, first.session_id) == ("ua", "::1", 7)
    assert (empty.tags is aiotrack.NO_TAGS, untagged.tags is aiotrack.NO_TAGS) == (False, True)


async def test_one_that_turns_out_unknown_is_dead_and_costs_the_others_nothing(buffer, caplog):
    destination = Learns()
    async with Client(destination, buffer=buffer, shutdown_timeout=0.5) as client:
        (known,), (unknown,), (last,) = await track(client, 1), await track(client, 1, "typo"), await track(client, 1)
        destination.learn("1")
        await client.flush()
        assert await unknown.delivered(1) == Rejected("unknown event")
        assert (await known.delivered(1), await last.delivered(1)) == (Delivered(), Delivered())
        (letter,) = await client.dead_letters()
        assert letter.cause.reason == "unknown event"
        assert "event 'typo', tracked before it was known what can be sent, is dead: unknown event: typo" in caplog.text
        assert assert_conserved(client).total.dead == 1
        destination.learn("2", "k", "typo")
        assert await client.replay([letter]) == 1
        await client.flush()
        assert destination.batches[-1].batch_header == b"2"
        assert b'"typo"' in destination.events[-1]


@pytest.mark.parametrize("known_elsewhere", [False, True])
async def test_listeners_are_told_once_and_when_it_is_known(known_elsewhere):
    destination, told = Learns(), []
    neighbours = [Recorder()] if known_elsewhere else []
    async with Client(destination, *neighbours) as client:
        client.on("aiotrack_event_tracked", lambda event: told.append(event.key))
        await track(client, 2)
        await track(client, 1, "typo")
        assert told == (["k", "k", "typo"] if known_elsewhere else [])
        destination.learn("1")
        await client.flush()
    assert told == (["k", "k", "typo"] if known_elsewhere else ["k", "k"])


async def test_events_outlive_a_restart_before_the_first_document(tmp_path):
    async with Client(Learns(), buffer=FileBuffer(tmp_path), shutdown_timeout=0.2) as client:
        ids = [result.event_id for result in await track(client, 3)]
        assert (await client.aclose()).pending == 3
    destination, told = Learns(), []
    async with Client(destination, buffer=FileBuffer(tmp_path)) as client:
        client.on("aiotrack_event_tracked", lambda event: told.append(event.event_id))
        destination.learn("2")
        await client.flush()
        assert assert_conserved(client).total.delivered == 3
    assert told == ids
    assert [id_ for id_ in ids for entry in destination.events if id_.encode() in entry] == ids


async def test_what_was_encoded_before_a_restart_does_not_wait_for_a_document(tmp_path):
    down = Learns(*[aiotrack.Answer(status=503)] * 100)
    down.learn("1")
    async with Client(down, buffer=FileBuffer(tmp_path), shutdown_timeout=0.2) as client:
        await track(client, 3)
    destination = Learns()
    async with Client(destination, buffer=FileBuffer(tmp_path), flush_interval=0.01, shutdown_timeout=0.2) as client:
        await track(client, 2)
        await until(lambda: len(destination.events) == 3)
        assert client.stats().total.pending == 2


async def test_an_event_keeps_its_bytes_whatever_comes_between(buffer):
    """The document changes, the buffer raises, the sender starts anew: what was sent once is sent the same again."""
    down = [aiotrack.Answer(status=503)] * 3
    destination, sent = Learns(*down), []
    async with Client(destination, buffer=buffer, flush_interval=0.01, batch_size=10) as client:
        client.on(
            "aiotrack_batch_sending", lambda batch: sent.extend((batch.batch_header, entry) for entry in batch.entries)
        )
        await track(client, 10)
        destination.learn("1")
        await until(lambda: sent)
        destination.learn("2")
        lane = client._pipeline.lanes[0]
        for sender in lane._senders:
            sender.cancel()
        await lane.revive()
        await track(client, 2)
        await client.flush()
        assert assert_conserved(client).total.delivered == 12
    assert len(sent) > len(set(sent)) == 12  # some were sent more than once, and always the same
    assert sorted(int(entry.split(b"|")[0]) for _, entry in set(sent)) == list(range(1, 13))  # each was encoded once
    assert {header for header, _ in sent} == {b"1", b"2"}


async def test_a_document_that_changes_while_events_are_encoded_divides_the_batch(monkeypatch):
    monkeypatch.setattr(late_encoding, "AT_ONCE", 2)

    class Changes(Learns):
        def encode(self, event):
            if event.tags["n"] == 5:
                asyncio.get_running_loop().call_soon(self.learn, "2")
            return super().encode(event)

    destination = Changes()
    async with Client(destination) as client:
        await track(client, 10)
        destination.learn("1")
        await client.flush()
    assert [batch.batch_header for batch in destination.batches] == [b"1", b"2"]
    assert numbers(destination) == list(range(10))


async def test_a_batch_holds_no_more_than_fits_once_it_is_encoded():
    class Grows(Learns):
        max_batch_bytes = 2000

        def encode(self, event):
            return super().encode(event) + b" " * 500

    destination = Grows()
    async with Client(destination) as client:
        await track(client, 10)
        destination.learn("1")
        await client.flush()
    assert max(sum(map(len, batch.entries)) for batch in destination.batches) <= 2000
    assert numbers(destination) == list(range(10))


@pytest.mark.parametrize("entry", [RuntimeError("no"), None])
async def test_a_destination_that_can_not_encode_one_loses_only_that(entry):
    class Fails(Learns):
        def encode(self, event):
            if event.tags["n"] == 1:
                if entry is None:
                    return None
                raise entry
            return super().encode(event)

    destination = Fails()
    async with Client(destination) as client:
        await track(client, 3)
        destination.learn("1")
        await client.flush()
        (letter,) = await client.dead_letters()
        assert letter.cause.reason == "destination error"
        assert assert_conserved(client).total.delivered == 2


async def test_a_buffer_that_can_not_bury_loses_nothing_and_tells_nobody_twice(monkeypatch):
    destination, told = Learns(), []
    async with Client(destination, flush_interval=0.01) as client:
        client.on("aiotrack_event_tracked", lambda event: told.append(event.key))
        await track(client, 2)
        await track(client, 1, "typo")
        buffer = client._pipeline.lanes[0]._buffer
        bury, failures = buffer.bury, [OSError()]

        async def fails_once(claim, cause):
            if failures:
                raise failures.pop()
            await bury(claim, cause)

        monkeypatch.setattr(buffer, "bury", fails_once)
        destination.learn("1")
        await client.flush()
        assert assert_conserved(client).total.dead == 1
    assert numbers(destination) == [0, 1]
    assert told == ["k", "k"]


@pytest.mark.parametrize("policy", ["wait", "drop_newest"])
async def test_a_full_buffer_holds_nobody_either(policy):
    destination = Learns()
    async with Client(destination, buffer=MemoryBuffer(400), overflow=policy, shutdown_timeout=0) as client:
        results = await asyncio.wait_for(track(client, 5), 0.5)
        assert [bool(result) for result in results] == [True, True, True, False, False]
        if policy == "wait":
            assert str(results[-1].refused["learns"]).startswith(NOTHING_LEAVES)
        assert_conserved(client)


async def test_the_oldest_make_way_before_the_first_document_too():
    destination = Learns()
    async with Client(destination, buffer=MemoryBuffer(400), overflow="drop_oldest") as client:
        assert all(await track(client, 5))
        destination.learn("1")
        await client.flush()
        assert_conserved(client)
    assert numbers(destination) == [2, 3, 4]


# -- strict ----------------------------------------------------------------------------------------------------


async def test_a_strict_call_waits_and_is_told_whether_its_event_is_known():
    destination, tags = Learns(), {"items": ["shoes"]}
    async with Client(destination, strict=True) as client:
        user = client.create_user_context("u")
        waiting = asyncio.ensure_future(user.track_event("k", tags))
        unknown = asyncio.ensure_future(user.track_event("typo"))
        await asyncio.sleep(0)
        tags["items"].append("socks")
        assert not waiting.done()
        destination.learn("1")
        assert await waiting
        with pytest.raises(errors.EventRefused, match="unknown event"):
            await unknown
        await client.flush()
    assert b'"items":["shoes"]' in destination.events[0]


async def test_a_strict_call_waits_no_longer_than_ready_timeout(clock):
    destination = Learns()
    destination.ready_timeout = 5.0
    async with Client(destination, strict=True, clock=clock) as client:
        user = client.create_user_context("u")
        waiting = asyncio.ensure_future(user.track_event("k"))
        await asyncio.sleep(0)
        clock.advance(4.9)
        await asyncio.sleep(0)
        assert not waiting.done()
        clock.advance(0.2)
        with pytest.raises(errors.EventRefused, match="not ready: learns has no datafile or settings document yet"):
            await waiting
        with pytest.raises(errors.EventRefused, match="not ready"):
            await user.track_event("k")
        assert user.track_event_nowait("k")  # it can't wait, and is no less accepted than with strict=False
        destination.learn("1")
        assert await user.track_event("k")


async def test_a_close_ends_the_wait_of_a_strict_call():
    client = Client(Learns(), strict=True, shutdown_timeout=0.05)
    await client.start()
    waiting = asyncio.ensure_future(client.create_user_context("u").track_event("k"))
    await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(errors.EventRefused, match="client closing"):
        await waiting
    assert_conserved(client)


async def test_a_destination_that_starts_with_a_catalog_holds_nobody():
    heard = []

    class Listens:
        @aiotrack.hookimpl
        def aiotrack_catalog_updated(self, destination, catalog):
            heard.append((destination.name, catalog.revision))

    destination = Learns()
    destination.learn("7")
    async with Client(destination, Listens(), strict=True) as client:
        assert client.create_user_context("u").track_event_nowait("k")
    assert heard == [("learns", "7")]
