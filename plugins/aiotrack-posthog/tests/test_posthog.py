"""What PostHog's public contract expects of a server SDK, and what its own SDK sends; real loopback servers."""

import asyncio
import enum
import uuid
from datetime import UTC, datetime

import pytest
from posthog import AsyncPosthog

import aiotrack
from aiotrack import errors
from aiotrack.testing import Collector, HTTPDestinationContract, ManualClock, Reply, until
from aiotrack_posthog import PostHog

TIMESTAMP = 1_735_787_045_123
OLD = "2025-01-02T03:04:05.123+00:00"


@pytest.fixture
async def collector():
    async with Collector() as collector:
        yield collector


@pytest.fixture
def clock():
    return ManualClock()


def batches(server):
    return [request.json()["batch"] for request in server.requests]


def host(server):
    return server.url.removesuffix("/events")


async def tracked(server, *replies, events=1, clock=None, **options):
    """Track events that the server answers so; return the client's counters and the dead letters."""
    server.script(*replies)
    async with aiotrack.Client(PostHog("phc_key", host=host(server), **options), clock=clock) as client:
        user = client.create_user_context("test_user")
        for number in range(events):
            assert await user.track_event(f"event {number}")
        flushing = asyncio.create_task(client.flush(timeout=30))
        while not flushing.done():
            if clock is not None and clock.next_timer is not None and clock.next_timer < 600:
                clock.advance(clock.next_timer)
            await asyncio.sleep(0.001)
        return client.stats().total, await client.dead_letters()


# -- what is sent -------------------------------------------------------------------------------------


async def test_an_event_has_all_that_it_must_have(collector):
    async with aiotrack.Client(PostHog("phc_key", host=host(collector))) as client:
        user = client.create_user_context("test_user_123", {"plan": "gold"}, session_id=7, user_agent="UA")
        tags = {"custom_string": "hello", "custom_number": 42, "custom_bool": True}
        await user.track_event("test_event", tags, timestamp=TIMESTAMP)
    (request,) = collector.requests
    body = request.json()
    assert request.path == "/batch/"
    assert request.headers["Content-Encoding"] == "gzip"
    assert body.keys() == {"api_key", "batch"}
    assert body["api_key"] == "phc_key"
    (event,) = body["batch"]
    assert event.keys() == {"event", "distinct_id", "uuid", "timestamp", "properties"}
    assert (event["event"], event["distinct_id"], event["timestamp"]) == ("test_event", "test_user_123", OLD)
    assert uuid.UUID(event["uuid"]).version == 4
    assert event["properties"] == {
        **tags,
        "$lib": "aiotrack",
        "$lib_version": aiotrack.__version__,
        "$is_server": True,
        "$set": {"plan": "gold"},
        "$session_id": "7",
        "$raw_user_agent": "UA",
        "$geoip_disable": True,
    }


async def test_what_the_official_sdk_sends_is_what_we_send(collector):
    """Posthog-python 7.91.1, told the same; it names its own library and system."""
    official = AsyncPosthog("phc_key", host=host(collector), gzip=True, flush_at=1)
    official.capture(
        "purchase",
        distinct_id="user123",
        properties={"category": "shoes", "price": 42.5, "$set": {"plan": "gold"}},
        timestamp=datetime.fromtimestamp(TIMESTAMP / 1000, UTC),
        uuid="00000000-0000-4000-8000-000000000001",
    )
    await official.shutdown()
    async with aiotrack.Client(PostHog("phc_key", host=host(collector))) as client:
        user = client.create_user_context("user123", {"plan": "gold"})
        tags = {"category": "shoes", "price": 42.5}
        await user.track_event("purchase", tags, timestamp=TIMESTAMP, event_id="00000000-0000-4000-8000-000000000001")
    theirs, ours = (request.json() for request in collector.requests)
    assert theirs["api_key"] == ours["api_key"]
    their, our = theirs["batch"][0], ours["batch"][0]
    assert datetime.fromisoformat(their.pop("timestamp")) == datetime.fromisoformat(our.pop("timestamp"))
    own = {"$lib", "$lib_version", "$python_runtime", "$python_version", "$os", "$os_version", "$os_distro"}
    for one in (their, our):
        one["properties"] = {name: value for name, value in one["properties"].items() if name not in own}
    for name in our:
        assert our[name] == their[name], name


