"""Secrets that change: functions, sync or async, asked when nothing is known, when it ends, and after a 401."""

import asyncio
import logging
import threading

import pytest

from aiotrack import Client, FileBuffer, HTTPDestination, Secret
from aiotrack.errors import ConfigError
from aiotrack.testing import Collector, ManualClock, Reply, until
from aiotrack_optimizely import Optimizely
from aiotrack_posthog import PostHog
from aiotrack_vwo import VWO


class Vault:
    """Gives one secret after the other; an `Exception` among them is raised."""

    def __init__(self, *secrets):
        self.secrets = list(secrets)
        self.asked = 0
        self.threads = set()

    def __call__(self):
        self.asked += 1
        self.threads.add(threading.current_thread())
        secret = self.secrets.pop(0) if len(self.secrets) > 1 else self.secrets[0]
        if isinstance(secret, BaseException):
            raise secret
        return secret


def as_async(vault):
    async def ask():
        await asyncio.sleep(0)
        return vault()

    return ask


def needs(*valid):
    """Answer 401 unless the request's Authorization is one of these."""
    return lambda request: None if request.headers.get("Authorization") in valid else Reply(status=401)


async def tracked(destination, events=1, **options):
    async with Client(destination, flush_interval=0.01, **options) as client:
        user = client.create_user_context("u")
        for _ in range(events):
            assert await user.track_event("k")
            await client.flush(2)
        await client.aclose(0.2)
    return client


@pytest.mark.parametrize("as_function", [lambda vault: vault, as_async, lambda vault: lambda: as_async(vault)()])  # noqa: PLW0108
async def test_a_header_may_be_a_function_of_any_colour(as_function, collector):
    vault = Vault("Bearer one\n")
    client = await tracked(HTTPDestination(collector.url, headers={"Authorization": as_function(vault)}), events=3)
    assert client.stats().total.delivered == 3
    assert {request.headers["Authorization"] for request in collector.requests} == {"Bearer one"}
    assert vault.asked == 1


async def test_a_plain_function_does_not_hold_the_loop_up(collector):
    vault = Vault("one")
    await tracked(HTTPDestination(collector.url, headers={"Authorization": vault}))
    assert threading.main_thread() not in vault.threads


async def test_a_refused_secret_is_asked_for_again_at_once():
    vault = Vault("old", "new")
    async with Collector(answer=needs("new")) as collector:
        client = await tracked(HTTPDestination(collector.url, headers={"Authorization": vault}), events=2)
    assert [request.headers["Authorization"] for request in collector.requests] == ["old", "new", "new"]
    assert client.stats().total.delivered == 2
    assert client.stats().total.retries == 0


async def test_one_that_is_refused_again_pauses_the_lane():
    vault = Vault("old")
    async with Collector(answer=needs("new")) as collector:
        destination = HTTPDestination(collector.url, headers={"Authorization": vault})
        async with Client(destination, flush_interval=0.01) as client:
            await client.create_user_context("u").track_event("k")
            await until(lambda: client.stats().lanes["http"].state == "paused")
            assert [request.headers["Authorization"] for request in collector.requests] == ["old"]
            assert vault.asked == 2
            assert "HTTP 401" in client.stats().lanes["http"].last_error
            await client.aclose(0)


async def test_concurrent_requests_ask_once(unused_tcp_port):
    vault = Vault("old", "new")
    async with Collector(answer=needs("new")) as collector:
        destination = HTTPDestination(collector.url, headers={"Authorization": as_async(vault)}, max_in_flight=4)
        async with Client(destination, batch_size=1, flush_interval=0.01) as client:
            user = client.create_user_context("u")
            for _ in range(8):
                await user.track_event("k")
            await client.flush(5)
    assert client.stats().total.delivered == 8
    assert vault.asked == 2


async def test_a_secret_is_asked_for_before_it_ends(collector):
    clock = ManualClock()
    vault = Vault(Secret("a", expires_in=100), Secret("b", expires_in=1000), Secret("c"))
    destination = HTTPDestination(collector.url, headers={"Authorization": vault})
    async with Client(destination, flush_interval=0.01, clock=clock) as client:
        user = client.create_user_context("u")
        for seconds in (0, 89, 2, 969, 2, 100_000):
            clock.advance(seconds)
            await user.track_event("k")
            await client.flush(2)
    assert [request.headers["Authorization"] for request in collector.requests] == ["a", "a", "b", "b", "c", "c"]


