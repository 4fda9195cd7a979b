"""Calls from other event loops than the client's, which run in other threads: as async views under WSGI make them."""

import asyncio
import concurrent.futures
import contextvars
import os
import threading
import time

import pytest
from support import Recorder, assert_conserved

from aiotrack import Answer, Client, Delivered, MemoryBuffer, Rejected, Unknown, errors, hookimpl
from aiotrack.testing import until


class Home:
    """A client on an event loop in a thread of its own."""

    def __init__(self, make):
        self.make = make

    def __enter__(self):
        ready = concurrent.futures.Future()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.live(ready)))
        self.thread.start()
        return ready.result(5)

    async def live(self, ready):
        self.ended = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        async with self.make() as client:
            ready.set_result(client)
            await self.ended.wait()

    def __exit__(self, *exc):
        self.loop.call_soon_threadsafe(self.ended.set)
        self.thread.join(10)
        assert not self.thread.is_alive()


class Picky(Recorder):
    async def send(self, batch):
        return Answer(status=400) if b'"bad"' in b"".join(batch.entries) else Answer()


async def test_every_awaited_call_is_taken_over_to_the_clients_loop():
    with Home(lambda: Client(Picky())) as client:
        user = client.create_user_context("u")
        good = await user.track_event("good", {"n": 1}, event_id="one")
        assert good.event_id == "one"
        assert await client.track_event("good", user, {"n": 2})
        assert (await client.flush(5)).delivered == 2
        assert await good.delivered(5) == Delivered()
        bad = await user.track_event("bad")
        await client.flush(5)
        assert await bad.delivered(5) == Rejected("HTTP 400")
        (letter,) = await client.dead_letters()
        assert await client.replay([letter]) == 1
        await client.flush(5)
        await client.forget(await client.dead_letters())
        assert await client.dead_letters() == []
        assert assert_conserved(client).total.delivered == 2
    assert await good.delivered() == Delivered()
    assert not await user.track_event("late")


async def test_what_belongs_to_one_loop_is_refused_on_another():
    with Home(lambda: Client(Recorder())) as client:
        user = client.create_user_context("u")
        with pytest.raises(errors.WrongLoop):
            user.track_event_nowait("k")
        with pytest.raises(errors.WrongLoop):
            await client.aclose()
        with pytest.raises(errors.WrongLoop):
            client.spawn(asyncio.sleep(0), name="t")
        with pytest.raises(errors.ConfigError, match="timeout"):
            await client.flush("soon")


async def test_many_loops_at_once_lose_nothing():
    with Home(lambda: Client(Recorder())) as client:

        async def request(number):
            user = client.create_user_context(f"user {number}")
            results = await asyncio.gather(*(user.track_event("k", {"n": n}) for n in range(100)))
            assert [await result.delivered(5) for result in results] == [Delivered()] * 100

        views = [asyncio.to_thread(asyncio.run, request(number)) for number in range(8)]
        await asyncio.gather(*views)
        assert assert_conserved(client).total.delivered == 800


async def test_a_plugin_sees_the_context_of_the_call():
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    seen = []

    class Look:
        @hookimpl
        def aiotrack_process_event(self, event):
            seen.append((event.key, request.get()))
            return event

        @hookimpl
        async def aiotrack_enrich_event(self, event):
            await asyncio.sleep(0)
            seen.append((event.key, request.get()))
            return event

    with Home(lambda: Client(Recorder(), Look())) as client:
        user = client.create_user_context("u")

        async def view(name):
            request.set(name)
            assert await user.track_event(name)

        await asyncio.gather(*(asyncio.create_task(view(f"view {number}")) for number in range(20)))
    assert sorted(seen) == sorted([(f"view {number}", f"view {number}") for number in range(20)] * 2)


async def test_a_client_whose_loop_is_busy_refuses_in_time_and_takes_nothing_later():
    recorder, free = Recorder(), threading.Event()
    with Home(lambda: Client(recorder, overflow_timeout=0.2)) as client:
        client._state.loop.call_soon_threadsafe(free.wait, 10)
        user = client.create_user_context("u")
        began = time.monotonic()
        result = await user.track_event("k")
        assert not result
        assert result.refused["recorder"].reason == "buffer full"
        assert await result.delivered() == Rejected("buffer full")
        with pytest.raises(errors.WrongLoop, match=r"did not take the call within 0\.2 s"):
            await client.dead_letters()
        assert 0.2 <= time.monotonic() - began < 2
        free.set()
        assert await user.track_event("k")
        await client.flush(5)
        stats = assert_conserved(client)
        assert (stats.total.delivered, dict(stats.refused)) == (1, {"buffer full": 1})


