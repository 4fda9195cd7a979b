"""Where this differs from the vendor's SDK: for each row of the README's list a test whose docstring it is."""

import asyncio
import json
import math
import time
import uuid

import pytest
import vwo
from test_vwo import answering, document, posts
from test_vwo_differential import Captured
from vendor_sdk import ACCOUNT, DOCUMENT, KEY, QUIET

import aiotrack
from aiotrack import errors
from aiotrack.testing import Collector, ManualClock, Reply, until
from aiotrack_vwo import VWO, Settings

SENTINEL = "the last one"


class Both:
    """A client of each SDK, with a request for each event."""

    def __init__(self, theirs, server, client, ours):
        self.theirs, self.server, self.client, self.ours = theirs, server, client, ours

    async def track(self, context, properties):
        """Track with both; return what each sends of the event, None where it sends nothing."""
        self.server.posts.clear()
        self.ours.sent.clear()
        self.theirs.track_event("purchase", context, properties)
        self.theirs.track_event("purchase", {"id": SENTINEL}, {})  # sent after what was to be sent before
        await asyncio.to_thread(self.server.wait_for, "visitor_ua=None&visitor_ip=None")
        await asyncio.to_thread(self.arrived)
        await self.client.track_event("purchase", context, properties)
        await self.client.flush(5)
        ours = [(dict(headers), json.loads(body)) for _, headers, body in self.ours.sent]
        return next(iter(self.events()), None), next(iter(ours), None)

    def events(self):
        found = [(headers, json.loads(body)) for path, headers, body in list(self.server.posts) if "/events/t" in path]
        return [
            (headers, body)
            for headers, body in found
            if body["d"]["event"]["name"] == "purchase" and not self.is_last(body)
        ]

    def is_last(self, body):
        return body["d"]["visId"] == self.theirs_last

    def arrived(self):
        with self.server.arrived:
            self.server.arrived.wait_for(
                lambda: any(self.theirs_last.encode() in body for _, _, body in list(self.server.posts)), timeout=10
            )
        time.sleep(0.05)  # each event has a thread of its own, and may overtake the last

    @property
    def theirs_last(self):
        return vwo.getUUID(SENTINEL, ACCOUNT)


@pytest.fixture
async def both(server, theirs):
    theirs.update_settings({**DOCUMENT, **QUIET}, False)
    queue, theirs.batch_event_queue = theirs.batch_event_queue, None
    ours = Captured(ACCOUNT, KEY, settings=DOCUMENT, base_url=server.url, batch=False)
    async with aiotrack.Client(ours, batch_size=1) as client:
        yield Both(theirs, server, client, ours)
    theirs.batch_event_queue = queue


def props_of(sent):
    return sent[1]["d"]["event"]["props"]


def nested(levels):
    properties = 1
    for _ in range(levels):
        properties = {"a": properties}
    return properties


async def test_two_clients_and_a_first_fetch_that_fails():
    """state shared by a process's clients; no recovery after a failed first fetch; timers that keep it alive"""
    clock = ManualClock()
    async with (
        Collector(answer=answering(Reply(status=500), document("purchase"))) as first,
        Collector(answer=answering(document("view"))) as second,
    ):
        one = VWO(1, "a", base_url=first.url.removesuffix("/events"), name="one")
        two = VWO(2, "b", base_url=second.url.removesuffix("/events"), name="two")
        async with aiotrack.Client(one, clock=clock) as client, aiotrack.Client(two) as other:
            await until(lambda: other.catalog.events and (client.catalog.events or clock.advance(1)))
            assert await client.track_event("purchase", {"id": "u"})
            assert await other.track_event("view", {"id": "u"})
            assert not await other.track_event("purchase", {"id": "u"})
        assert [request.headers["Authorization"] for request in posts(first)] == ["a"]
        assert [request.headers["Authorization"] for request in posts(second)] == ["b"]
        assert not [task for task in asyncio.all_tasks() if "aiotrack" in task.get_name()]


