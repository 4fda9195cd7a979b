"""The gateway service, users that it knows under other ids, and what else VWO's SDK takes as options."""

import asyncio
import hashlib
import hmac
import ssl
import time

import orjson
import pytest
from test_vwo import document, gets, posts

import aiotrack
from aiotrack import errors
from aiotrack.extension import Fetch
from aiotrack.testing import Collector, ManualClock, Reply, until
from aiotrack_vwo import VWO, Settings, Webhook, visitor_uuid


def answering(aliases, *failures):
    """Answer as a gateway: settings, aliases by user id, events; failures first, where it is asked for aliases."""
    waiting = list(failures)

    def answer(request):
        if request.method == "POST":
            return Reply()
        if request.path != "/user-alias/getAliasUserId":
            return Reply(body=orjson.dumps(document()))
        if waiting:
            return waiting.pop(0)
        (user_id,) = orjson.loads(request.query["userId"])
        return Reply(body=orjson.dumps([{"aliasId": user_id, "userId": aliases.get(user_id)}]))

    return answer


def base(collector):
    return collector.url.removesuffix("/events")


def lookups(collector):
    return [request for request in gets(collector) if request.path.startswith("/user-alias")]


def visitors(collector):
    return [orjson.loads(request.body)["d"]["visId"] for request in posts(collector)]


@pytest.mark.parametrize(
    ("gateway", "address"),
    [
        ({"url": "gateway.example.com"}, "https://gateway.example.com"),
        ("gateway.example.com", "https://gateway.example.com"),
        ({"url": "gateway.example.com", "protocol": "http"}, "http://gateway.example.com"),
        ({"url": "gateway.example.com", "port": 8443}, "https://gateway.example.com:8443"),
        ({"url": "http://gateway.example.com/", "protocol": "https", "port": 5}, "http://gateway.example.com:5"),
        ({"url": "http://gateway.example.com:4", "port": 5}, "http://gateway.example.com:4"),
    ],
)
def test_its_address(gateway, address):
    vwo = VWO(1, "k", settings=document(collectionPrefix="eu01"), gateway_service=gateway, base_url="http://proxy")
    assert vwo._settings_url("v2-settings").startswith(f"{address}/server-side/v2-settings?")
    entry = vwo.encode(aiotrack.Event("purchase", "u"))
    assert vwo.frame([entry], vwo.batch_header).url.startswith(f"{address}/events/t?")
    assert vwo.max_batch_events == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"gateway_service": 5}, "gateway_service: expected a mapping with a url, got int"),
        ({"gateway_service": {}}, "gateway_service: expected a mapping with a url"),
        ({"gateway_service": {"url": "g", "prot": "http"}}, "gateway_service.prot: no such key"),
        ({"gateway_service": {"url": "g", "protocol": "ftp"}}, "gateway_service.protocol: expected 'http' or 'https'"),
        ({"gateway_service": {"url": "g", "port": "80"}}, "gateway_service.port: expected a port number, got str"),
        ({"gateway_service": {"url": "ftp://g"}}, "gateway_service.url: expected an http"),
        ({"gateway_service": {"url": "http://g/path"}}, "gateway_service.url: expected an address without a path"),
        ({"is_aliasing_enabled": True}, "is_aliasing_enabled: users are known by other ids to a gateway only"),
        ({"settings_timeout": 0}, "settings_timeout: expected seconds > 0"),
    ],
)
def test_a_wrong_option_is_named(options, sentence):
    with pytest.raises(errors.ConfigError) as caught:
        VWO(1, "k", **options)
    assert str(caught.value).startswith(sentence)