async def test_a_call_that_was_begun_and_does_not_end_is_not_known():
    held = threading.Event()

    class Slow:
        @hookimpl
        async def aiotrack_enrich_event(self, event):
            await asyncio.to_thread(held.wait, 10)
            return event

    with Home(lambda: Client(Recorder(), Slow(), overflow_timeout=0.1)) as client:
        result = await client.create_user_context("u").track_event("k")
        assert not result
        assert result.refused["recorder"].reason == "not known"
        assert await result.delivered() == Unknown()
        held.set()
        await until(lambda: client.stats().total.accepted == 1)
        assert client.stats().refused == {}


class Silent(Recorder):
    async def send(self, batch):
        await asyncio.Event().wait()


async def test_a_cancelled_caller_leaves_nothing_behind_and_a_stopped_loop_is_told():
    home = Home(lambda: Client(Silent(), flush_interval=0.01, shutdown_timeout=0.1))
    with home as client:
        result = await client.create_user_context("u").track_event("k")
        waiting = asyncio.create_task(result.delivered())
        flush = asyncio.create_task(client.flush(60))
        await asyncio.sleep(0.05)
        flush.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flush

        def of_calls():
            return [task for task in asyncio.all_tasks(home.loop) if "another loop" in task.get_name()]

        await until(lambda: [task.get_name() for task in of_calls()] == ["aiotrack delivered for another loop"])
    assert await waiting == Unknown()
    assert await result.delivered() == Unknown()


def test_a_loop_that_does_not_run_is_the_wrong_one():
    loop = asyncio.new_event_loop()
    client = Client(Recorder(), flush_interval=60)
    try:
        loop.run_until_complete(client.start())
        result = loop.run_until_complete(client.create_user_context("u").track_event("k"))

        async def elsewhere():
            with pytest.raises(errors.WrongLoop):
                await client.create_user_context("u").track_event("k")
            with pytest.raises(errors.WrongLoop):
                await client.flush()
            assert await result.delivered() == Unknown()

        asyncio.run(elsewhere())
        loop.run_until_complete(client.aclose())
    finally:
        loop.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_forked_child_does_not_wait_for_its_parents_loop():
    async with Client(Silent(), shutdown_timeout=0, buffer=MemoryBuffer()) as client:
        result = await client.create_user_context("u").track_event("k")

        async def in_child():
            assert await result.delivered() == Unknown()
            for call in (client.create_user_context("u").track_event("k"), client.flush(), client.dead_letters()):
                with pytest.raises(errors.WrongLoop):
                    await call

        child = os.fork()
        if not child:
            try:
                asyncio.events._set_running_loop(None)
                asyncio.run(in_child())
            except BaseException:
                os._exit(1)
            os._exit(7)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 7


async def test_counters_read_by_another_thread_reconcile():
    async with Client(Recorder(), flush_interval=0.001, batch_size=5) as client:
        ended, torn = threading.Event(), []

        def look():
            while not ended.is_set():
                for lane in client.stats().lanes.values():
                    known = lane.delivered + lane.dead + lane.dropped + lane.pending + lane.handed_over
                    if lane.accepted != known or lane.pending < 0 or lane.oldest_age < 0:
                        torn.append(lane)

        threads = [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        user = client.create_user_context("u")
        for _ in range(3000):
            await user.track_event("k")
        await client.flush(5)
        ended.set()
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        assert torn == []


async def test_a_caller_on_another_loop_is_held_no_longer_than_its_timeout():
    recorder, free = Recorder(), threading.Event()
    with Home(lambda: Client(recorder, overflow_timeout=60)) as client:
        client._state.loop.call_soon_threadsafe(free.wait, 10)
        began = time.monotonic()
        result = await client.create_user_context("u").track_event("k", timeout=0.1)
        assert result.refused["recorder"].reason == "buffer full"
        assert 0.1 <= time.monotonic() - began < 2
        free.set()
        assert await client.create_user_context("u").track_event("k", timeout=5)
        await client.flush(5)
        assert client.stats().total.delivered == 1


async def test_a_call_that_was_begun_elsewhere_and_does_not_end_in_time_is_not_known():
    held = threading.Event()

    class Slow:
        @hookimpl
        async def aiotrack_enrich_event(self, event):
            await asyncio.to_thread(held.wait, 10)
            return event

    with Home(lambda: Client(Recorder(), Slow())) as client:
        result = await client.create_user_context("u").track_event("k", timeout=0.1)
        assert result.refused["recorder"].reason == "not known"
        held.set()
        await until(lambda: client.stats().total.accepted == 1)
