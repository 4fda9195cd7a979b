"""The destination against real loopback servers: events, the datafile, and events that come before it."""

import asyncio
import json
import re

import orjson
import pytest

import aiotrack
from aiotrack import errors
from aiotrack.testing import Collector, HTTPDestinationContract, ManualClock, Reply, until
from aiotrack_optimizely import Optimizely


def datafile(revision="1", *keys, **extra):
    return {
        "version": "4",
        "accountId": "12001",
        "projectId": "555",
        "revision": revision,
        "events": [{"id": f"id-{key}", "key": key, "experimentIds": []} for key in keys or ("purchase",)],
        "attributes": [{"id": "77", "key": "plan"}],
        **{key: [] for key in ("groups", "experiments", "audiences")},
        **extra,
    }


def reply(document, **headers):
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    return Reply(body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def revisions(collector):
    return [request.json()["revision"] for request in collector.requests]


def visitors(collector):
    return [visitor for request in collector.requests for visitor in request.json()["visitors"]]


# -- what goes out ------------------------------------------------------------------------------------------


async def test_a_batch_is_one_body_with_all_visitors_in_order():
    async with Collector(default=Reply(status=204)) as collector:
        destination = Optimizely(datafile=datafile(), events_url=collector.url)
        async with aiotrack.Client(destination) as client:
            for number in range(3):
                user = client.create_user_context(f"user {number}", {"plan": "gold"})
                assert await user.track_event("purchase", {"revenue": 4200, "n": number}, event_id="id", timestamp=5)
            assert (await client.flush()).delivered == 3
    (request,) = collector.requests
    assert request.headers["Content-Type"] == "application/json"
    assert dict(request.query) == {}
    body = request.json()
    assert list(body) == [
        *("account_id", "project_id", "revision", "client_name", "client_version"),
        *("anonymize_ip", "enrich_decisions", "visitors"),
    ]
    assert body["visitors"][1] == {
        "snapshots": [
            {
                "events": [
                    {
                        "entity_id": "id-purchase",
                        "uuid": "id",
                        "key": "purchase",
                        "timestamp": 5,
                        "revenue": 4200,
                        "tags": {"revenue": 4200, "n": 1},
                    }
                ]
            }
        ],
        "attributes": [{"entity_id": "77", "key": "plan", "type": "custom", "value": "gold"}],
        "visitor_id": "user 1",
    }


@pytest.mark.parametrize(
    ("region", "host"), [("EU", "eu.logx"), ("eu", "eu.logx"), ("US", "logx"), (None, "logx"), (5, "logx")]
)
def test_the_region_decides_the_endpoint(region, host):
    destination = Optimizely(datafile=datafile(region=region))
    assert destination.frame([b"{}"], destination.batch_header).url == f"https://{host}.optimizely.com/v1/events"


async def test_a_retry_has_the_same_bytes_and_the_same_uuid():
    clock = ManualClock()
    async with Collector(default=Reply(status=204)) as collector:
        collector.script(Reply(status=503), Reply(status=500))
        destination = Optimizely(datafile=datafile(), events_url=collector.url)
        async with aiotrack.Client(destination, batch_size=1, clock=clock) as client:
            await client.create_user_context("u").track_event("purchase")
            for request in (1, 2):
                await collector.wait_for(request)
                await until(lambda: clock.next_timer is not None)
                clock.advance(clock.next_timer)
            await until(lambda: client.stats().total.delivered == 1)
    assert len({request.body for request in collector.requests}) == 1


async def test_a_body_stays_under_the_limit_and_a_larger_event_is_refused():
    async with Collector(default=Reply(status=204)) as collector:
        destination = Optimizely(datafile=datafile(), events_url=collector.url)
        async with aiotrack.Client(destination, batch_bytes=10**9, batch_size=10**6) as client:
            user = client.create_user_context("u")
            for _ in range(50):
                assert await user.track_event("purchase", {"text": "x" * 200_000})
            result = await user.track_event("purchase", {"text": "x" * 3_500_000})
            assert result.refused["optimizely"].reason == "too large"
            assert (await client.flush()).delivered == 50
        assert len(collector.requests) >= 3
        assert all(len(request.body) < 3_500_000 for request in collector.requests)


async def test_an_unknown_event_is_refused_said_once_and_not_heard_by_listeners(caplog):
    tracked = []
    destination = Optimizely(datafile=datafile(), events_url="http://127.0.0.1:9/")
    async with aiotrack.Client(destination, shutdown_timeout=0) as client:
        client.on("aiotrack_event_tracked", tracked.append)
        for _ in range(3):
            result = await client.create_user_context("u").track_event("nothing")
            assert result.refused["optimizely"].reason == "unknown event"
        assert client.stats().refused == {"unknown event": 3}
    assert tracked == []
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "optimizely: event 'nothing' refused: unknown event: event 'nothing' is not in the datafile" in caplog.text


async def test_an_unknown_attribute_is_left_out_and_said_once(caplog):
    async with Collector(default=Reply(status=204)) as collector:
        destination = Optimizely(datafile=datafile(), events_url=collector.url)
        async with aiotrack.Client(destination) as client:
            user = client.create_user_context("u", {"plan": "gold", "nope": 1, "odd": [1], "$opt_user_agent": "UA"})
            for _ in range(2):
                assert await user.track_event("purchase")
    assert [attribute["key"] for attribute in visitors(collector)[0]["attributes"]] == ["plan", "$opt_user_agent"]
    assert [record.message for record in caplog.records] == [
        "optimizely: attribute 'nope' is not in the datafile and is left out"
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "sdk_key: expected text, got None"),
        ({"sdk_key": ""}, "sdk_key: expected text, got an empty one"),
        ({"sdk_key": 5}, "sdk_key: expected text, got int"),
        ({"sdk_key": "k", "access_token": ""}, "access_token: expected text, got an empty one"),
        ({"sdk_key": "k", "poll_interval": 0}, "poll_interval: expected seconds > 0, got int 0"),
        ({"sdk_key": "k", "datafile_url": "http://x/{other}"}, "datafile_url: expected a URL with no field but"),
        ({"sdk_key": "k", "events_url": "x"}, "events_url: expected an http"),
        ({"sdk_key": "k", "datafile_url": "nonsense"}, "datafile_url: expected an http"),
        ({"sdk_key": "k", "access_token": "t\n"}, "access_token: expected printable text"),
        ({"datafile": "{"}, "datafile: the datafile is not JSON"),
        ({"datafile": 5}, "datafile: the datafile is no object, but int"),
    ],
)
def test_a_wrong_option_is_named(options, sentence):
    with pytest.raises(errors.ConfigError) as caught:
        Optimizely(**options)
    assert str(caught.value).startswith(sentence)


