"""The bridge: the official client decides, its events leave through aiotrack, from any thread."""

import asyncio
import json
import signal
import threading
import time

import pytest
from optimizely import optimizely as vendor
from optimizely.logger import NoOpLogger

import aiotrack
from aiotrack import MemoryBuffer
from aiotrack.buffers.memory import MemoryLaneBuffer
from aiotrack.testing import Collector, Reply, until
from aiotrack_optimizely import Optimizely

EXPERIMENT = {
    "id": "exp-1",
    "key": "rule",
    "status": "Running",
    "layerId": "layer-1",
    "audienceIds": [],
    "forcedVariations": {},
    "variations": [{"id": "v-1", "key": "on", "featureEnabled": True, "variables": []}],
    "trafficAllocation": [{"entityId": "v-1", "endOfRange": 10000}],
}
DATAFILE = {
    "version": "4",
    "accountId": "12001",
    "projectId": "555",
    "revision": "7",
    "anonymizeIP": True,
    "botFiltering": False,
    "sendFlagDecisions": True,
    "events": [{"id": "901", "key": "purchase", "experimentIds": ["exp-1"]}],
    "attributes": [{"id": "77", "key": "plan"}],
    "experiments": [EXPERIMENT],
    "featureFlags": [{"id": "f-1", "key": "flag", "experimentIds": ["exp-1"], "rolloutId": "", "variables": []}],
    **{key: [] for key in ("groups", "audiences", "rollouts")},
}


def official(processor, datafile=DATAFILE):
    return vendor.Optimizely(json.dumps(datafile), event_processor=processor, logger=NoOpLogger())


def events(collector):
    return [
        (visitor["visitor_id"], visitor["snapshots"][0]["events"][0])
        for request in collector.requests
        if request.status == 204
        for visitor in request.json()["visitors"]
    ]


async def test_four_threads_decide_and_track_while_the_loop_serves():
    """Nothing is lost, nothing blocks, and the order of each user is kept."""
    rounds = 250
    async with Collector(default=Reply(status=204)) as collector:
        destination = Optimizely(datafile=DATAFILE, events_url=collector.url)
        client = official(destination.event_processor())
        threads_before = threading.active_count()
        async with aiotrack.Client(destination) as tracking:

            def work(thread):
                user = client.create_user_context(f"user {thread}", {"plan": "gold"})
                for number in range(rounds):
                    assert user.decide("flag").variation_key == "on"
                    user.track_event("purchase", {"revenue": 100, "n": number})

            threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            longest, before = 0.0, time.perf_counter()
            while any(thread.is_alive() for thread in threads):
                await asyncio.sleep(0)
                now = time.perf_counter()
                longest, before = max(longest, now - before), now
            assert longest < 0.5  # four busy threads and this one take turns at the interpreter
            assert threading.active_count() <= threads_before + 1
            await until(lambda: tracking.stats().total.accepted == 4 * rounds * 2)
            report = await tracking.flush()
            assert report.delivered == 4 * rounds * 2
            assert report.pending == 0
        sent = events(collector)
        assert len({event["uuid"] for _, event in sent}) == 4 * rounds * 2
        for thread in range(4):
            mine = [event for visitor, event in sent if visitor == f"user {thread}"]
            assert [event["key"] for event in mine] == ["campaign_activated", "purchase"] * rounds
            assert [event["tags"]["n"] for event in mine if event["key"] == "purchase"] == list(range(rounds))


async def test_a_conversion_is_the_same_bytes_as_our_own():
    recorded = []
    async with Collector() as collector:
        destination = Optimizely(datafile=DATAFILE, events_url=collector.url)
        client = official(destination.event_processor())
        tracking = aiotrack.Client(destination, batch_size=1)
        tracking.on("aiotrack_batch_sending", lambda batch: recorded.append((batch.entries, batch.batch_header)))
        await tracking.start()
        tags = {"revenue": 4200, "value": "13.5", "items": [{"sku": "a", "value": None}], "n": None, 5: 1.5}
        attributes = {"plan": "gold", "$opt_user_agent": "UA", "other": 1}
        client.create_user_context("üser", attributes).track_event("purchase", tags)
        await until(lambda: len(recorded) == 1)
        visitor = json.loads(recorded[0][0][0])
        event = visitor["snapshots"][0]["events"][0]
        ours = tracking.create_user_context("üser", attributes)
        assert await ours.track_event("purchase", tags, event_id=event["uuid"], timestamp=event["timestamp"])
        await tracking.aclose()
        assert recorded[0] == recorded[1]


async def test_events_that_come_before_the_start_wait_for_it():
    async with Collector(default=Reply(status=204)) as collector:
        destination = Optimizely(datafile=DATAFILE, events_url=collector.url)
        client = official(destination.event_processor())
        client.create_user_context("u").track_event("purchase")
        async with aiotrack.Client(destination):
            pass
        assert [event["key"] for _, event in events(collector)] == ["purchase"]


async def test_a_close_takes_what_threads_have_handed_over_and_refuses_what_comes_later():
    async with Collector(default=Reply(status=204)) as collector:
        destination = Optimizely(datafile=DATAFILE, events_url=collector.url)
        processor = destination.event_processor()
        user = official(processor).create_user_context("u")
        async with aiotrack.Client(destination) as tracking:
            for _ in range(1000):
                user.track_event("purchase")
        assert tracking.stats().total.delivered == 1000
        assert len(events(collector)) == 1000
        user.track_event("purchase")
        assert processor.refused == {"client closing": 1}