async def test_the_gateway_is_asked_once_a_user_and_off_the_callers_way():
    aliases = {"phone": "ann", "desk": "ann"}
    async with Collector(answer=answering(aliases)) as gateway:
        vwo = VWO(1, "k", gateway_service=base(gateway), is_aliasing_enabled=True, max_in_flight=4)
        async with aiotrack.Client(vwo) as client:
            await until(lambda: client.catalog.events)
            users = [client.create_user_context(name) for name in ("phone", "desk", "bob")]
            for user in users * 10:
                assert user.track_event_nowait("purchase")
            assert lookups(gateway) == []
            assert (await client.flush(10)).delivered == 30
            assert await vwo.set_attribute(users[0], {"plan": "pro"})
            assert (await client.flush(10)).delivered == 31
        ann, bob = visitor_uuid("ann", "1"), visitor_uuid("bob", "1")
        assert sorted(visitors(gateway)) == sorted([ann] * 21 + [bob] * 10)
        assert len(lookups(gateway)) == 3
        messages = [orjson.loads(request.body)["d"]["msgId"] for request in posts(gateway)]
        assert len({message for message in messages if message.startswith(bob)}) == 10
        assert all("user" not in orjson.loads(request.body) for request in posts(gateway))


@pytest.mark.parametrize(
    "failure", [Reply(status=503), Reply(lose=True), Reply(body=b"{"), Reply(body=b"{}"), Reply(status=404)]
)
async def test_a_gateway_that_does_not_know_now_loses_no_event(failure):
    clock = ManualClock()
    async with Collector(answer=answering({"phone": "ann"}, failure)) as gateway:
        vwo = VWO(1, "k", settings=document(), gateway_service=base(gateway), is_aliasing_enabled=True)
        async with aiotrack.Client(vwo, batch_size=1, clock=clock) as client:
            assert await client.create_user_context("phone").track_event("purchase")
            await until(lambda: len(lookups(gateway)) == 1)
            await until(lambda: client.stats().total.delivered or clock.advance(10))
        assert visitors(gateway) == [visitor_uuid("ann", "1")]
        assert len(lookups(gateway)) == 2


async def test_an_empty_answer_means_no_other_id():
    async with Collector(answer=answering({}, Reply(body=b"[]"))) as gateway:
        vwo = VWO(1, "k", settings=document(), gateway_service=base(gateway), is_aliasing_enabled=True)
        async with aiotrack.Client(vwo) as client:
            assert await client.create_user_context("ann").track_event("purchase")
        assert visitors(gateway) == [visitor_uuid("ann", "1")]


@pytest.mark.parametrize("batch", [True, False])
async def test_what_was_stored_while_there_were_aliases_is_sent_without_the_users_id(batch, tmp_path):
    async with Collector(default=Reply(status=503)) as gateway:
        vwo = VWO(1, "k", settings=document(), gateway_service=base(gateway), is_aliasing_enabled=True)
        async with aiotrack.Client(vwo, buffer=aiotrack.FileBuffer(tmp_path), shutdown_timeout=0.1) as client:
            assert await client.create_user_context("ann").track_event("purchase")
    async with Collector(answer=answering({})) as server:
        vwo = VWO(1, "k", settings=document(), base_url=base(server), batch=batch)
        async with aiotrack.Client(vwo, buffer=aiotrack.FileBuffer(tmp_path)) as client:
            assert await client.create_user_context("bob").track_event("purchase")
            assert (await client.flush(10)).delivered == 2
        body = b"".join(request.body for request in posts(server))
        assert b'"user"' not in body
        assert visitor_uuid("ann", "1").encode() in body


async def test_with_use_id_for_web_other_ids_are_refused():
    web_id = "D" + "f" * 32
    vwo = VWO(1, "k", settings=document(), base_url="http://127.0.0.1:9", use_id_for_web=True)
    async with aiotrack.Client(vwo, shutdown_timeout=0.1) as client:
        assert await client.track_event("purchase", {"id": web_id})
        refused = (await client.track_event("purchase", {"id": "ann"})).refused["vwo"]
        assert str(refused).endswith("expected an id that VWO has given in the browser (use_id_for_web), got another")
        assert not await vwo.set_attribute(client.create_user_context("ann"), {"plan": "pro"})
    settings = document(isWebConnectivityEnabled=False)
    vwo = VWO(1, "k", settings=settings, base_url="http://127.0.0.1:9", use_id_for_web=True)
    async with aiotrack.Client(vwo, shutdown_timeout=0.1) as client:
        assert await client.track_event("purchase", {"id": "ann"})  # as in the vendor's SDK