def test_it_can_be_made_from_a_config():
    client = aiotrack.Client.from_config({"destinations": {"main": {"kind": "optimizely", "sdk_key": "my-key"}}})
    assert "main" in client.stats().plugins
    with pytest.raises(errors.ConfigError, match=r"^destinations\.main\.datafile: version: missing"):
        aiotrack.Client.from_config({"destinations": {"main": {"kind": "optimizely", "datafile": {}}}})


def test_secrets_stay_out_of_the_repr():
    destination = Optimizely(sdk_key="my-sdk-key", access_token="my-token")  # noqa: S106
    assert "my-" not in repr(destination)


# -- the datafile --------------------------------------------------------------------------------------------


class Polled:
    """A client whose datafile and events come from and go to scripted servers."""

    def __init__(self, *replies, **options):
        self.datafiles = Collector()
        self.datafiles.script(*replies)
        self.events = Collector(default=Reply(status=204))
        self.options = options
        self.clock = ManualClock()
        self.updates = []

    async def __aenter__(self):
        await self.datafiles.__aenter__()
        await self.events.__aenter__()
        options = {"datafile_url": self.datafiles.url, "events_url": self.events.url, **self.options}
        self.destination = Optimizely(**options)
        self.client = aiotrack.Client(self.destination, clock=self.clock, shutdown_timeout=0.5)
        self.client.on("aiotrack_catalog_updated", lambda _, catalog: self.updates.append(catalog.revision))
        await self.client.start()
        self.user = self.client.create_user_context("u")
        return self

    async def __aexit__(self, *_):
        await self.client.aclose()
        await self.events.__aexit__(None, None, None)
        await self.datafiles.__aexit__(None, None, None)

    async def poll(self, number):
        """Let the clock run to the next poll, and wait until its answer was taken."""
        polling = self.destination._polling
        await until(lambda: polling.waiting)
        while polling.waiting:
            self.clock.advance(self.clock.next_timer)
            await asyncio.sleep(0)
        await self.datafiles.wait_for(number)
        await until(lambda: polling.waiting)


