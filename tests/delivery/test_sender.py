"""From the buffer to a real server: batches, retries, splits, and a bad event that costs one event."""

import math
import ssl
import subprocess

import aiohttp
import orjson
import pytest
from aiohttp import web
from support import Recorder, assert_conserved

import aiotrack
from aiotrack.testing import Collector, ManualClock, Reply, until


async def track(client, count, start=0):
    user = client.create_user_context("u")
    for number in range(start, start + count):
        assert await user.track_event("k", {"n": number})


def numbers(collector):
    return [event["tags"]["n"] for event in collector.events()]


async def test_a_batch_leaves_when_it_is_full_by_count(collector, clock):
    async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), batch_size=10, clock=clock) as client:
        await track(client, 25)
        await collector.wait_for(2)
        await until(lambda: client.stats().total.delivered == 20)
        assert [len(request.json()) for request in collector.requests] == [10, 10]
        assert client.stats().total.pending == 5


async def test_a_batch_leaves_when_it_is_full_by_bytes(collector, clock):
    async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), batch_bytes=1000, clock=clock) as client:
        await track(client, 30)
        await collector.wait_for(1)
    assert all(len(request.body) <= 1000 + len(request.json()) + 1 for request in collector.requests)
    assert numbers(collector) == list(range(30))


async def test_a_batch_leaves_when_its_oldest_event_is_old_enough(collector, clock):
    async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), flush_interval=2.0, clock=clock) as client:
        await track(client, 3)
        clock.advance(1.5)
        await track(client, 1, start=3)
        assert collector.requests == []
        clock.advance(0.5)
        await collector.wait_for(1)
        await until(lambda: client.stats().total.delivered == 4)
        assert clock.next_timer is None  # nothing runs while there is nothing to do


async def test_headers_and_body_are_what_the_destination_framed(collector):
    destination = aiotrack.HTTPDestination(collector.url, headers={"Authorization": "Bearer s3cret"})
    async with aiotrack.Client(destination) as client:
        user = client.create_user_context("u", {"plan": "gold"}, user_agent="UA", ip_address="::1", session_id=5)
        await user.track_event("purchase", {"revenue": 4200}, event_id="my-id", timestamp=1234)
    (request,) = collector.requests
    assert request.method == "POST"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Authorization"] == "Bearer s3cret"
    assert request.json() == [
        {
            "event_id": "my-id",
            "event": "purchase",
            "user_id": "u",
            "timestamp": 1234,
            "attributes": {"plan": "gold"},
            "tags": {"revenue": 4200},
            "revenue": 4200,
            "user_agent": "UA",
            "ip_address": "::1",
            "session_id": 5,
        }
    ]
    assert "s3cret" not in repr(destination)


async def retry_by_hand(client, clock, collector, requests):
    """Move the clock to each retry until that many requests have come."""
    for request in range(requests):
        await collector.wait_for(request + 1)
        if request + 1 < requests:
            await until(lambda: clock.next_timer is not None)
            clock.advance(clock.next_timer)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_a_passing_failure_is_retried_with_the_same_bytes_until_it_is_over(status, clock, caplog):
    async with Collector() as collector:
        collector.script(*[Reply(status=status)] * 5)
        destination = aiotrack.HTTPDestination(collector.url)
        async with aiotrack.Client(destination, batch_size=3, flush_interval=3600, clock=clock) as client:
            await track(client, 3)
            await retry_by_hand(client, clock, collector, 6)
            await until(lambda: client.stats().total.delivered == 3)
            lane = assert_conserved(client).total
            assert lane.retries == 5
            assert client.stats().lanes["http"].state == "up"
        assert len({request.body for request in collector.requests}) == 1
        assert numbers(collector) == [0, 1, 2]
    warnings = [record for record in caplog.records if "next try in" in record.getMessage()]
    assert len(warnings) == 1  # an outage is one episode
    assert f"HTTP {status}" in warnings[0].message


async def test_retry_after_is_waited_for_and_a_flush_does_not_cut_it_short(clock):
    async with Collector() as collector:
        collector.script(Reply(status=429, headers={"Retry-After": "30"}))
        async with aiotrack.Client(
            aiotrack.HTTPDestination(collector.url), batch_size=1, flush_interval=3600, clock=clock
        ) as client:
            await track(client, 1)
            await until(lambda: client.stats().lanes["http"].state == "retrying")
            report = await client.flush(timeout=0.05)
            assert (report.pending, len(collector.requests)) == (1, 1)
            clock.advance(29.9)
            await client.flush(timeout=0.05)
            assert len(collector.requests) == 1
            clock.advance(0.1)
            await collector.wait_for(2)