async def test_a_bad_event_in_a_batch():
    """a 400 is queued again for ever, `Retry-After` is ignored, only 200 counts for a batch, redirects lose it"""

    def answer(request):
        return Reply(status=400 if b"bad" in request.body else 204)

    async with Collector(answer=answer) as collector:
        vwo = VWO(1, "k", settings=document(), base_url=collector.url.removesuffix("/events"))
        async with aiotrack.Client(vwo, batch_size=10) as client:
            for number in range(10):
                await client.track_event("purchase", {"id": "u"}, {"n": "bad" if number == 3 else number})
            report = await client.flush(10)
        assert (report.delivered, report.dead, report.pending) == (9, 1, 0)


def test_when_settings_are_validated(monkeypatch):
    """all settings are validated at every call"""
    parsed = []
    parse = Settings.parse
    monkeypatch.setattr(Settings, "parse", lambda source: parsed.append(1) or parse(source))
    vwo = VWO(1, "k", settings=document())
    for _ in range(10):
        vwo.encode(aiotrack.Event("purchase", "u"))
    assert len(parsed) == 1


@pytest.mark.parametrize("value", [math.nan, b"x", object()])
async def test_what_is_no_json(value, both):
    """NaN, bytes, datetimes and the like block the batch for ever"""
    theirs, ours = await both.track({"id": "u"}, {"a": value})
    assert theirs is ours is None
    assert props_of((await both.track({"id": "u"}, {"a": 1}))[1])["a"] == 1


@pytest.mark.parametrize(("user_id", "text"), [(5, "5"), (uuid.UUID(int=1), str(uuid.UUID(int=1)))])
async def test_user_ids(user_id, text, both):
    """an id that is no text is refused"""
    theirs, ours = await both.track({"id": user_id}, {})
    assert theirs is None
    same = (await both.track({"id": text}, {}))[1]
    assert ours[1]["d"]["visId"] == same[1]["d"]["visId"]


async def test_the_query():
    """the query is not encoded; `None` as text"""
    async with Collector(answer=answering(document("a&b#c"))) as collector:
        base = collector.url.removesuffix("/events")
        vwo = VWO(1, "k", settings=document("a&b#c"), base_url=base, batch=False)
        async with aiotrack.Client(vwo) as client:
            assert await client.track_event("a&b#c", {"id": "u"})
        (request,) = posts(collector)
    assert (request.query["en"], request.query["a"]) == ("a&b#c", "1")
    assert "visitor_ua" not in request.query


async def test_a_user_agent_beyond_latin_1(both):
    """a user agent beyond latin-1, or with a line end, loses the event"""
    for agent, header in (("日本", "日本"), ("a\nb", "ab")):
        theirs, ours = await both.track({"id": "u", "user_agent": agent}, {})
        assert theirs is None
        assert ours[0]["X-Device-User-Agent"] == header
        assert ours[1]["d"]["visitor_ua"] == agent


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
async def test_large_integers(value, both):
    """integers of any size"""
    theirs, ours = await both.track({"id": "u"}, {"a": value})
    assert props_of(theirs)["a"] == value
    assert ours is None


async def test_deep_properties(both):
    """properties of any depth that Python's recursion allows"""
    theirs, ours = await both.track({"id": "u"}, nested(300))
    assert props_of(theirs)["a"] == nested(299)
    assert ours is None
    assert (await both.track({"id": "u"}, nested(200)))[1] is not None


async def test_surrogates(both):
    """a lone surrogate in a property is sent escaped"""
    theirs, ours = await both.track({"id": "u"}, {"a": "\ud800"})
    assert props_of(theirs)["a"] == "\ud800"
    assert ours is None