async def test_polling_is_conditional_by_date_and_by_etag():
    dates = {"Last_Modified": "Tue, 14 Nov 2023 22:13:20 GMT", "ETag": '"abc"'}
    async with Polled(reply(datafile(), **dates), Reply(status=304), reply(datafile("2"), ETag='"def"')) as polled:
        assert await polled.user.track_event("purchase")
        await polled.poll(2)
        await polled.poll(3)
        await polled.poll(4)
        conditions = [
            (request.headers.get("If-None-Match"), request.headers.get("If-Modified-Since"))
            for request in polled.datafiles.requests
        ]
        assert conditions == [
            (None, None),
            ('"abc"', "Tue, 14 Nov 2023 22:13:20 GMT"),
            ('"abc"', "Tue, 14 Nov 2023 22:13:20 GMT"),
            ('"def"', None),
        ]
        assert polled.updates == ["1", "2"]


async def test_a_new_revision_is_taken_over_a_lower_one_too_and_batches_hold_one():
    async with Polled(reply(datafile("5")), reply(datafile("3", "purchase", "view"))) as polled:
        await until(lambda: polled.updates == ["5"])
        assert await polled.user.track_event("purchase")
        assert not await polled.user.track_event("view")
        await polled.poll(2)
        await until(lambda: polled.updates == ["5", "3"])
        assert await polled.user.track_event("view")
        await polled.client.flush()
        assert revisions(polled.events) == ["5", "3"]


async def test_the_same_revision_with_other_content_changes_nothing():
    async with Polled(reply(datafile("5")), reply(datafile("5", "other"))) as polled:
        assert await polled.user.track_event("purchase")
        await polled.poll(2)
        assert await polled.user.track_event("purchase")
        assert polled.updates == ["5"]


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (reply(b"{broken"), "can't be used: the datafile is not JSON"),
        (reply(b"\xff"), "can't be used: the datafile is not JSON"),
        (reply({"version": "4"}), "can't be used: accountId: missing"),
        (reply(datafile("9", version="5")), "can't be used: version: expected"),
        (Reply(status=401), "HTTP 401"),
        (Reply(status=403), "HTTP 403"),
        (Reply(status=404), "HTTP 404"),
        (Reply(status=500), "HTTP 500"),
        (Reply(status=304), "HTTP 304"),  # nothing was asked conditionally
    ],
)
async def test_a_failure_keeps_the_old_datafile_is_said_once_and_retried_soon(bad, sentence, caplog):
    async with Polled(bad, bad, reply(datafile("2"), ETag='"x"'), datafile=datafile("1")) as polled:
        await polled.datafiles.wait_for(1)
        await until(lambda: polled.destination._polling.waiting)
        assert polled.clock.next_timer <= 60
        assert await polled.user.track_event("purchase")
        await until(lambda: bool(caplog.records))
        for _ in range(20):
            if len(polled.datafiles.requests) == 3:
                break
            await polled.poll(len(polled.datafiles.requests) + 1)
        await until(lambda: polled.updates == ["1", "2"])
        assert "If-None-Match" not in polled.datafiles.requests[2].headers  # validators of a broken one are not kept
    said = [record.message for record in caplog.records]
    assert len(said) == 1
    assert re.match(r"optimizely: the document at 127\.0\.0\.1:\d+: " + re.escape(sentence), said[0])


async def test_the_token_goes_with_the_datafiles_request_and_nowhere_else():
    async with Polled(reply(datafile()), access_token="s3cret") as polled:  # noqa: S106
        assert await polled.user.track_event("purchase")
        await polled.client.flush()
        assert polled.datafiles.requests[0].headers["Authorization"] == "Bearer s3cret"
        assert "Authorization" not in polled.events.requests[0].headers