async def test_the_old_one_is_used_while_it_holds_and_no_new_one_can_be_had(collector):
    clock = ManualClock()
    vault = Vault(Secret("a", expires_in=100), OSError("pa55"))
    destination = HTTPDestination(collector.url, headers={"Authorization": vault})
    async with Client(destination, flush_interval=0.01, clock=clock) as client:
        user = client.create_user_context("u")
        for seconds in (0, 95):
            clock.advance(seconds)
            await user.track_event("k")
            await client.flush(2)
        assert client.stats().total.delivered == 2
        clock.advance(10)
        await user.track_event("k")
        await client.flush(0.2)
        assert "headers.Authorization: its function raised OSError" in client.stats().lanes["http"].last_error
        vault.secrets = [Secret("b")]
        await client.flush(2)
    assert [request.headers["Authorization"] for request in collector.requests] == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        (5, "headers.Authorization: expected text or a Secret, got int"),
        ("pa55\nX-Other: 1", "headers.Authorization: expected text on one line, got some with a line break or another"),
        ("", "headers.Authorization: expected text, got an empty one"),
        (ValueError("pa55"), "headers.Authorization: its function raised ValueError"),
        (asyncio.CancelledError("pa55"), "headers.Authorization: its function raised CancelledError"),
    ],
)
async def test_what_a_function_gives_wrong_is_said_without_it(secret, why, collector, caplog):
    caplog.set_level(logging.DEBUG)
    client = await tracked(HTTPDestination(collector.url, headers={"Authorization": Vault(secret)}))
    assert why in client.stats().lanes["http"].last_error
    assert why in caplog.text
    assert "pa55" not in caplog.text
    assert not collector.requests


async def test_a_function_that_hangs_costs_an_attempt(collector):
    async def hang():
        await asyncio.sleep(60)

    client = await tracked(HTTPDestination(collector.url, headers={"Authorization": hang}, timeout=0.05))
    assert "its function gave no answer within 0.05 s" in client.stats().lanes["http"].last_error


def test_a_secret_is_not_in_a_repr():
    assert "pa55" not in repr(Secret("pa55", 5))
    destination = HTTPDestination("http://127.0.0.1:9/", headers={"Authorization": "pa55"})
    assert "pa55" not in repr(destination) + repr(vars(destination)["_headers"]) + repr(destination.credentials)
    with pytest.raises(ConfigError, match="expires_in: expected seconds > 0, got int 0"):
        Secret("a", expires_in=0)


# -- vendors --------------------------------------------------------------------------------------------

DATAFILE = (
    b'{"version":"4","accountId":"1","projectId":"2","revision":"1","events":[{"id":"3","key":"k","experimentIds":[]}],'
    b'"attributes":[],"groups":[],"experiments":[],"audiences":[],"rollouts":[],"featureFlags":[],"variables":[]}'
)
SETTINGS = (
    b'{"version":1,"accountId":1,"campaigns":[],"features":[{"id":1,"key":"f","status":"RUNNING","name":"f","type":"x",'
    b'"metrics":[{"id":1,"type":"t","identifier":"k"}]}]}'
)


async def test_optimizelys_key_and_token_may_change():
    def answer(request):
        if request.method == "POST":
            return None
        ok = request.path.endswith("/key-2") and request.headers.get("Authorization") == "Bearer token-2"
        return Reply(body=DATAFILE) if ok else Reply(status=403)

    async with Collector(answer=answer) as collector:
        destination = Optimizely(
            Vault("key-1", "key-2"),
            access_token=as_async(Vault("token-1", "token-2")),
            datafile_url=f"{collector.url}/{{sdk_key}}",
            events_url=collector.url,
        )
        async with Client(destination, flush_interval=0.01) as client:
            await until(lambda: destination.catalog is not None)
            assert await client.create_user_context("u").track_event("k")
    assert [request.path.rpartition("/")[2] for request in collector.requests if request.method == "GET"] == [
        *("key-1", "key-2")
    ]
    assert client.stats().total.delivered == 1


@pytest.mark.parametrize("batch", [True, False])
async def test_vwos_key_may_change_and_is_in_no_file(batch, tmp_path):
    def answer(request):
        key = request.query.get("i") or request.query.get("env")
        ok = key == "pa55-2"
        return Reply(body=SETTINGS if request.method == "GET" else b"") if ok else Reply(status=401)

    vault = Vault("pa55-1", "pa55-2")
    async with Collector(answer=answer) as collector:
        destination = VWO(1, vault, base_url=collector.url, batch=batch)
        client = Client(destination, buffer=FileBuffer(tmp_path), flush_interval=30)
        async with client:
            await until(lambda: destination.catalog is not None)
            assert await client.create_user_context("u").track_event("k")
            kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
            assert b"vwo_fs_environment" in kept
            assert b"pa55" not in kept
    assert client.stats().total.delivered == 1
    (request,) = (request for request in collector.requests if request.method == "POST")
    assert b'"vwo_fs_environment":"pa55-2"' in request.body
    assert b'"vwo_envKey":"pa55-2"' in request.body


async def test_posthogs_key_may_change():
    def answer(request):
        return None if request.json()["api_key"] == "phc_2" else Reply(status=401)

    vault = Vault("phc_1", "phc_2")
    async with Collector(answer=answer) as collector:
        client = await tracked(PostHog(vault, host=collector.url, compression=None), events=2)
    assert client.stats().total.delivered == 2
    assert [request.json()["api_key"] for request in collector.requests] == ["phc_1", "phc_2", "phc_2"]


def test_what_waits_for_a_key_that_changes_is_told_apart_by_name():
    keys = Vault("k")
    for make in (lambda **o: Optimizely(keys, **o), lambda **o: VWO(1, keys, **o), lambda **o: PostHog(keys, **o)):
        assert make(name="a").identity != make(name="b").identity
        assert make(name="a").identity == make(name="a").identity
    assert not keys.asked
