"""The destination against real loopback servers: settings, events, webhooks, and two vendors at once."""

import asyncio
import hashlib
import hmac
import json
import statistics
import time

import attrs
import orjson
import pytest
from aiohttp import ClientSession, web

import aiotrack
from aiotrack import errors
from aiotrack.testing import Collector, HTTPDestinationContract, ManualClock, Reply, until
from aiotrack_optimizely import Optimizely
from aiotrack_vwo import VWO, Webhook


def document(*keys, **extra):
    metrics = [
        {"id": number, "type": "CUSTOM_GOAL", "identifier": key} for number, key in enumerate(keys or ("purchase",))
    ]
    feature = {
        "id": 1,
        "key": "flag",
        "status": "ON",
        "name": "f",
        "type": "FEATURE_FLAG",
        "rules": [],
        "metrics": metrics,
    }
    return {"version": 1, "accountId": 1, "sdkKey": "k", "campaigns": {}, "features": [feature], **extra}


def answering(*settings):
    """Answer for one server that has the settings and takes the events."""
    waiting = list(settings)

    def answer(request):
        if request.method == "POST":
            return Reply()
        reply = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return reply if isinstance(reply, Reply) else Reply(body=orjson.dumps(reply))

    return answer


def posts(collector):
    return [request for request in collector.requests if request.method == "POST"]


def gets(collector):
    return [request for request in collector.requests if request.method == "GET"]


async def poll(vwo, clock):
    await until(lambda: vwo._polling is not None and vwo._polling.waiting)
    while vwo._polling.waiting:
        clock.advance(clock.next_timer)
        await asyncio.sleep(0)
    await until(lambda: vwo._polling.waiting)


async def test_settings_are_fetched_and_events_go_out_in_a_batch():
    async with Collector(answer=answering(document())) as server:
        vwo = VWO(1, "my-key", base_url=server.url.removesuffix("/events"))
        async with aiotrack.Client(vwo) as client:
            context = {"id": "u", "user_agent": "UA", "ip_address": "::1", "session_id": 5}
            assert await client.track_event("purchase", context, {"amount": 5, "isCustomEvent": "mine"})
            assert (await client.flush()).delivered == 1
    (get,) = gets(server)
    assert get.path == "/server-side/v2-settings"
    assert {key: value for key, value in get.query.items() if key != "r"} == {
        "i": "my-key",
        "a": "1",
        "platform": "server",
        "api-version": "1",
        "sn": "vwo-fme-python-sdk",
        "sv": "1.65.0",
        "s": "prod",
    }
    (post,) = posts(server)
    assert post.path == "/server-side/batch-events-v2"
    assert dict(post.query) == {"a": "1", "env": "my-key", "sn": "vwo-fme-python-sdk", "sv": "1.65.0"}
    assert post.headers["Authorization"] == "my-key"
    (entry,) = post.json()["ev"]
    assert entry["d"]["event"]["props"]["amount"] == 5
    assert entry["d"]["event"]["props"]["isCustomEvent"] == "mine"
    assert (entry["d"]["visitor_ua"], entry["d"]["visitor_ip"], entry["d"]["sessionId"]) == ("UA", "::1", 5)


async def test_message_ids_are_unique_within_a_millisecond_and_stay_on_a_retry():
    clock = ManualClock()

    def answer(request):
        return Reply(status=503) if request.method == "POST" and not posts(server) else None

    async with Collector(answer=answer) as server:
        vwo = VWO(1, "k", settings=document(), base_url=server.url)
        async with aiotrack.Client(vwo, batch_size=3, clock=clock) as client:
            user = client.create_user_context("u")
            for _ in range(3):
                assert await user.track_event("purchase")
            await until(lambda: len(posts(server)) == 1 and client.stats().total.retries == 1)
            await client.flush()
    first, second = posts(server)
    assert first.body == second.body
    ids = [entry["d"]["msgId"] for entry in first.json()["ev"]]
    assert len(set(ids)) == 3
    assert {entry["d"]["event"]["time"] for entry in first.json()["ev"]} == {1_700_000_000_000}


