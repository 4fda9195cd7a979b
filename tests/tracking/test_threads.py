"""Tracking from other threads."""

import asyncio
import copy
import os
import threading
import time

import orjson
import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import errors, hookimpl
from aiotrack.testing import until


async def test_events_from_many_threads_all_arrive_in_order_per_thread():
    recorder = Recorder()
    async with aiotrack.Client(recorder) as client:
        futures = []

        def work(thread):
            user = client.create_user_context(f"user {thread}")
            for number in range(500):
                tags = {"n": number}
                futures.append(user.track_event_threadsafe("k", tags))
                tags["n"] = "changed afterwards"

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        results = [await asyncio.wrap_future(future) for future in futures]
        assert all(results)
        assert len({result.event_id for result in results}) == 2000
        await client.flush()
        assert assert_conserved(client).total.delivered == 2000
    events = [orjson.loads(entry) for entry in recorder.events]
    for thread in range(4):
        mine = [event["tags"]["n"] for event in events if event["user_id"] == f"user {thread}"]
        assert mine == list(range(500))


async def test_a_refusal_and_an_async_plugin_reach_the_thread():
    class Slow:
        @hookimpl
        async def aiotrack_enrich_event(self, event):
            await asyncio.sleep(0)
            return event

    async with aiotrack.Client(Recorder(), Slow()) as client:
        user = client.create_user_context("u")
        good = await asyncio.to_thread(lambda: user.track_event_threadsafe("k").result(5))
        bad = await asyncio.to_thread(lambda: user.track_event_threadsafe("k", {"a": float("nan")}).result(5))
        assert good
        assert bad.refused["recorder"].path == "tags.a"


async def test_strict_raises_in_the_thread_that_waits():
    async with aiotrack.Client(Recorder(), strict=True) as client:
        future = client.create_user_context("u").track_event_threadsafe("")
        with pytest.raises(errors.EventRefused):
            await asyncio.wrap_future(future)


async def test_a_client_that_never_started_raises_at_once_and_one_that_closed_refuses():
    client = aiotrack.Client(Recorder())
    user = client.create_user_context("u")
    with pytest.raises(errors.NotStarted):
        user.track_event_threadsafe("k")
    async with client:
        pass
    result = user.track_event_threadsafe("k").result(5)
    assert not result
    assert result.refused["recorder"].reason == "client closing"
    assert client.stats().refused == {"client closing": 1}


async def test_a_thread_whose_event_is_held_when_the_client_closes_is_told_that_it_came_too_late():
    class Never:
        @hookimpl
        async def aiotrack_enrich_event(self, event):
            await asyncio.Event().wait()

    client = aiotrack.Client(Recorder(), Never(), plugin_timeout=60, shutdown_timeout=0.1)
    await client.start()
    waiting = client.create_user_context("u").track_event_threadsafe("k")
    await asyncio.sleep(0.01)
    await client.aclose()
    result = await asyncio.wrap_future(waiting)
    assert result.refused["recorder"].reason == "client closing"


async def test_what_raises_later_raises_in_the_thread_that_waits():
    class Drops:
        @hookimpl
        async def aiotrack_enrich_event(self, event):
            await asyncio.sleep(0)

    async with aiotrack.Client(Recorder(), Drops(), strict=True) as client:
        waiting = client.create_user_context("u").track_event_threadsafe("k")
        with pytest.raises(errors.EventRefused, match="dropped by plugin"):
            await asyncio.wrap_future(waiting)


class Hangs(Recorder):
    async def send(self, batch):
        await asyncio.sleep(3600)


class Small:
    """A buffer in which one lane has room for one event."""

    def for_lane(self, name):
        return aiotrack.MemoryBuffer(250 if name == "full" else 1 << 20).for_lane(name)


async def held_in_one_of_two_lanes():
    """Return a client, its working destination, and the future of an event that the other lane holds."""
    works, full = Recorder(name="works"), Hangs(name="full")
    client = aiotrack.Client(
        works, full, buffer=Small(), overflow_timeout=60, shutdown_timeout=0.3, flush_interval=0.01
    )
    await client.start()
    user = client.create_user_context("u")
    assert await user.track_event("first")
    held = user.track_event_threadsafe("held")
    await until(lambda: client.stats().lanes["works"].accepted == 2)
    return client, works, held


async def test_a_thread_whose_event_one_lane_holds_at_a_close_is_told_which_took_it():
    client, works, held = await held_in_one_of_two_lanes()
    await client.aclose()
    result = held.result(0)
    assert (result.accepted, result.refused["full"].reason) == (("works",), "client closing")
    assert len(set(works.events)) == len(works.events) == 2


async def test_a_thread_is_answered_when_the_task_that_waits_for_it_is_cancelled():
    client, works, held = await held_in_one_of_two_lanes()
    for task in asyncio.all_tasks():
        if "threadsafe" in task.get_name():  # as `asyncio.run` does at its end
            task.cancel()
    with pytest.raises(errors.ClientClosed):
        await asyncio.wait_for(asyncio.wrap_future(held), 5)
    await client.aclose()
    assert len(set(works.events)) == len(works.events) == 2


async def test_listeners_are_called_on_the_clients_thread_only_and_every_refusal_counts():
    async with aiotrack.Client(Recorder()) as client:
        user = client.create_user_context("u")
        heard = []
        client.on("aiotrack_event_refused", lambda event, refusal: heard.append(threading.current_thread()))

    def work():
        for _ in range(2000):
            assert not user.track_event_threadsafe("late").result(5)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    assert heard == []
    assert client.stats().refused == {"client closing": 8000}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_forked_child_is_told_that_the_client_is_its_parents():
    async with aiotrack.Client(Recorder()) as client:
        user = client.create_user_context("u")
        child = os.fork()
        if not child:
            try:
                user.track_event_threadsafe("k")
            except errors.WrongLoop:
                os._exit(7)
            os._exit(1)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 7