async def test_settings_that_do_not_come_in_time_are_given_up_on():
    async with Collector(default=Reply(hang=True)) as server:
        vwo = VWO(1, "k", base_url=base(server), settings_timeout=0.05)
        async with aiotrack.Client(vwo, shutdown_timeout=0.1):
            await until(lambda: vwo._polling.last)
            assert vwo._polling.last == Fetch("failed", "no answer within 0.05 s")


def test_reading_many_revenue_metrics_is_linear():
    def seconds(count):
        metrics = [
            {"id": n, "type": "REVENUE_TRACKING", "identifier": f"e{n}", "revenueProp": "amount"} for n in range(count)
        ]
        settings = document()
        settings["features"][0]["metrics"] = metrics
        began = time.process_time()
        assert len(Settings.parse(settings).revenue_props) == count
        return time.process_time() - began

    seconds(100)
    assert min(seconds(4000) for _ in range(3)) < 8 * min(seconds(1000) for _ in range(3))


def test_revenue_properties_are_listed_once_and_in_order():
    metrics = [
        {"id": n, "type": "REVENUE_TRACKING", "identifier": "purchase", "revenueProp": prop}
        for n, prop in enumerate(("b", "a", "b", ""))
    ]
    settings = document()
    settings["features"][0]["metrics"] = metrics
    assert Settings.parse(settings).revenue_props == {"purchase": ("b", "a")}


async def test_a_hundred_replays_of_a_webhook_are_two_fetches():
    async with Collector(answer=answering({})) as server:
        vwo = VWO(1, "k", base_url=base(server))
        async with aiotrack.Client(vwo) as client:
            await until(lambda: client.catalog.events)
            webhook = Webhook(vwo, "secret", header="X-Sig")
            signature = hmac.new(b"secret", b"{}", hashlib.sha256).hexdigest()
            statuses = await asyncio.gather(*(webhook.receive(b"{}", signature) for _ in range(100)))
            assert set(statuses) == {200}
            assert len([request for request in gets(server) if request.path.endswith("v2-pull")]) == 2


@pytest.mark.aiotrack(network=True)  # by a proxy on loopback
async def test_settings_go_by_the_proxy_that_events_go_by():
    async with Collector(answer=answering({})) as proxy:
        vwo = VWO(1, "k", base_url="http://vwo.invalid", proxy=base(proxy))
        async with aiotrack.Client(vwo) as client:
            await until(lambda: client.catalog.events)
            assert await client.create_user_context("u").track_event("purchase")
            assert (await client.flush(10)).delivered == 1
            await vwo.refresh()
        assert [request.path for request in gets(proxy)] == ["/server-side/v2-settings", "/server-side/v2-pull"]


async def test_settings_are_fetched_with_the_tls_that_events_are_sent_with(monkeypatch):
    asked = []
    vwo = VWO(1, "k", settings=document(), base_url="https://127.0.0.1:9", ssl=ssl.create_default_context())
    async with aiotrack.Client(vwo, shutdown_timeout=0.1):
        get = vwo.session.get
        monkeypatch.setattr(vwo.session, "get", lambda url, **options: asked.append(options) or get(url, **options))
        await vwo.refresh()
    assert {options["ssl"] for options in asked} == {vwo.connection("https://x")["ssl"]}
    assert isinstance(vwo.connection("https://x")["ssl"], ssl.SSLContext)


def test_what_leaves_this_machine_says_so_and_a_test_run_keeps_it_here():
    class Own(VWO):
        async def send(self, batch):
            return aiotrack.Answer()

    assert VWO(1, "k").remote
    assert VWO(1, "k", gateway_service="gateway.example.com").remote
    assert VWO(1, "k", base_url="http://127.0.0.1:9", proxy="http://proxy.example.com").remote
    assert not VWO(1, "k", base_url="http://127.0.0.1:9").remote
    assert not Own(1, "k").remote