@pytest.mark.parametrize(
    "bad",
    [Reply(status=500), Reply(status=404), Reply(status=401), Reply(body=b"{"), Reply(body=b"[]"), Reply(body=b"{}")],
)
async def test_a_failed_first_fetch_is_recovered_from_and_the_old_settings_stay(bad, caplog):
    clock = ManualClock()
    async with Collector(answer=answering(bad, document(), bad, document("purchase", "view"))) as server:
        vwo = VWO(1, "k", base_url=server.url)
        async with aiotrack.Client(vwo, clock=clock) as client:
            user = client.create_user_context("u")
            assert await user.track_event("purchase", event_id="early", timestamp=5)
            await poll(vwo, clock)
            await poll(vwo, clock)
            assert await user.track_event("purchase")
            assert not await user.track_event("view")
            await poll(vwo, clock)
            assert await user.track_event("view")
        messages = [entry["d"]["msgId"] for request in posts(server) for entry in request.json()["ev"]]
        assert messages[0].endswith("-5")
        assert len(messages) == 3
    assert any("the document at" in record.message for record in caplog.records)


async def test_settings_that_are_the_same_are_no_update_and_their_own_interval_counts():
    updates = []
    clock = ManualClock()
    async with Collector(answer=answering(document(pollInterval=5000))) as server:
        vwo = VWO(1, "k", base_url=server.url)
        client = aiotrack.Client(vwo, clock=clock)
        client.on("aiotrack_catalog_updated", lambda _, catalog: updates.append(catalog.revision))
        async with client:
            await until(lambda: vwo._polling.waiting)
            assert 4.5 <= clock.next_timer <= 5.5
            await poll(vwo, clock)
            assert len(updates) == 1


async def test_an_empty_user_id_and_an_unknown_event_are_refused():
    vwo = VWO(1, "k", settings=document(), base_url="http://127.0.0.1:9")
    async with aiotrack.Client(vwo, shutdown_timeout=0) as client:
        result = await client.track_event("purchase", {"id": ""})
        assert result.refused["vwo"].path == "user_id"
        result = await client.track_event("other", {"id": "u"})
        assert result.refused["vwo"].reason == "unknown event"


async def test_a_missing_revenue_property_is_said_once(caplog):
    settings = document()
    settings["features"][0]["metrics"][0]["revenueProp"] = "amount"
    vwo = VWO(1, "k", settings=settings, base_url="http://127.0.0.1:9")
    async with aiotrack.Client(vwo, shutdown_timeout=0) as client:
        user = client.create_user_context("u")
        for tags in (None, {"amount": "5"}, {"amount": 5}):
            assert await user.track_event("purchase", tags)
    said = [record.message for record in caplog.records if "revenue metric" in record.message]
    assert len(said) == 1
    assert "expected a number, got nothing" in said[0]


async def test_visitor_properties_are_an_event_of_their_own():
    async with Collector(answer=answering(document())) as server:
        vwo = VWO(1, "k", settings=document(), base_url=server.url)
        async with aiotrack.Client(vwo) as client:
            user = client.create_user_context("u", session_id=5)
            assert await vwo.set_attribute(user, {"plan": "gold"})
            assert not await vwo.set_attribute(user, {"plan": [1]})
            assert client.stats().refused == {"invalid event": 1}
    (entry,) = posts(server)[0].json()["ev"]
    assert entry["d"]["event"]["name"] == "vwo_syncVisitorProp"
    assert entry["d"]["event"]["props"]["isCustomEvent"] is True
    assert entry["d"]["visitor"]["props"] == {"vwo_fs_environment": "k", "plan": "gold"}