async def test_calls_are_bounded_while_the_loop_has_no_time_for_them():
    """A thread that tracks faster than the loop can follow is told so, and not given all memory."""
    async with aiotrack.Client(Recorder(), batch_bytes=10_000_000) as client:
        user = client.create_user_context("u")
        tags = {"text": "x" * 1024 * 1024}
        futures = [user.track_event_threadsafe("k", tags) for _ in range(70)]
        refused = [future for future in futures if future.done()]
        assert 5 < len(refused) < 10
        result = refused[0].result()
        assert result.refused["recorder"].reason == "buffer full"
        assert client.stats().refused == {"buffer full": len(refused)}
        waiting = [asyncio.wrap_future(future) for future in futures if not future.done()]
        assert all(await asyncio.gather(*waiting))
        assert await asyncio.wrap_future(user.track_event_threadsafe("k", tags))  # there is room again
        await client.flush()
        assert assert_conserved(client).total.delivered == len(waiting) + 1


async def test_many_calls_wake_the_loop_up_once(monkeypatch):
    loop = asyncio.get_running_loop()
    wake_ups = []
    wake_up = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args, **kw: wake_ups.append(args) or wake_up(*args, **kw))
    async with aiotrack.Client(Recorder()) as client:
        user = client.create_user_context("u")
        futures = [user.track_event_threadsafe("k", {"n": n}) for n in range(1000)]
        assert len(wake_ups) == 1
        while not all(future.done() for future in futures):  # noqa: ASYNC110 - futures of another kind
            await asyncio.sleep(0)
        assert all(future.result() for future in futures)
        assert await asyncio.wrap_future(user.track_event_threadsafe("k"))


async def test_a_call_that_ends_the_program_leaves_the_others_to_be_made():
    class Ends:
        @hookimpl
        def aiotrack_check_event(self, event):
            if event.key == "end":
                raise KeyboardInterrupt

    async with aiotrack.Client(Recorder(), Ends()) as client:
        user = client.create_user_context("u")
        loop = asyncio.get_running_loop()
        user.track_event_threadsafe("end")
        after = user.track_event_threadsafe("k")
        make_calls = client._threads._make_calls
        with pytest.raises(KeyboardInterrupt):  # as the loop would raise it out of `run_forever`
            make_calls()
        assert loop.is_running()
        assert await asyncio.wrap_future(after)


class Silent(Recorder):
    """Takes a batch and never answers, so that who finds no room is held."""

    async def send(self, batch):
        await asyncio.Event().wait()


async def _held():
    """Start a client whose next call from a thread is held, and return both."""
    options = {"buffer": aiotrack.MemoryBuffer(500), "batch_size": 1, "overflow_timeout": 3600, "shutdown_timeout": 0}
    client = aiotrack.Client(Silent(), **options)
    await client.start()
    user = client.create_user_context("u")
    assert await user.track_event("k", {"text": "x" * 200})
    await asyncio.sleep(0.01)
    future = user.track_event_threadsafe("k", {"text": "x" * 200})
    await asyncio.sleep(0.01)
    return client, future


def test_a_future_fails_within_a_second_where_the_loop_stops():
    loop = asyncio.new_event_loop()
    try:
        client, future = loop.run_until_complete(_held())
        assert not future.done()
        began = time.monotonic()
        with pytest.raises(errors.WrongLoop, match="event loop has stopped; what became of the call is not known"):
            future.result(5)
        assert time.monotonic() - began < 1.2
        loop.run_until_complete(client.aclose())  # what the call ends in is nobody's any more
    finally:
        loop.close()


def test_a_loop_that_stops_for_a_moment_fails_nobody():
    loop = asyncio.new_event_loop()
    try:
        client, future = loop.run_until_complete(_held())
        for _ in range(20):
            loop.run_until_complete(asyncio.sleep(0.05))
        assert not future.done() or future.exception() is None
        loop.run_until_complete(client.aclose())
    finally:
        loop.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_future_that_a_forked_child_has_inherited_fails_there():
    client, future = await _held()
    child = os.fork()
    if not child:
        try:
            future.result(5)
        except errors.WrongLoop:
            os._exit(7)
        finally:
            os._exit(1)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    await client.aclose()
    assert not future.result(5)


def test_a_copied_context_has_all_of_the_first():
    client = aiotrack.Client(Recorder())
    user = client.create_user_context("ann", {"a": 1}, user_agent="agent", ip_address="203.0.113.7", session_id=5)
    twin = copy.copy(user)
    slots = [name for kind in type(user).__mro__ for name in getattr(kind, "__slots__", ())]
    assert len(slots) == 9
    for name in slots:
        assert getattr(twin, name) is getattr(user, name)
    twin.set_attribute("a", 2)
    assert user.attributes == {"a": 1}


ODD_TAGS = {
    "a lone surrogate": {"a": "\ud800"},
    "no JSON": {"a": {1, object()}},
    "a key that is a tuple": {(1, 2): 3},
    "NaN": {"a": float("nan")},
    "a list": [1],
    "a number": 5,
}


@pytest.mark.parametrize("tags", ODD_TAGS.values(), ids=ODD_TAGS)
async def test_tags_that_cannot_be_sent_are_refused_as_on_the_loop(tags):
    async with aiotrack.Client(Recorder()) as client:
        user = client.create_user_context("ann")
        here = await user.track_event("k", tags)
        there = await asyncio.wrap_future(await asyncio.to_thread(user.track_event_threadsafe, "k", tags))
        assert not here
        assert {name: str(refusal) for name, refusal in there.refused.items()} == {
            name: str(refusal) for name, refusal in here.refused.items()
        }