async def test_a_flush_tries_a_failing_destination_at_once(clock):
    async with Collector() as collector:
        collector.script(Reply(status=503))
        async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), batch_size=1, clock=clock) as client:
            await track(client, 1)
            await until(lambda: client.stats().lanes["http"].state == "retrying")
            report = await client.flush(timeout=5)
            assert (report.delivered, report.pending) == (1, 0)


async def test_a_refused_connection_is_retried_and_nothing_is_lost(clock, unused_tcp_port):
    async with aiotrack.Client(
        aiotrack.HTTPDestination(f"http://127.0.0.1:{unused_tcp_port}/"), batch_size=1, clock=clock
    ) as client:
        await track(client, 2)
        await until(lambda: client.stats().total.retries >= 1)
        assert client.stats().lanes["http"].state == "retrying"
        app = web.Application()
        received = []

        async def handler(request):
            received.append(await request.json())
            return web.Response(status=204)

        app.router.add_post("/", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
        report = await client.flush(timeout=5)
        await runner.cleanup()
        assert report.delivered == 2
        assert sorted(event["tags"]["n"] for body in received for event in body) == [0, 1]


async def test_a_silent_server_ends_in_a_timeout_and_is_retried():
    async with Collector() as collector:
        collector.script(Reply(hang=True))
        destination = aiotrack.HTTPDestination(collector.url, timeout=0.1)
        async with aiotrack.Client(destination, batch_size=1) as client:
            await track(client, 1)
            await until(lambda: client.stats().total.retries == 1)
            assert (await client.flush(timeout=5)).delivered == 1


@pytest.mark.parametrize("status", [301, 302, 307, 401, 404, 405, 407, 410])
async def test_what_is_wrong_with_the_endpoint_pauses_the_lane_loudly_and_loses_nothing(status, clock, caplog):
    async with Collector() as collector:
        collector.script(Reply(status=status, headers={"Location": "/elsewhere"}))
        async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), batch_size=1, clock=clock) as client:
            await track(client, 1)
            await until(lambda: client.stats().lanes["http"].state == "paused")
            assert [record.levelname for record in caplog.records] == ["ERROR"]
            clock.advance(60)
            await until(lambda: client.stats().total.delivered == 1)
        assert [request.path for request in collector.requests] == ["/events", "/events"]  # no redirect is followed


async def test_a_413_splits_the_batch_and_loses_nothing():
    def answer(request):
        return Reply(status=413) if len(request.body) > 2000 else None

    async with Collector(answer=answer) as collector:
        async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), batch_size=60) as client:
            await track(client, 60)
            await client.flush()
            assert assert_conserved(client).total.delivered == 60
        assert numbers(collector) == list(range(60))


@pytest.mark.parametrize("count", [1, 2, 3, 60, 500])
@pytest.mark.parametrize("position", ["first", "middle", "last"])
@pytest.mark.parametrize("status", [400, 422])
async def test_one_bad_event_costs_one_event_and_few_requests(count, position, status):
    bad = {"first": 0, "middle": count // 2, "last": count - 1}[position]

    def answer(request):
        return Reply(status=status) if any(event["tags"]["n"] == bad for event in request.json()) else None

    async with Collector(answer=answer) as collector:
        async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), batch_size=500) as client:
            user = client.create_user_context("u")
            results = [await user.track_event("k", {"n": number}) for number in range(count)]
            await client.flush()
            total = assert_conserved(client).total
            assert (total.delivered, total.dead, total.pending) == (count - 1, 1, 0)
            assert await results[bad].delivered(1) == aiotrack.Rejected(f"HTTP {status}")
            assert await results[bad - 1].delivered(1) == (
                aiotrack.Delivered() if count > 1 else aiotrack.Rejected(f"HTTP {status}")
            )
        assert sorted(numbers(collector)) == [number for number in range(count) if number != bad]
        assert len(collector.requests) <= 2 * math.log2(count) + 1


async def test_several_bad_events_are_all_found():
    bad = {3, 4, 77, 140, 499}

    def answer(request):
        return Reply(status=400) if any(event["tags"]["n"] in bad for event in request.json()) else None

    async with Collector(answer=answer) as collector:
        async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), batch_size=500) as client:
            await track(client, 500)
            await client.flush()
            assert assert_conserved(client).total.dead == len(bad)
        assert sorted(numbers(collector)) == [number for number in range(500) if number not in bad]


async def test_a_server_that_refuses_everything_is_not_asked_about_every_event():
    async with Collector(default=Reply(status=400)) as collector:
        async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), batch_size=500) as client:
            await track(client, 500)
            await client.flush()
            assert assert_conserved(client).total.dead == 500
        assert len(collector.requests) <= 2 * 9 + 1