async def test_the_catalog_answers_which_metrics_and_which_events():
    settings = document("purchase", "view", holdouts=[])
    settings["features"][0]["metrics"][0] |= {"revenueProp": "amount", "hasProps": True, "isPrimary": True}
    async with aiotrack.Client(
        VWO(1, "k", settings=settings, base_url="http://127.0.0.1:9"), shutdown_timeout=0
    ) as client:
        (metric,) = client.catalog.metrics_of("purchase")
        assert (metric.flag, metric.id, metric.type, metric.primary) == ("flag", 0, "CUSTOM_GOAL", True)
        assert (metric.revenue_prop, metric.has_props) == ("amount", True)
        assert client.catalog.events_of("flag") == ("purchase", "view")


async def test_a_webhook_is_verified_before_the_settings_are_fetched():
    async with Collector(answer=answering(document(), document("purchase", "view"))) as server:
        vwo = VWO(1, "k", base_url=server.url)
        webhook = Webhook(vwo, "s3cret", header="X-Signature")
        app = web.Application()
        app.router.add_post("/hook", webhook.aiohttp)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        async with aiotrack.Client(vwo) as client, ClientSession() as session:
            await until(lambda: vwo.catalog is not None)
            body = b'{"changed": true}'
            good = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
            for signature, status in [("0" * 64, 401), ("", 401), (f"sha256={good}", 200)]:
                async with session.post(url, data=body, headers={"X-Signature": signature}) as response:
                    assert response.status == status
            assert [request.path.rsplit("/", 1)[-1] for request in gets(server)] == ["v2-settings", "v2-pull"]
            assert await client.track_event("view", {"id": "u"})
        await runner.cleanup()


async def test_a_webhook_is_an_asgi_application():
    async with Collector(answer=answering(document())) as server:
        vwo = VWO(1, "k", base_url=server.url)
        webhook = Webhook(vwo, "s3cret", header="X-Signature")
        good = hmac.new(b"s3cret", b"ab", hashlib.sha256).hexdigest().encode()
        async with aiotrack.Client(vwo):
            for method, signature, status in [("POST", good, 200), ("POST", b"x", 401), ("GET", good, 405)]:
                messages = [
                    {"type": "http.request", "body": b"a", "more_body": True},
                    {"type": "http.request", "body": b"b", "more_body": False},
                ]
                sent = []

                async def receive(messages=messages):
                    return messages.pop(0)

                async def send(message, sent=sent):
                    sent.append(message)

                scope = {"type": "http", "method": method, "headers": [(b"x-signature", signature)]}
                await webhook(scope, receive, send)
                assert sent[0]["status"] == status


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        ((None, "k"), {}, "account_id: expected a number or text, got NoneType"),
        ((1, ""), {}, "sdk_key: expected text"),
        ((1, "k"), {"brand": "x"}, "brand: expected one of 'vwo', 'wingify', got str 'x'"),
        ((1, "k"), {"poll_interval": 0}, "poll_interval: expected seconds > 0"),
        ((1, "k"), {"base_url": "x"}, "url: expected an http"),
        ((1, "k"), {"settings": {}}, "settings: version: missing"),
        ((1, "k"), {"settings": {**document(), "features": 5}}, "settings: features: expected an array, got int 5"),
    ],
)
def test_a_wrong_option_is_named(arguments, options, sentence):
    with pytest.raises(errors.ConfigError) as caught:
        VWO(*arguments, **options)
    assert sentence in str(caught.value)


def test_brands_and_secrets():
    vwo = VWO(1, "my-key", settings=document(), brand="wingify")
    assert vwo._settings_url("v2-settings").startswith("https://edge.wingify.net/server-side/v2-settings?i=my-key")
    assert vwo.frame([b"{}"], b"").url.startswith("https://collect.wingify.net/server-side/batch-events-v2?a=1")
    assert "my-key" not in repr(vwo)
    assert "my-key" not in repr(vwo.frame([b"{}"], b""))