async def test_an_address_goes_out_only_where_it_is_asked_for(collector):
    for geoip in (False, True):
        async with aiotrack.Client(PostHog("k", host=host(collector), geoip=geoip)) as client:
            await client.create_user_context("u", ip_address="203.0.113.5").track_event("k")
    without, with_ = (batch[0]["properties"] for batch in batches(collector))
    assert without["$geoip_disable"] is True
    assert "$ip" not in without
    assert with_["$ip"] == "203.0.113.5"
    assert "$geoip_disable" not in with_


@pytest.mark.parametrize("address", [None, ""])
async def test_without_an_address_no_place_is_looked_up(collector, address):
    """It would be this server's."""
    async with aiotrack.Client(PostHog("k", host=host(collector), geoip=True)) as client:
        await client.create_user_context("u", ip_address=address).track_event("k")
    ((event,),) = batches(collector)
    assert event["properties"]["$geoip_disable"] is True
    assert "$ip" not in event["properties"]


async def test_ids_of_the_callers_own_become_uuids_and_nobody_has_no_person(collector):
    """PostHog answers 400 to a batch with another id, or with an empty user."""

    class Session(enum.StrEnum):
        WEB = "web"

    async with aiotrack.Client(PostHog("k", host=host(collector))) as client:
        for _ in range(2):
            await client.create_user_context("", session_id=Session.WEB).track_event("k", event_id="order-4711")
        await client.create_user_context("u", session_id="").track_event("k", event_id="A" * 32)
    ((one, same, other),) = batches(collector)
    assert one["uuid"] == same["uuid"] == one["distinct_id"] == str(uuid.UUID(one["uuid"]))
    assert one["properties"]["$process_person_profile"] is False
    assert one["properties"]["$session_id"] == "web"
    assert other["uuid"] == "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
    assert "$process_person_profile" not in other["properties"]
    assert "$session_id" not in other["properties"]
    assert {request.headers["User-Agent"] for request in collector.requests} == {"aiotrack-posthog/0.1.0"}


async def test_person_properties_of_a_tag_go_over_the_attributes(collector):
    async with aiotrack.Client(PostHog("k", host=host(collector))) as client:
        user = client.create_user_context("u", {"plan": "gold", "age": 3})
        await user.track_event("k", {"$set": {"plan": "iron"}})
        await user.track_event("k", {"$set": 5})
    ((one, other),) = batches(collector)
    assert one["properties"]["$set"] == {"plan": "iron", "age": 3}
    assert other["properties"]["$set"] == {"plan": "gold", "age": 3}


@pytest.mark.parametrize(
    ("options", "tags", "attributes", "reason", "path"),
    [
        ({"timestamp": 253402300800000}, None, {}, "invalid event", "timestamp"),
        ({"timestamp": -(10**17)}, None, {}, "invalid event", "timestamp"),
        ({}, {"a": "x" * 900 * 1024}, {}, "too large", "event"),
        ({}, None, {"a": float("nan")}, "invalid event", "attributes.a"),
    ],
)
async def test_what_posthog_would_refuse_is_refused_at_the_call(options, tags, attributes, reason, path):
    async with aiotrack.Client(PostHog("k", host="http://127.0.0.1:9")) as client:
        result = await client.create_user_context("u", attributes).track_event("k", tags, **options)
        assert result.refused["posthog"].reason == reason
        assert result.refused["posthog"].path == path
        assert not any(plugin.errors for plugin in client.stats().plugins.values())


async def test_options_change_the_body(collector):
    """Plain JSON, no person, an import of old events."""
    destination = PostHog("k", host=host(collector) + "/", compression=None, person_properties=False, historical=True)
    async with aiotrack.Client(destination) as client:
        await client.create_user_context("u", {"plan": "gold"}).track_event("k", {1: "one"})
    (request,) = collector.requests
    assert "Content-Encoding" not in request.headers
    body = request.json()
    assert body["historical_migration"] is True
    assert "$set" not in body["batch"][0]["properties"]
    assert body["batch"][0]["properties"]["1"] == "one"


async def test_several_events_go_in_one_batch_with_ids_of_their_own(collector):
    await tracked(collector, events=5)
    (batch,) = batches(collector)
    assert [event["event"] for event in batch] == [f"event {number}" for number in range(5)]
    assert len({event["uuid"] for event in batch}) == 5


async def test_a_flush_with_nothing_sends_nothing(collector):
    await tracked(collector, events=0)
    assert collector.requests == []


