"""A document kept fresh: asked for conditionally, taken over when it is new, and kept when the next can't be used."""

import asyncio
import logging
from typing import ClassVar

import aiohttp
import orjson
import pytest

from aiotrack.destinations import polling
from aiotrack.errors import DocumentError
from aiotrack.extension import Fetch, Polling
from aiotrack.testing import Collector, Reply, until


def parse(body):
    document = orjson.loads(body)
    if "revision" not in document:
        raise DocumentError("revision: missing")
    return document


class Keeper:
    def __init__(self, url, clock, **options):
        self.documents = []
        self.polling = Polling("mine", lambda: url, parse, self.accept, interval=lambda: 60.0, clock=clock, **options)

    def accept(self, document):
        if self.documents and self.documents[-1]["revision"] == document["revision"]:
            return False
        self.documents.append(document)
        return True


def answer(revision, **headers):
    return Reply(
        body=orjson.dumps({"revision": revision}), headers={name.replace("_", "-"): v for name, v in headers.items()}
    )


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_new_document_is_accepted_and_the_same_is_not(collector, clock, session):
    keeper = Keeper(collector.url, clock)
    collector.script(answer(1), answer(1), answer(2))
    outcomes = [(await keeper.polling.refresh(session)).outcome for _ in range(3)]
    assert outcomes == ["accepted", "unchanged", "accepted"]
    assert [document["revision"] for document in keeper.documents] == [1, 2]
    assert keeper.polling.last == Fetch("accepted")


async def test_requests_are_conditional_on_what_could_be_used(collector, clock, session):
    keeper = Keeper(collector.url, clock, headers=lambda: {"Authorization": "Bearer secret"})
    when = "Wed, 21 Oct 2015 07:28:00 GMT"
    collector.script(
        answer(1, ETag='"a"', Last_Modified=when), Reply(body=b"{", headers={"ETag": '"broken"'}), Reply(status=304)
    )
    outcomes = [(await keeper.polling.refresh(session)).outcome for _ in range(3)]
    assert outcomes == ["accepted", "failed", "unchanged"]
    first, second, third = collector.requests
    assert "If-None-Match" not in first.headers
    for request in (second, third):
        assert (request.headers["If-None-Match"], request.headers["If-Modified-Since"]) == ('"a"', when)
        assert request.headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(status=500), "HTTP 500"),
        (Reply(status=304), "HTTP 304"),
        (Reply(body=b"{}"), "can't be used: revision: missing"),
        (Reply(body=b"no json"), "can't be used: JSONDecodeError"),
        (Reply(lose=True), "ServerDisconnectedError"),
        (Reply(body=b"x" * 2000), "is larger than 1000 bytes"),
    ],
)
async def test_a_failure_keeps_the_old_document_and_says_why(reply, why, collector, clock, session, monkeypatch):
    monkeypatch.setattr(polling, "LARGEST", 1000)
    keeper = Keeper(collector.url, clock)
    collector.script(answer(1), reply, reply)  # twice: a connection that was kept is tried anew
    await keeper.polling.refresh(session)
    if reply.status == 304:
        keeper.polling._validators.clear()  # an answer to a question that was not asked
    fetch = await keeper.polling.refresh(session)
    assert (fetch.outcome, fetch.why) == ("failed", why)
    assert len(keeper.documents) == 1


async def test_a_server_that_does_not_answer_is_a_failure(collector, clock, session):
    collector.script(Reply(hang=True))
    fetch = await Keeper(collector.url, clock, timeout=0.05).polling.refresh(session)
    assert (fetch.outcome, fetch.why) == ("failed", "no answer within 0.05 s")


async def test_failures_are_said_once_an_episode_without_what_the_url_hides(clock, session, caplog):
    async with Collector(default=Reply(status=503)) as collector:
        keeper = Keeper(collector.url.replace("http://", "http://user:secret@") + "?key=secret", clock)
        for _ in range(3):
            await keeper.polling.refresh(session)
        collector.script(answer(1))
        await keeper.polling.refresh(session)
        await keeper.polling.refresh(session)
    said = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 2
    assert said[0].message.startswith("mine: the document at 127.0.0.1:")
    assert said[0].message.endswith(": HTTP 503")
    assert "secret" not in caplog.text


async def test_it_asks_again_after_the_interval_and_sooner_after_a_failure(collector, clock, session):
    keeper = Keeper(collector.url, clock)
    collector.script(answer(1), Reply(status=503), Reply(status=429, headers={"Retry-After": "200"}), answer(2))
    running = asyncio.create_task(keeper.polling.run(session))
    await until(lambda: keeper.polling.waiting)
    assert 54.0 <= clock.next_timer <= 66.0
    clock.advance(66)
    await until(lambda: len(collector.requests) == 2 and keeper.polling.waiting)
    assert clock.next_timer <= 60.0
    clock.advance(60)
    await until(lambda: len(collector.requests) == 3 and keeper.polling.waiting)
    assert clock.next_timer == 200.0
    clock.advance(200)
    await until(lambda: len(keeper.documents) == 2)
    running.cancel()
    await asyncio.wait([running])
    assert clock.next_timer is None


async def test_two_refreshes_at_once_come_one_after_the_other(collector, clock, session):
    keeper = Keeper(collector.url, clock)
    collector.script(answer(1), answer(2))
    outcomes = await asyncio.gather(*(keeper.polling.refresh(session) for _ in range(2)))
    assert [fetch.outcome for fetch in outcomes] == ["accepted", "accepted"]
    assert [document["revision"] for document in keeper.documents] == [1, 2]


