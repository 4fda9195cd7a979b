"""Where this differs from the vendor's SDK: for each row of the README's list a test whose docstring it is."""

import asyncio
import json
import math
import uuid

import pytest
from optimizely import optimizely as vendor
from optimizely.event.event_processor import BatchEventProcessor, ForwardingEventProcessor
from optimizely.logger import NoOpLogger
from test_optimizely_differential import DATAFILE, Captured, Dispatcher

import aiotrack
from aiotrack.errors import DocumentError
from aiotrack.testing import Collector, ManualClock, Reply, until
from aiotrack_optimizely import Datafile, Optimizely


class Both:
    """A user of each SDK."""

    def __init__(self, client, ours):
        self.dispatcher = Dispatcher()
        processor = ForwardingEventProcessor(self.dispatcher, logger=NoOpLogger())
        self.theirs = vendor.Optimizely(json.dumps(DATAFILE), event_processor=processor, logger=NoOpLogger())
        self.client, self.ours = client, ours

    async def track(self, tags, attributes=None, user_id="u"):
        """Track with both; return what each sends of the event, None where it sends nothing."""
        self.dispatcher.sent.clear()
        self.ours.sent.clear()
        user = self.theirs.create_user_context(user_id, attributes)
        if user is not None:
            user.track_event("purchase", tags)
        await self.client.create_user_context(user_id, attributes).track_event("purchase", tags)
        await self.client.flush(5)
        return tuple(sent[0][3]["visitors"][0] if sent else None for sent in (self.dispatcher.sent, self.ours.sent))


@pytest.fixture
async def both():
    ours = Captured(datafile=DATAFILE)
    async with aiotrack.Client(ours) as client:
        yield Both(client, ours)


def tags_of(visitor):
    return visitor["snapshots"][0]["events"][0].get("tags")


def nested(levels):
    tags = 1
    for _ in range(levels):
        tags = {"a": tags}
    return tags


def usable_there(text):
    theirs = vendor.Optimizely(text, logger=NoOpLogger())
    usable = theirs.config_manager.get_config() is not None
    theirs.close()
    return usable


@pytest.mark.parametrize("reply", [Reply(status=500), Reply(status=302, headers={"Location": "/else"})])
async def test_retries(reply):
    """a 5xx is not retried, `Retry-After` is ignored, a redirect loses the batch"""
    clock = ManualClock()
    async with Collector(default=Reply(status=204)) as collector:
        collector.script(reply)
        async with aiotrack.Client(Optimizely(datafile=DATAFILE, events_url=collector.url), clock=clock) as client:
            await client.create_user_context("u").track_event("purchase")
            flush = asyncio.create_task(client.flush(60))
            await until(lambda: flush.done() or clock.advance(10))
        bodies = {request.body for request in collector.requests if request.path == "/events"}
        assert len(collector.requests) == 2
        assert len(bodies) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, b"x", object(), [object()]])
async def test_what_is_no_json(value, both):
    """NaN gives no JSON; bytes, Decimal, sets or a cycle end the sending thread; objects' attributes go out"""
    result = await both.client.create_user_context("u").track_event("purchase", {"a": value})
    assert result.refused["optimizely"].path.startswith("tags.a")
    assert tags_of((await both.track({"a": 1}))[1]) == {"a": 1}


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**30])
async def test_large_integers(value, both):
    """integers of any size in tags"""
    theirs, ours = await both.track({"a": value})
    assert tags_of(theirs) == {"a": value}
    assert ours is None


async def test_deep_tags(both):
    """tags of any depth that Python's recursion allows"""
    theirs, ours = await both.track(nested(201))
    assert tags_of(theirs) == tags_of(ours) == nested(201)
    theirs, ours = await both.track(nested(300))
    assert tags_of(theirs) == nested(300)
    assert ours is None


@pytest.mark.parametrize(("user_id", "text"), [(5, "5"), (uuid.UUID(int=1), str(uuid.UUID(int=1)))])
async def test_user_ids(user_id, text, both):
    """a user id that is no text gives None"""
    theirs, ours = await both.track({}, user_id=user_id)
    assert theirs is None
    assert ours["visitor_id"] == text


@pytest.mark.parametrize(
    ("user_id", "tags", "attributes"), [("\ud800", {}, {}), ("u", {"a": "\ud800"}, {}), ("u", {}, {"plan": "\ud800"})]
)
async def test_surrogates(user_id, tags, attributes, both):
    """a lone surrogate in a user id, tag or attribute is sent escaped"""
    theirs, ours = await both.track(tags, attributes, user_id)
    assert theirs is not None
    assert ours is None


@pytest.mark.parametrize("more", [', "x": NaN', ', "x": Infinity', ', "x": 1e999', ', "x": "\\ud800"'])
def test_datafiles_that_are_not_json(more):
    """a datafile with `NaN`, a number beyond any double, or a lone surrogate is taken"""
    text = json.dumps(DATAFILE)[:-1] + more + "}"
    assert usable_there(text)
    with pytest.raises(DocumentError, match="not JSON"):
        Datafile.parse(text)


def test_datafiles_with_a_byte_order_mark():
    """a datafile with a byte order mark is not"""
    text = "\ufeff" + json.dumps(DATAFILE)
    assert not usable_there(text)
    assert Datafile.parse(text).revision == "7"
    assert Datafile.parse(text.encode()).revision == "7"