async def test_a_single_event_is_encoded_and_says_no_none():
    async with Collector(answer=answering(document("a&b#c"))) as server:
        vwo = VWO(1, "k", settings=document("a&b#c"), base_url=server.url.removesuffix("/events"), batch=False)
        async with aiotrack.Client(vwo) as client:
            assert await client.track_event("a&b#c", {"id": "u", "user_agent": "UA\r\nX: 1 ü"})
            assert await client.track_event("a&b#c", {"id": "u"})
        first, second = posts(server)
        assert first.path == "/events/t"
        assert (first.query["en"], first.query["visitor_ua"]) == ("a&b#c", "UA\r\nX: 1 ü")
        assert first.headers["X-Device-User-Agent"] == "UAX: 1 ü"
        assert "visitor_ua" not in second.query
        assert "visitor_ip" not in second.query
        assert "Authorization" not in first.headers


OPTIMIZELY = {
    "version": "4",
    "accountId": "1",
    "projectId": "2",
    "revision": "3",
    "events": [{"id": "9", "key": "purchase", "experimentIds": []}],
    **{key: [] for key in ("attributes", "groups", "experiments", "audiences")},
}


async def median_call_alone(url):
    vwo = VWO(1, "k", settings=document("purchase"), base_url=url)
    async with aiotrack.Client(vwo, batch_size=50, shutdown_timeout=0.2) as client:
        user = client.create_user_context("alone")
        calls = []
        for _ in range(500):
            started = time.perf_counter()
            await user.track_event("purchase")
            calls.append(time.perf_counter() - started)
    return statistics.median(calls)


async def test_both_vendors_at_once_and_one_of_them_down():
    async with (
        Collector(answer=answering(document("purchase", "only vwo"))) as good,
        Collector(default=Reply(status=503)) as down,
    ):
        vwo = VWO(1, "k", settings=document("purchase", "only vwo"), base_url=good.url)
        optimizely = Optimizely(datafile=json.dumps(OPTIMIZELY), events_url=down.url)
        async with aiotrack.Client(vwo, optimizely, batch_size=50, shutdown_timeout=0.2) as client:
            user = client.create_user_context("u")
            calls = []
            for number in range(500):
                started = time.perf_counter()
                result = await user.track_event("purchase", {"n": number})
                calls.append(time.perf_counter() - started)
                assert result.accepted == ("vwo", "optimizely")
            # Two encodings cost more than one; nobody waits for the vendor that is down.
            assert statistics.median(calls) < 5 * await median_call_alone(good.url)
            result = await user.track_event("only vwo")
            assert result.accepted == ("vwo",)
            assert result.refused["optimizely"].reason == "unknown event"
            await until(lambda: client.stats().lanes["vwo"].delivered >= 500)
            stats = client.stats()
            assert stats.lanes["vwo"].retries == 0
            assert stats.lanes["vwo"].state == "up"
            assert stats.lanes["optimizely"].pending == 500
            for lane in stats.lanes.values():
                assert lane.accepted == lane.delivered + lane.dead + lane.dropped + lane.pending
        sent = [entry["d"]["event"]["props"].get("n") for post in posts(good) for entry in post.json()["ev"]]
        assert [number for number in sent if number is not None] == list(range(500))


async def test_the_key_is_in_no_stored_event_and_in_every_sent_one(tmp_path):
    key = "secret-sdk-key-\u00fc"
    async with Collector(default=Reply(status=503)) as collector:
        destination = VWO("123", key, settings=document(), base_url=collector.url.removesuffix("/events"))
        client = aiotrack.Client(destination, buffer=aiotrack.FileBuffer(tmp_path), batch_size=1)
        await client.start()
        user = client.create_user_context("u")
        assert await user.track_event("purchase", {"note": f"{key} is what the user typed"})
        await until(lambda: client.stats().total.retries > 0)
        await client.aclose(timeout=0.1)
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*.*"))
    assert b"purchase" in stored
    assert b"secret-sdk-key" not in stored
    async with Collector() as collector:
        destination = VWO("123", key, settings=document(), base_url=collector.url.removesuffix("/events"))
        async with aiotrack.Client(destination, buffer=aiotrack.FileBuffer(tmp_path)):
            pass
        (body,) = [request.json() for request in collector.requests if request.method == "POST"]
        (event,) = body["ev"]
        assert event["d"]["event"]["props"]["vwo_envKey"] == key
        assert event["d"]["visitor"]["props"]["vwo_fs_environment"] == key
        assert event["d"]["event"]["props"]["note"] == f"{key} is what the user typed"