async def test_the_listeners_hear_each_request_and_its_outcome():
    heard = []
    async with Collector() as collector:
        collector.script(Reply(status=503, body=b"down"))
        async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), batch_size=2) as client:
            client.on("aiotrack_batch_sending", lambda batch: heard.append(("sending", batch.attempt, len(batch))))
            client.on(
                "aiotrack_batch_failed", lambda batch, answer: heard.append(("failed", answer.status, answer.body))
            )
            client.on("aiotrack_batch_delivered", lambda batch, answer: heard.append(("delivered", batch)))
            await track(client, 2)
            await until(lambda: client.stats().total.retries == 1)
            await client.flush()
        assert heard[:3] == [("sending", 1, 2), ("failed", 503, b"down"), ("sending", 2, 2)]
        kind, batch = heard[3]
        assert kind == "delivered"
        assert batch.request.url == collector.url
        assert orjson.loads(batch.request.body) == collector.requests[0].json()
        assert "tags" not in repr(batch)


async def test_a_destination_that_raises_is_named_and_its_batch_is_retried(clock, caplog):
    class Raising(Recorder):
        failures = 2

        async def send(self, batch):
            if self.failures:
                self.failures -= 1
                raise KeyError("secret-value")
            return await super().send(batch)

    destination = Raising()
    async with aiotrack.Client(destination, batch_size=1, clock=clock) as client:
        await track(client, 1)
        for _ in range(2):
            await until(lambda: clock.next_timer is not None)
            clock.advance(clock.next_timer)
            await until(lambda: client.stats().lanes["recorder"].state == "up" or clock.next_timer is not None)
        await until(lambda: client.stats().total.delivered == 1)
        assert client.stats().plugins["recorder"].errors == 2
    assert "raised KeyError in send" in caplog.text
    assert "secret-value" not in caplog.text


async def test_an_entry_that_cannot_be_framed_costs_one_event():
    class Framing(Recorder):
        def frame(self, entries, batch_header):
            if any(orjson.loads(entry)["tags"]["n"] == 7 for entry in entries):
                raise ValueError("secret-value")
            return super().frame(entries, batch_header)

    destination = Framing()
    async with aiotrack.Client(destination) as client:
        await track(client, 20)
        await client.flush()
        total = assert_conserved(client).total
    assert (total.delivered, total.dead) == (19, 1)
    assert len(destination.events) == 19


async def test_a_batch_never_mixes_two_batch_headers():
    destination = Recorder()
    async with aiotrack.Client(destination) as client:
        for number in range(10):
            destination.batch_header = b"A" if number < 4 else b"B"
            await track(client, 1, start=number)
        await client.flush()
    assert [(batch.batch_header, len(batch)) for batch in destination.batches] == [(b"A", 4), (b"B", 6)]


async def test_a_session_of_the_callers_own_is_used_and_left_open(collector):

    async with aiohttp.ClientSession(headers={"X-Mine": "1"}, raise_for_status=True) as session:
        async with aiotrack.Client(aiotrack.HTTPDestination(collector.url, session=session)) as client:
            await track(client, 1)
        assert not session.closed
        assert "X-Mine" not in collector.requests[0].headers  # its connections are used, and nothing else of it
    with pytest.raises(aiotrack.errors.StartError, match="the session it was given is closed"):
        await aiotrack.Client(aiotrack.HTTPDestination(collector.url, session=session)).start()


@pytest.mark.parametrize("url", ["", "ftp://x/", "example.org", 5, None, "http://", "https://[::1"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(aiotrack.errors.ConfigError, match="url: expected an http:// or https:// URL"):
        aiotrack.HTTPDestination(url)


def make_certificate(key, certificate):
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)


async def test_a_certificate_that_nobody_signed_is_not_trusted(clock, tmp_path):

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make_certificate(key, certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    received = []

    async def handler(request):
        received.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
    async with aiotrack.Client(aiotrack.HTTPDestination(url), batch_size=1, clock=clock) as client:
        failed = []
        client.on("aiotrack_batch_failed", lambda batch, answer: failed.append(answer.error))
        await track(client, 1)
        await until(lambda: bool(failed))
        assert failed == ["ClientConnectorCertificateError: self-signed certificate"]
        await client.aclose(timeout=0.2)
    trusting = ssl.create_default_context(cafile=certificate)
    async with aiotrack.Client(aiotrack.HTTPDestination(url, ssl=trusting)) as client:
        await track(client, 1)
        assert (await client.flush()).delivered == 1
    await runner.cleanup()
    assert len(received) == 1


def test_the_clock_of_a_test_fires_in_order():
    clock, fired = ManualClock(), []
    clock.call_later(2, lambda: fired.append(2))
    clock.call_later(1, lambda: fired.append(1))
    clock.call_later(3, lambda: fired.append(3)).cancel()
    clock.advance(5)
    assert fired == [1, 2]
    assert clock.monotonic() == 5