@pytest.mark.parametrize("tags", [{"a": float("nan")}, {"a": b"x"}, {"a": object()}, {"value": 10**400}])
async def test_what_is_no_json_is_refused_counted_and_hurts_nobody(tags, caplog):
    async with Collector(default=Reply(status=204)) as collector:
        destination = Optimizely(datafile=DATAFILE, events_url=collector.url)
        user = official(destination.event_processor()).create_user_context("u")
        async with aiotrack.Client(destination) as tracking:
            user.track_event("purchase", {"n": 1})
            user.track_event("purchase", tags)
            user.track_event("purchase", {"n": 2})
            await until(lambda: tracking.stats().total.accepted == 2 and bool(tracking.stats().refused))
            assert tracking.stats().refused == {"invalid tag": 1}
        assert [event["tags"]["n"] for _, event in events(collector)] == [1, 2]
    assert "optimizely: event 'purchase' refused: invalid tag: tags." in caplog.text


async def test_a_full_buffer_never_blocks_a_decision():
    async with Collector(default=Reply(hang=True)) as collector:
        destination = Optimizely(datafile=DATAFILE, events_url=collector.url, timeout=60)
        user = official(destination.event_processor()).create_user_context("u")
        client = aiotrack.Client(destination, buffer=MemoryBuffer(2000), overflow_timeout=0.05, batch_size=1)
        await client.start()
        longest = 0.0
        for _ in range(50):
            started = time.perf_counter()
            user.track_event("purchase", {"text": "x" * 300})
            longest = max(longest, time.perf_counter() - started)
        assert longest < 0.05
        await until(lambda: client.stats().refused.get("buffer full", 0) >= 1)
        report = await client.aclose(timeout=0.5)
        stats = client.stats()
        assert stats.total.accepted == report.dropped
        assert stats.total.accepted + sum(stats.refused.values()) == 50


async def test_a_room_that_opens_lets_the_bridge_go_on_in_order():
    async with Collector(default=Reply(status=204)) as collector:
        destination = Optimizely(datafile=DATAFILE, events_url=collector.url)
        user = official(destination.event_processor()).create_user_context("u")
        async with aiotrack.Client(destination, buffer=MemoryBuffer(3000)) as client:
            for number in range(300):
                user.track_event("purchase", {"n": number})
            await until(lambda: client.stats().total.delivered == 300)
        assert [event["tags"]["n"] for _, event in events(collector)] == list(range(300))


async def test_what_a_close_leaves_behind_is_refused_counted_and_not_sent_by_another_client():
    async with Collector(default=Reply(status=204)) as collector:
        destination = Optimizely(datafile=DATAFILE, events_url=collector.url)
        processor = destination.event_processor()
        user = official(processor).create_user_context("u")
        client = aiotrack.Client(destination)
        await client.start()
        for _ in range(5000):
            user.track_event("purchase")
        await client.aclose(timeout=0)
        await client.aclose()  # the same closing, to its end
        accepted = client.stats().total.accepted
        assert accepted + sum(processor.refused.values()) == 5000
        sent = len(events(collector))
        async with aiotrack.Client(destination) as second:
            pass
        assert second.stats().total.accepted == 0
        assert len(events(collector)) == sent


async def test_a_buffer_that_fails_once_costs_one_event():
    class Failing(MemoryLaneBuffer):
        appended = 0

        def for_lane(self, name):
            return self

        def append(self, entry, batch_header):
            self.appended += 1
            if self.appended == 2:
                raise OSError(28, "No space left on device")
            return super().append(entry, batch_header)

    async with Collector(default=Reply(status=204)) as collector:
        destination = Optimizely(datafile=DATAFILE, events_url=collector.url)
        user = official(destination.event_processor()).create_user_context("u")
        async with aiotrack.Client(destination, buffer=Failing(1 << 20)) as client:
            for _ in range(10):
                user.track_event("purchase")
            await until(lambda: client.stats().total.accepted == 9 and bool(client.stats().refused))
            assert client.stats().refused == {"buffer error": 1}


def test_a_signal_handler_that_tracks_does_not_deadlock():
    class Keeps:
        def __init__(self):
            self.events = []

        def process(self, event):
            self.events.append(event)

    kept = Keeps()
    official(kept).create_user_context("u").track_event("purchase", {"revenue": 5})
    processor = Optimizely(datafile=DATAFILE).event_processor()
    nested = []

    def handler(*_):
        if not nested:
            nested.append(None)
            processor.process(kept.events[0])
            nested.pop()

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for _ in range(3000):
            processor.process(kept.events[0])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(processor._waiting) >= 3000


async def test_a_durable_buffer_takes_many_events_in_one_commit(tmp_path):
    async with Collector(default=Reply(status=204)) as collector:
        destination = Optimizely(datafile=DATAFILE, events_url=collector.url)
        client = official(destination.event_processor())
        async with aiotrack.Client(destination, buffer=aiotrack.FileBuffer(tmp_path), flush_interval=3600) as tracking:
            user = client.create_user_context("u", {"plan": "gold"})
            for n in range(1000):
                user.track_event("purchase", {"n": n})
            await until(lambda: tracking.stats().total.accepted == 1000)
            assert tracking._pipeline.lanes[0]._buffer._writer._landings <= 50
        sent = [event["tags"]["n"] for _, event in events(collector)]
        assert sent == list(range(1000))