class TestContract(HTTPDestinationContract):
    secrets = ("the-sdk-key",)

    def make(self, url):
        return VWO(1, "the-sdk-key", settings=document(sdkKey="the-sdk-key"), base_url=url.removesuffix("/events"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sdk_key": " \n"}, "sdk_key: expected text"),
        ({"sdk_key": "\ud800"}, "sdk_key: expected printable text"),
        ({"sdk_key": "a\nb"}, "sdk_key: expected printable text"),
        ({"brand": []}, "brand: expected one of"),
        ({"base_url": "http://h/gw#x"}, "base_url: expected an address without query"),
        ({"base_url": "http://h/gw?token=1"}, "base_url: expected an address without query"),
        ({"base_url": "http://user:pw@h/gw"}, "base_url: expected an address without query"),
    ],
)
def test_options_that_would_lose_events_are_refused(options, sentence):
    with pytest.raises(errors.ConfigError) as caught:
        VWO(**{"account_id": 1, "sdk_key": "k", **options})
    assert str(caught.value).startswith(sentence)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("attributes", [{"a": float("nan")}, {"a": 2**70}, {"a": "\ud800"}, {None: "x"}, {}, None, 5])
async def test_properties_that_can_not_be_sent_are_refused(attributes):
    vwo = VWO(1, "k", settings=document(), base_url="http://127.0.0.1:9")
    async with aiotrack.Client(vwo) as client:
        assert not await vwo.set_attribute(client.create_user_context("u"), attributes)
        assert not await vwo.set_attribute(client.create_user_context(5.0), {"a": 1})
        assert client.stats().refused == {"invalid event": 2}
        assert client.stats().total.accepted == 0


def test_a_key_from_a_file_may_end_in_a_line_end():
    assert "i=k&" in VWO(1, "k\n")._settings_url("v2-settings")


async def test_a_webhook_answers_whatever_comes():
    webhook = Webhook(VWO(1, "k", base_url="http://127.0.0.1:9"), "secret", header="X-Sig")
    assert await webhook.receive(b"{}", "\udcff") == 401
    signature = hmac.new(b"secret", b"{}", hashlib.sha256).hexdigest()
    assert await webhook.receive(b"{}", signature) == 503  # not started


def test_settings_can_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("AIOTRACK_DESTINATIONS__VWO__SETTINGS", json.dumps(document()))
    table = {"kind": "vwo", "account_id": 1, "sdk_key": "k"}
    assert aiotrack.Client.from_config({"destinations": {"vwo": table}}).stats().plugins


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [({}, "dropped by plugin"), ({"seen": {1}}, "invalid event"), ({"seen": None}, "invalid event")],
)
async def test_what_a_plugin_makes_of_a_visitors_properties_is_checked(attributes, reason):
    class Changes:
        @aiotrack.hookimpl
        def aiotrack_process_event(self, event):
            return attrs.evolve(event, attributes=attributes)

    destination = VWO(1, "k", settings=document(), base_url="http://127.0.0.1:9")
    async with aiotrack.Client(Changes(), destination, shutdown_timeout=0.1) as client:
        assert not await destination.set_attribute(client.create_user_context("ann"), {"plan": "pro"})
        assert client.stats().refused == {reason: 1}


async def test_a_time_beyond_64_bits_is_refused_and_spoils_no_later_event():
    vwo = VWO(1, "k", settings=document(), base_url="http://127.0.0.1:9")
    async with aiotrack.Client(vwo, shutdown_timeout=0.1) as client:
        user = client.create_user_context("u")
        for timestamp in (2**63, 10**5000, -(10**5000)):
            assert (await user.track_event("purchase", timestamp=timestamp)).refused["vwo"].path == "timestamp"
        assert await user.track_event("purchase")