@pytest.mark.parametrize(
    "context", [{"user_agent": 5}, {"ip_address": 5}, {"session_id": 1.5}, {"session_id": [1]}, {"session_id": True}]
)
async def test_a_context_of_other_types(context, both):
    """`user_agent`, `ip_address` and `session_id` of any type are sent as they are"""
    theirs, ours = await both.track({"id": "u", **context}, {})
    assert theirs is not None
    assert ours is None


async def test_custom_variables_of_another_type(both):
    """`custom_variables` that are no mapping are not looked at"""
    theirs, ours = await both.track({"id": "u", "custom_variables": 5}, {})
    assert theirs is not None
    assert ours is None


async def test_message_ids():
    """message ids repeat within a millisecond"""
    clock = ManualClock()
    ours = Captured(ACCOUNT, KEY, settings=DOCUMENT, base_url="http://127.0.0.1:9")
    async with aiotrack.Client(ours, clock=clock) as client:
        for _ in range(100):
            await client.track_event("purchase", {"id": "u"})
        await client.flush()
    ids = {event["d"]["msgId"] for _, _, body in ours.sent for event in json.loads(body)["ev"]}
    assert len(ids) == 100


async def test_an_empty_user_id(both):
    """an empty user id sends `visId: null`"""
    theirs, ours = await both.track({"id": ""}, {})
    assert theirs[1]["d"]["visId"] is None
    assert ours is None


async def test_no_properties(both):
    """`event_properties=None` is refused"""
    theirs, ours = await both.track({"id": "u"}, None)
    assert theirs is None
    assert ours is not None


async def test_only_events_are_sent():
    """debug, usage and init events; empty batches"""
    async with Collector(answer=answering(document())) as collector:
        vwo = VWO(1, "k", base_url=collector.url.removesuffix("/events"))
        async with aiotrack.Client(vwo) as client:
            await until(lambda: client.catalog.events)
            assert not await client.track_event("no such event", {"id": "u"})
            await client.flush()
        assert posts(collector) == []


async def test_a_missing_revenue(caplog):
    """a metric's `revenueProp` that is missing is nobody's business"""
    settings = document()
    settings["features"][0]["metrics"][0] |= {"type": "REVENUE_TRACKING", "revenueProp": "amount"}
    vwo = VWO(1, "k", settings=settings, base_url="http://127.0.0.1:9")
    async with aiotrack.Client(vwo, shutdown_timeout=0) as client:
        for _ in range(2):
            assert await client.track_event("purchase", {"id": "u"}, {})
    assert caplog.text.count("its revenue metric reads the property 'amount': expected a number, got nothing") == 1


def test_a_prefix_that_is_no_path():
    """a `collectionPrefix` with `?` or `#` in it cuts the address off"""
    vwo = VWO(1, "k", settings=document(collectionPrefix="eu?x#y"))
    url = vwo.frame([b"{}"], vwo.batch_header).url
    assert url.startswith("https://dev.visualwebsiteoptimizer.com/eu%3Fx%23y/server-side/batch-events-v2?a=1")


async def test_aliases_are_kept():
    """with aliasing, each call asks the gateway and waits for it; while that does not answer, events are lost"""
    async with Collector(default=Reply(hang=True)) as gateway:
        options = {"gateway_service": gateway.url.removesuffix("/events"), "is_aliasing_enabled": True}
        vwo = VWO(1, "k", settings=document(), **options)
        async with aiotrack.Client(vwo, shutdown_timeout=0.1) as client:
            began = time.monotonic()
            assert await client.track_event("purchase", {"id": "u"})
            assert time.monotonic() - began < 1
            assert client.stats().total.pending == 1


def test_an_unknown_key_of_the_gateway():
    """unknown keys of `gateway_service`, and a path of its URL, are not looked at"""
    for gateway in ({"url": "g", "prot": "http"}, {"url": "https://g/path"}):
        with pytest.raises(errors.ConfigError, match="gateway_service"):
            VWO(1, "k", gateway_service=gateway)
