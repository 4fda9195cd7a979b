"""Results and receipts: what a caller can know, when it asks."""

import asyncio

import pytest
from support import Recorder

import aiotrack
from aiotrack import Delivered, Rejected, Unknown
from aiotrack.lanes.receipts import ReceiptTracker
from aiotrack.testing import Collector, Reply


async def test_a_receipt_is_given_before_and_after_delivery(collector):
    async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), flush_interval=3600) as client:
        result = await client.create_user_context("u").track_event("k")
        assert await result.delivered(timeout=0.01) == Unknown()
        asking = [asyncio.create_task(result.delivered()) for _ in range(3)]
        await asyncio.sleep(0)
        await client.flush()
        assert await asyncio.gather(*asking) == [Delivered()] * 3
        assert await result.delivered() == Delivered()


async def test_one_who_stops_asking_does_not_disturb_the_others(collector):
    async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), flush_interval=3600) as client:
        result = await client.create_user_context("u").track_event("k")
        first, second = (asyncio.create_task(result.delivered()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await client.flush()
        assert await second == Delivered()


async def test_with_two_destinations_one_failure_is_a_rejection():
    async with Collector(default=Reply(status=400)) as collector:
        http = aiotrack.HTTPDestination(collector.url)
        async with aiotrack.Client(Recorder(), http) as client:
            result = await client.create_user_context("u").track_event("k")
            assert result.accepted == ("recorder", "http")
            await client.flush()
            assert await result.delivered() == Rejected("HTTP 400")


async def test_what_a_closed_memory_buffer_lost_is_unknown():
    async with Collector(default=Reply(status=503)) as collector:
        async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), shutdown_timeout=0.2) as client:
            result = await client.create_user_context("u").track_event("k")
            asking = asyncio.create_task(result.delivered())
            await asyncio.sleep(0)
        assert await asking == Unknown()


async def test_several_destinations_are_unknown_until_the_last_has_answered():
    class Down(Recorder):
        async def send(self, batch):
            return aiotrack.Answer(error="down")

    async with aiotrack.Client(Recorder(), Down(name="down"), shutdown_timeout=0.05) as client:
        result = await client.create_user_context("u").track_event("k")
        assert await result.delivered(0.05) == Unknown()
        asking = asyncio.create_task(result.delivered())
        await asyncio.sleep(0)
        await client.aclose()
        assert await asking == Unknown()
        assert await result.delivered() == Unknown()


async def test_a_refused_event_is_rejected_with_the_reason():
    async with aiotrack.Client(Recorder()) as client:
        result = await client.create_user_context("u").track_event("")
        assert await result.delivered() == Rejected("invalid event")


async def test_failures_that_are_too_old_are_unknown():
    receipts = ReceiptTracker()
    most = ReceiptTracker.MOST_KEPT
    receipts.undelivered(range(1, most + 11), Rejected("dead"))
    assert await receipts.receipt(5, ended=True) == Unknown()
    assert await receipts.receipt(11, ended=True) == Rejected("dead")
    assert await receipts.receipt(most + 11, ended=True) == Delivered()


async def test_a_result_says_what_it_is_about():
    async with aiotrack.Client(Recorder()) as client:
        user = client.create_user_context("u")
        result = await user.track_event("purchase", event_id="mine")
        assert (result.key, result.event_id, result.accepted, dict(result.refused)) == (
            "purchase",
            "mine",
            ("recorder",),
            {},
        )
        assert "purchase" in repr(result)
        assert {result.key: bool(result)} == {"purchase": True}


@pytest.mark.parametrize(
    ("context", "path"),
    [({"id": "u"}, None), ({}, "user_id"), ({"id": 5.0}, "user_id"), (None, "user_id"), ("u", "user_id")],
)
async def test_the_other_spelling_takes_a_context_or_a_mapping(context, path):
    async with aiotrack.Client(Recorder()) as client:
        result = await client.track_event("k", context, {"revenue": 5})
        assert bool(result) == (path is None)
        if path:
            assert result.refused["recorder"].path == path
        assert await client.track_event("k", client.create_user_context("u"))


async def test_a_mapping_brings_its_context_along():
    events = []
    async with aiotrack.Client(Recorder()) as client:
        client.on("aiotrack_event_tracked", events.append)
        context = {"id": "u", "user_agent": "UA", "ip_address": "::1", "session_id": 7, "custom_variables": {"a": 1}}
        await client.track_event("k", context, {"b": 2})
    (event,) = events
    assert (event.user_id, event.user_agent, event.ip_address, event.session_id) == ("u", "UA", "::1", 7)
    assert (event.attributes, event.tags) == ({"a": 1}, {"b": 2})


async def test_attributes_are_copied_when_made_and_read_when_tracked():
    events = []
    async with aiotrack.Client(Recorder()) as client:
        client.on("aiotrack_event_tracked", events.append)
        attributes = {"a": 1}
        user = client.create_user_context("u", attributes)
        attributes["a"] = 2
        user.attributes["a"] = 3
        await user.track_event("first")
        user.set_attribute("b", 4)
        await user.track_event("second")
    assert [event.attributes for event in events] == [{"a": 1}, {"a": 1, "b": 4}]
    assert user.attributes == {"a": 1, "b": 4}


async def test_what_newer_entries_of_a_file_make_room_for_says_nothing_of_older_ones_in_memory(tmp_path):
    class Hangs(Recorder):
        async def send(self, batch):
            await asyncio.sleep(3600)

    buffer = aiotrack.SpillBuffer(aiotrack.FileBuffer(tmp_path, max_bytes=2000), max_bytes=2000)
    async with aiotrack.Client(
        Hangs(), buffer=buffer, overflow="drop_oldest", batch_size=2, flush_interval=3600, shutdown_timeout=0.1
    ) as client:
        user = client.create_user_context("u")
        results = [await user.track_event("k", {"n": n}) for n in range(40)]
        receipts = await asyncio.gather(*(result.delivered(0.05) for result in results))
        assert client.stats().total.dropped > 0
        assert {type(receipt) for receipt in receipts} == {Unknown, Rejected}


async def test_what_was_never_claimed_here_is_not_said_to_be_delivered():
    tracker = ReceiptTracker()
    tracker.unclaimed(3, 5)
    tracker.ended_up_to(7)
    receipts = [await tracker.receipt(number, ended=True) for number in range(1, 8)]
    assert receipts == [Delivered()] * 2 + [Unknown()] * 3 + [Delivered()] * 2