# -- answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_sent_again_with_the_same_ids_and_times(collector, clock, status):
    total, _ = await tracked(collector, Reply(status=status), Reply(status=status), Reply(), events=3, clock=clock)
    assert total.delivered == 3
    first, *others = batches(collector)
    assert len(others) == 2
    assert all(batch == first for batch in others)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_wrong_key_or_address_pauses_the_lane_and_loses_nothing(collector, clock, status):
    collector.script(Reply(status=status))
    async with aiotrack.Client(PostHog("k", host=host(collector)), clock=clock, batch_size=1) as client:
        await client.create_user_context("u").track_event("k")
        await until(lambda: client.stats().lanes["posthog"].state == "paused")
        clock.advance(60)
        await until(lambda: client.stats().total.delivered == 1)


@pytest.mark.parametrize("status", [400, 413])
async def test_what_will_not_pass_is_sent_once(collector, clock, status):
    total, letters = await tracked(collector, Reply(status=status), clock=clock)
    assert len(collector.requests) == 1
    assert (total.dead, letters[0].cause.status) == (1, status)


async def test_a_batch_is_sent_again_as_often_as_configured(collector, clock):
    total, _ = await tracked(collector, *[Reply(status=503)] * 9, clock=clock, max_retries=3)
    assert len(collector.requests) == 4
    assert total.dead == 1


async def test_retry_after_is_waited_for(collector, clock):
    server = collector
    server.script(Reply(status=429, headers={"Retry-After": "3"}))
    async with aiotrack.Client(PostHog("k", host=host(server)), clock=clock, flush_interval=0.1) as client:
        await client.create_user_context("u").track_event("k")
        clock.advance(0.1)
        await until(lambda: client.stats().total.retries == 1)
        clock.advance(2.9)
        await asyncio.sleep(0.05)
        assert len(server.requests) == 1
        clock.advance(0.2)
        await until(lambda: client.stats().total.delivered == 1)


async def test_a_spent_quota_is_no_delivery(collector, clock):
    """PostHog takes such a batch with a 200 and throws it away."""
    spent = Reply(body=b'{"status": "Ok", "quota_limited": ["events"]}')
    total, letters = await tracked(collector, spent, clock=clock)
    assert (total.dead, total.delivered) == (1, 0)
    assert b"quota_limited" in letters[0].cause.answer
    other = Reply(body=b'{"status": "Ok", "quota_limited": ["recordings"]}')
    total, _ = await tracked(collector, other, clock=clock)
    assert total.delivered == 1


# -- options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"api_key": ""}, "api_key"),
        ({"api_key": 5}, "api_key"),
        ({"api_key": "  "}, "api_key"),
        ({"api_key": "\ud800"}, "api_key"),
        *[
            ({"api_key": "k", "host": address}, "host")
            for address in ("posthog.com", "http://h?a=1", "http://h#f", "https://a b.com", "http://h\n.com", "http://")
        ],
        ({"api_key": "k", "geoip": "false"}, "geoip"),
        ({"api_key": "k", "historical": 1}, "historical"),
        ({"api_key": "k", "compression": "zstd"}, "compression"),
        ({"api_key": "k", "host": 5}, "host"),
        ({"api_key": "k", "max_retries": -1}, "max_retries"),
        ({"api_key": "k", "max_retries": True}, "max_retries"),
        ({"api_key": "k", "compression": "br"}, "compression"),
        ({"api_key": "k", "timeout": 0}, "timeout"),
    ],
)
def test_a_bad_option_is_named(options, key):
    with pytest.raises(errors.ConfigError, match=f"^{key}"):
        PostHog(**options)


@pytest.mark.parametrize("address", ["https://app.posthog.com", "https://us.posthog.com/", "https://eu.posthog.com"])
def test_the_web_applications_address_means_where_events_go(address):
    region = "eu" if "eu." in address else "us"
    assert f"https://{region}.i.posthog.com" in repr(PostHog("k", host=address))


async def test_the_key_is_in_no_repr_no_log_and_no_buffer(collector, caplog, tmp_path):
    key = "phc_secret_key"
    destination = PostHog(key, host=host(collector))
    collector.script(*[Reply(status=401)] * 5)
    buffer = aiotrack.FileBuffer(tmp_path)
    async with aiotrack.Client(destination, buffer=buffer, shutdown_timeout=0.2) as client:
        await client.create_user_context("u").track_event("k")
        await client.flush(0.2)
        assert key not in repr(client) + repr(destination) + repr(await client.dead_letters())
    assert key not in caplog.text
    assert key not in str(list(tmp_path.rglob("*")))
    assert all(key.encode() not in file.read_bytes() for file in tmp_path.rglob("*.*"))


class TestContract(HTTPDestinationContract):
    secrets = ("phc_key",)

    def make(self, url):
        return PostHog("phc_key", host=url.removesuffix("/events"))
