"""What every destination must do, as tests: subclass a contract in a test module of yours.

    class TestMine(HTTPDestinationContract):
        secrets = ("my-key",)

        def make(self, url):
            return MyDestination("my-key", url=url)

Needs pytest. The tests run the destination in a client, against a real server on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import aiotrack

from .collector import Collector, Received, Reply
from .patches import in_production
from .time import ManualClock, ManualTimer

if TYPE_CHECKING:
    import pytest

__all__ = ["DestinationContract", "HTTPDestinationContract"]

MARK = "contract-refuses-this"
SOON = 120.0  # seconds


class _HurriedClock(ManualClock):
    """A clock on which what is due soon is due now, so that no test waits for a retry."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> ManualTimer:
        timer = super().call_later(delay, callback)
        if delay < SOON:
            asyncio.get_running_loop().call_soon(self.advance, delay)
        return timer


class DestinationContract:
    """Tests of one kind of destination, whatever it sends by."""

    event_key = "purchase"
    """The key of an event that the destination takes."""
    secrets: tuple[str, ...] = ()
    """Texts given to the destination that must not be seen anywhere but in a request."""

    def make(self, url: str) -> aiotrack.Destination:
        """Return a destination that sends to this address, where it sends by HTTP."""
        raise NotImplementedError

    def _run(self, test: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            with in_production():
                async with Collector() as collector:
                    await test(collector.url)

        asyncio.run(run())

    def _event(self) -> aiotrack.Event:
        tags = {"revenue": 4200, "category": "schöne shoes", "items": [{"sku": "a"}]}
        attributes = {"plan": "gold"}
        return aiotrack.Event(self.event_key, "ann", attributes, tags, {"revenue": 4200}, timestamp=1_700_000_000_000)

    def test_has_a_name(self) -> None:
        """A lane is called by it."""
        destination = self.make("http://127.0.0.1:9/")
        assert isinstance(destination, aiotrack.Destination)
        assert destination.name
        assert isinstance(destination.name, str)

    def test_keeps_secrets_to_itself(self) -> None:
        """Not in its repr, and not in an encoded event, which may wait in a file."""
        destination = self.make("http://127.0.0.1:9/")
        entry = destination.encode(self._event())
        for secret in self.secrets:
            assert secret not in repr(destination)
            assert secret.encode() not in entry
            assert secret.encode() not in destination.batch_header

    def test_encodes_an_event_before_it_is_started(self) -> None:
        """As bytes, without waiting for anything."""
        entry = self.make("http://127.0.0.1:9/").encode(self._event())
        assert isinstance(entry, bytes)

    def test_delivers_every_event_once(self) -> None:
        """Whatever their tags and user."""

        async def test(url: str) -> None:
            async with aiotrack.Client(self.make(url), batch_size=7) as client:
                for number in range(20):
                    user = client.create_user_context(f"user {number}", {"größe": number} if number % 2 else None)
                    tags = {"n": number, "items": [number]} if number % 3 else None
                    assert await user.track_event(self.event_key, tags)
                await client.flush(timeout=10)
                total = client.stats().total
                assert (total.accepted, total.delivered) == (20, 20)

        self._run(test)

    def test_refuses_at_the_call_what_can_not_be_sent(self) -> None:
        """What raises in `encode` must be an EventRefused; here the tags are bad, and the neighbours are not."""

        async def test(url: str) -> None:
            async with aiotrack.Client(self.make(url)) as client:
                user = client.create_user_context("ann")
                assert not await user.track_event(self.event_key, {"a": math.nan})
                assert await user.track_event(self.event_key, timestamp=0)
                assert await user.track_event(self.event_key, event_id="an id of the caller's")
                await client.create_user_context("bob", {"a": {1, 2}}).track_event(self.event_key, timestamp=2**53)
                report = await client.flush(timeout=10)
                assert report.delivered == client.stats().total.accepted >= 2
                assert not any(plugin.errors for plugin in client.stats().plugins.values())

        self._run(test)

    def test_starts_and_closes(self) -> None:
        """And may be closed at once, and again, without an event."""

        async def test(url: str) -> None:
            client = aiotrack.Client(self.make(url))
            await client.start()
            report = await client.aclose()
            assert await client.aclose() == report
            assert report.pending == 0

        self._run(test)

    def test_two_of_a_kind_live_in_one_client(self) -> None:
        """By `name`, and with what each knows for itself."""

        async def test(url: str) -> None:
            one, other = self.make(url), self.make(url)
            other.name = "the other"
            async with aiotrack.Client(one, other) as client:
                result = await client.create_user_context("ann").track_event(self.event_key)
                assert set(result.accepted) == {one.name, "the other"}

        self._run(test)


class HTTPDestinationContract(DestinationContract):
    """Tests of a destination that posts batches over HTTP, against a server that fails in every way."""

    is_bisected = True
    """Whether a 400 may be the fault of a single event, so that the others are to be delivered."""

    @contextlib.asynccontextmanager
    async def _lane(self, *replies: Reply, **options: Any) -> AsyncGenerator[tuple[aiotrack.Client, Collector]]:
        """Run a client with this destination alone, whose server answers so; time passes by itself."""
        script = list(replies)

        def scripted(request: Received) -> Reply | None:
            return script.pop(0) if request.body and script else None

        with in_production():
            async with (
                Collector(answer=options.pop("answer", scripted)) as collector,
                aiotrack.Client(self.make(collector.url), clock=_HurriedClock(), **options) as client,
            ):
                yield client, collector

    async def _track(self, client: aiotrack.Client, count: int = 1, **tags: Any) -> list[str]:
        user = client.create_user_context("ann")
        results = [await user.track_event(self.event_key, {"n": number, **tags}) for number in range(count)]
        assert all(results)
        return [result.event_id for result in results]

    def test_sends_nothing_when_there_is_nothing(self) -> None:
        """Not for a flush, either."""

        async def test() -> None:
            async with self._lane() as (client, collector):
                await client.flush()
                assert _sent(collector) == []

        asyncio.run(test())

    def test_tries_again_with_the_same_bytes(self) -> None:
        """After an answer that may pass, and after none; an event keeps its id, so that a server can tell."""

        async def test() -> None:
            failures = (Reply(status=503), Reply(status=429, headers={"Retry-After": "1"}), Reply(lose=True))
            async with self._lane(*failures) as (client, collector):
                await self._track(client, 3)
                report = await client.flush(timeout=30)
                assert (report.delivered, report.pending) == (3, 0)
                bodies = [request.body for request in _sent(collector)]
                assert len(bodies) == 4
                assert len(set(bodies)) == 1

        asyncio.run(test())

    def test_one_bad_event_costs_one(self) -> None:
        """A server that answers 400 to a batch with a bad event gets the others."""

        async def test() -> None:
            def answer(request: Received) -> Reply | None:
                return Reply(status=400) if MARK.encode() in request.body else None

            async with self._lane(answer=answer) as (client, collector):
                await self._track(client, 5)
                await self._track(client, 1, mark=MARK)
                await self._track(client, 5)
                report = await client.flush(timeout=30)
                good = 10 if self.is_bisected else 0
                assert (report.delivered, report.dead, report.pending) == (good, 11 - good, 0)
                assert len(await client.dead_letters()) == 11 - good
                assert len(_sent(collector)) <= 2 * math.log2(16) + 1

        asyncio.run(test())

    def test_a_batch_that_is_too_large_is_halved(self) -> None:
        """As long as the server answers 413."""

        async def test() -> None:
            sizes: list[int] = []

            def answer(request: Received) -> Reply | None:
                sizes.append(len(request.body))
                return Reply(status=413) if request.body and len(request.body) > 0.6 * max(sizes) else None

            async with self._lane(answer=answer) as (client, collector):
                await self._track(client, 16)
                report = await client.flush(timeout=30)
                assert (report.delivered, report.dead) == (16, 0)
                assert (_sent(collector)[0].status, _sent(collector)[-1].status) == (413, 200)

        asyncio.run(test())

    def test_closes_in_time_when_the_server_is_silent(self) -> None:
        """Whatever it waits for."""

        async def test() -> None:
            loop = asyncio.get_running_loop()
            async with self._lane(*[Reply(hang=True)] * 9) as (client, collector):
                await self._track(client)
                client_flush = asyncio.ensure_future(client.flush(timeout=5))
                await collector.wait_for(1)
                started = loop.time()
                await client.aclose(timeout=0.2)
                assert loop.time() - started < 1.0
                await client_flush

        asyncio.run(test())

    def test_keeps_secrets_out_of_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        """Out of dead letters, too, when the server refuses everything."""

        async def test() -> None:
            caplog.set_level(logging.DEBUG, "aiotrack")
            async with self._lane(*[Reply(status=status) for status in (500, 400, 401, 403)]) as (client, _):
                await self._track(client)
                await client.flush(timeout=5)
                seen = caplog.text + repr(client) + repr(client.stats())
                seen += "".join(repr(letter) + repr(letter.entry) for letter in await client.dead_letters())
                for secret in self.secrets:
                    assert secret not in seen

        asyncio.run(test())


def _sent(collector: Collector) -> list[Received]:
    """Return the requests that brought something; the others asked for a document."""
    return [request for request in collector.requests if request.body]