async def test_a_refresh_may_ask_another_address(collector, clock, session):
    keeper = Keeper("http://127.0.0.1:9/", clock)
    collector.script(answer(1))
    assert (await keeper.polling.refresh(session, lambda: collector.url)).outcome == "accepted"


async def test_bytes_that_are_as_before_are_not_parsed(collector, clock, session):
    parsed = []

    class Counting(Keeper):
        def accept(self, document):
            parsed.append(document)
            return super().accept(document)

    keeper = Counting(collector.url, clock)
    collector.script(answer(1), answer(1, ETag='"b"'), answer(2), answer(1))
    outcomes = [(await keeper.polling.refresh(session)).outcome for _ in range(4)]
    assert outcomes == ["accepted", "unchanged", "accepted", "accepted"]
    assert [document["revision"] for document in parsed] == [1, 2, 1]


async def test_a_redirect_is_followed_without_a_secret_to_another_origin(collector, clock, session):
    async with Collector(answer=lambda request: answer(1)) as other:
        collector.script(
            Reply(status=302, headers={"Location": "/elsewhere"}), Reply(status=307, headers={"Location": other.url})
        )
        keeper = Keeper(collector.url, clock, headers=lambda: {"Authorization": "Bearer secret"})
        assert (await keeper.polling.refresh(session)).outcome == "accepted"
        assert [request.headers.get("Authorization") for request in collector.requests] == ["Bearer secret"] * 2
        assert "Authorization" not in other.requests[0].headers


async def test_redirects_in_a_circle_end(clock, session):
    async with Collector(answer=lambda request: Reply(status=302, headers={"Location": "/again"})) as circle:
        fetch = await Keeper(circle.url, clock).polling.refresh(session)
    assert (fetch.outcome, len(circle.requests)) == ("failed", polling.MOST_REDIRECTS)


async def test_https_never_goes_on_to_http(clock):
    class Response:
        status = 302
        headers: ClassVar = {"Location": "http://plain.example/datafile"}

        def release(self):
            pass

    class Session:
        asked: ClassVar = []

        async def get(self, url, **options):
            self.asked.append(url)
            return Response()

    fetch = await Keeper("https://secure.example/datafile", clock).polling.refresh(Session())
    assert fetch == Fetch("failed", "redirects from https to http, which is not followed")
    assert len(Session.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
async def test_a_refusal_is_asked_about_ever_more_rarely(status, clock, session):
    async with Collector(default=Reply(status=status)) as collector:
        keeper = Keeper(collector.url, clock)
        task = asyncio.create_task(keeper.polling.run(session))
        await until(lambda: keeper.polling.waiting)
        asked = []
        for second in range(3600):
            clock.advance(1)
            if not keeper.polling.waiting:
                await until(lambda: keeper.polling.waiting)
                asked.append(second + 1)
        task.cancel()
    assert asked == [60, 180, 420, 900, 1500, 2100, 2700, 3300]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_what_may_pass_is_asked_about_soon(status, clock, session):
    async with Collector(default=Reply(status=status)) as collector:
        keeper = Keeper(collector.url, clock)
        task = asyncio.create_task(keeper.polling.run(session))
        await until(lambda: keeper.polling.waiting)
        clock.advance(30)
        await until(lambda: keeper.polling.waiting and len(collector.requests) == 2)
        task.cancel()


async def test_conditions_go_to_the_address_that_they_came_from(collector, clock, session):
    keeper = Keeper(f"{collector.url}/settings?r=1", clock)
    pull = f"{collector.url}/pull?r=2"
    collector.script(answer(1, ETag='"settings"'), answer(2, ETag='"pull"'), answer(2), Reply(status=304))
    outcomes = [
        (await keeper.polling.refresh(session)).outcome,
        (await keeper.polling.refresh(session, lambda: pull)).outcome,
        (await keeper.polling.refresh(session)).outcome,
        (await keeper.polling.refresh(session)).outcome,
    ]
    assert [request.headers.get("If-None-Match") for request in collector.requests] == [None, None, None, None]
    assert outcomes == ["accepted", "accepted", "unchanged", "failed"]  # nobody asked for a 304
    collector.script(answer(3, ETag='"settings"'), Reply(status=304))
    for _ in range(2):
        await keeper.polling.refresh(session)
    assert collector.requests[-1].headers["If-None-Match"] == '"settings"'


async def test_who_asks_while_one_is_under_way_shares_the_next(collector, clock, session):
    keeper = Keeper(collector.url, clock)
    collector.script(answer(1), answer(2), answer(3))
    fetches = await asyncio.gather(*(keeper.polling.refresh(session) for _ in range(100)))
    assert len(collector.requests) == 2  # the first was begun before the others asked, so it may be too old for them
    assert [fetch.outcome for fetch in fetches] == ["accepted"] * 100
    assert (await keeper.polling.refresh(session)).outcome == "accepted"


async def test_a_cancelled_refresh_leaves_the_others_theirs(collector, clock, session):
    keeper = Keeper(collector.url, clock)
    collector.script(answer(1), answer(2))
    first, second, third = (asyncio.create_task(keeper.polling.refresh(session)) for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()
    assert (await first).outcome == (await third).outcome == "accepted"
    with pytest.raises(asyncio.CancelledError):
        await second