def test_the_addresses_of_the_datafile():
    def url(**options):
        destination = Optimizely(**options)
        return destination._template and destination._datafile_url()

    assert url(sdk_key="K") == "https://cdn.optimizely.com/datafiles/K.json"
    assert url(sdk_key="K", access_token="t") == "https://config.optimizely.com/datafiles/auth/K.json"  # noqa: S106
    assert url(sdk_key="K", datafile_url="http://x/{sdk_key}/d") == "http://x/K/d"
    assert url(datafile_url="http://x/d") == "http://x/d"
    assert url(datafile=datafile()) is None


async def test_with_a_datafile_alone_nothing_is_fetched():
    async with aiotrack.Client(Optimizely(datafile=json.dumps(datafile())), shutdown_timeout=0):
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert "aiotrack optimizely datafile" not in names


# -- before the first datafile ---------------------------------------------------------------------------------


async def test_events_hold_nobody_and_leave_in_order_once_the_first_datafile_is_there():
    async with Polled(Reply(status=500), Reply(status=500), reply(datafile("1", "a", "b"))) as polled:
        results = [await polled.user.track_event("ab"[n % 2], {"n": n}) for n in range(1000)]
        unknown = polled.user.track_event_nowait("unknown")
        assert unknown
        assert all(results)
        for number in (2, 3):
            await polled.datafiles.wait_for(number - 1)
            await polled.poll(number)
        await polled.client.flush()
        assert await unknown.delivered(1) == aiotrack.Rejected("unknown event")
        assert {await result.delivered(1) for result in results} == {aiotrack.Delivered()}
        tags = [visitor["snapshots"][0]["events"][0]["tags"]["n"] for visitor in visitors(polled.events)]
        assert tags == list(range(1000))


async def test_an_event_before_the_first_datafile_is_sent_as_one_after_it():
    document = {**datafile("1"), "attributes": [{"id": "7", "key": "plan"}], "botFiltering": False}
    async with Polled(Reply(status=500), reply(document)) as polled:
        user = polled.client.create_user_context("u", {"plan": "gold", "unknown": 1, "bad": object()})
        user.set_attribute("$opt_user_agent", "ua")
        for tags in (None, {}, {"revenue": 4200, "value": 13.5, "nested": {"a": [1]}}):
            assert await user.track_event("purchase", tags, event_id="e", timestamp=5)
        await polled.datafiles.wait_for(1)
        await polled.poll(2)
        for tags in (None, {}, {"revenue": 4200, "value": 13.5, "nested": {"a": [1]}}):
            assert await user.track_event("purchase", tags, event_id="e", timestamp=5)
        await polled.client.flush()
        sent = visitors(polled.events)
        assert sent[:3] == sent[3:]
        assert ["tags" in visitor["snapshots"][0]["events"][0] for visitor in sent[:2]] == [False, True]


@pytest.mark.parametrize("text", ["0", "Mon, 01 Jan 2024 00:00:00 GMT"])
async def test_no_retry_after_makes_polling_spin(text):
    failing = Reply(status=503, headers={"Retry-After": text})
    async with Polled(*[failing] * 5) as polled:
        for number in range(1, 5):
            await polled.datafiles.wait_for(number)
            await until(lambda: polled.destination._polling.waiting)
            assert polled.clock.next_timer > 0.05
            await polled.poll(number + 1)


async def test_polling_outlives_an_address_that_aiohttp_cannot_use():
    bad = Reply(status=302, headers={"Location": f"http://{'x' * 70}.example/"})
    async with Polled(bad, reply(datafile("1"))) as polled:
        await polled.datafiles.wait_for(1)
        await polled.poll(2)
        assert await polled.user.track_event("purchase")


async def test_no_document_gets_into_the_log(caplog):
    document = datafile("1")
    async with Polled(
        reply({**document, "events": "SECRET" * 100_000}), reply({**document, "version": "S" * 10**6})
    ) as polled:
        await polled.datafiles.wait_for(1)
        await polled.poll(2)
    assert caplog.records
    assert all(len(record.getMessage()) < 400 for record in caplog.records)


class TestContract(HTTPDestinationContract):
    secrets = ("the-access-token",)

    def make(self, url):
        return Optimizely(datafile=datafile(), events_url=url, access_token=self.secrets[0])