@pytest.mark.parametrize(
    "part",
    [
        {"featureFlags": 5},
        {"rollouts": [{"id": "1", "experiments": 5}]},
        {"typedAudiences": 5},
        {"featureFlags": [{"id": "1", "key": "f", "experimentIds": ["?"], "rolloutId": "", "variables": []}]},
        {"audiences": [{"id": "1", "name": "a", "conditions": "no json"}]},
    ],
)
def test_what_only_decisions_read(part):
    """a datafile is unusable if flags, rollouts or audiences, which only decisions read, are broken"""
    text = json.dumps({**DATAFILE, **part})
    assert not usable_there(text)
    assert Datafile.parse(text).revision == "7"


async def test_attributes_of_another_mapping(both):
    """attributes must be exactly a dict"""

    class Own(dict):
        pass

    theirs, ours = await both.track({}, Own(plan="gold"))
    assert theirs is None
    assert ours["attributes"][0]["value"] == "gold"


async def test_when_tags_are_read():
    """tags are read when the batch is sent"""
    dispatcher, ours = Dispatcher(), Captured(datafile=DATAFILE)
    processor = BatchEventProcessor(
        dispatcher, logger=NoOpLogger(), start_on_init=True, batch_size=10, flush_interval=60
    )
    theirs = vendor.Optimizely(json.dumps(DATAFILE), event_processor=processor, logger=NoOpLogger())
    tags = {"a": 1}
    theirs.create_user_context("u").track_event("purchase", tags)
    async with aiotrack.Client(ours) as client:
        await client.create_user_context("u").track_event("purchase", tags)
        tags["a"] = 2
        await client.flush()
    await asyncio.to_thread(theirs.close)
    assert tags_of(dispatcher.sent[0][3]["visitors"][0]) == {"a": 2}
    assert tags_of(ours.sent[0][3]["visitors"][0]) == {"a": 1}


@pytest.mark.parametrize("tags", [[], (), False, 0, ""])
async def test_tags_that_are_empty_and_no_mapping(tags, both):
    """tags must be exactly a dict; `[]`, `()`, `False`, `0` and `""` pass, and are sent as they are"""
    theirs, ours = await both.track(tags)
    assert tags_of(theirs) == (list(tags) if tags == () else tags)
    assert ours is None


async def test_tags_of_another_mapping(both):
    """tags must be exactly a dict; `[]`, `()`, `False`, `0` and `""` pass, and are sent as they are"""

    class Own(dict):
        pass

    theirs, ours = await both.track(Own(a=1))
    assert theirs is None
    assert tags_of(ours) == {"a": 1}


async def test_large_bodies():
    """one body of any size"""
    async with Collector(default=Reply(status=204)) as collector:
        options = {"batch_bytes": 10**8, "batch_size": 10**5}
        async with aiotrack.Client(Optimizely(datafile=DATAFILE, events_url=collector.url), **options) as client:
            user = client.create_user_context("u")
            for _ in range(30):
                assert await user.track_event("purchase", {"text": "x" * 200_000})
            assert (await user.track_event("purchase", {"text": "x" * 3_500_000})).refused[
                "optimizely"
            ].reason == "too large"
        assert len(collector.requests) == 2
        assert max(len(request.body) for request in collector.requests) < 3_500_000


async def test_the_date_of_a_broken_datafile():
    """the `Last-Modified` of a broken datafile is kept, so that a 304 can hide its mending"""
    when = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    async with Collector() as collector:
        collector.script(Reply(body=b"{", headers=when), Reply(body=json.dumps(DATAFILE).encode()))
        clock = ManualClock()
        destination = Optimizely(datafile_url=collector.url, events_url=collector.url)
        async with aiotrack.Client(destination, clock=clock) as client:
            await until(lambda: client.catalog.events or clock.advance(1))
        assert all("If-Modified-Since" not in request.headers for request in collector.requests)


async def test_who_sends(both):
    """`client_name: python-sdk`"""
    await both.track({})
    theirs, ours = both.dispatcher.sent[0][3], both.ours.sent[0][3]
    assert (theirs["client_name"], ours["client_name"]) == ("python-sdk", "aiotrack")
    assert ours["client_version"] == aiotrack.__version__


async def test_what_a_batch_has_in_common():
    """a batch may mix regions and IP settings"""
    ours = Captured(datafile=DATAFILE)
    async with aiotrack.Client(ours, flush_interval=60) as client:
        user = client.create_user_context("u")
        await user.track_event("purchase")
        ours._accept(Datafile.parse({**DATAFILE, "revision": "8", "anonymizeIP": True, "region": "EU"}))
        await user.track_event("purchase")
        await client.flush()
    assert [(sent[0], sent[3]["anonymize_ip"]) for sent in ours.sent] == [
        ("https://logx.optimizely.com/v1/events", False),
        ("https://eu.logx.optimizely.com/v1/events", True),
    ]


async def test_a_full_queue():
    """a full queue drops silently, and still logs success"""
    destination = Optimizely(datafile=DATAFILE, events_url="http://127.0.0.1:9")
    buffer = aiotrack.MemoryBuffer(2000)
    async with aiotrack.Client(destination, buffer=buffer, flush_interval=60, shutdown_timeout=0) as client:
        user = client.create_user_context("u")
        results = [user.track_event_nowait("purchase") for _ in range(20)]
        refused = [result for result in results if not result]
        assert {result.refused["optimizely"].reason for result in refused} == {"buffer full"}
        assert client.stats().refused == {"buffer full": len(refused)}
        assert client.stats().total.accepted == 20 - len(refused) > 0


async def test_sessions(both):
    """there is no session id"""
    await both.client.create_user_context("u", session_id=5).track_event("purchase")
    await both.client.flush()
    assert "session_id" not in json.dumps(both.ours.sent[0][3])
