"""Nothing that a plugin does ends what the client does: exceptions of any kind, tracking within tracking, contexts."""

import asyncio
import contextvars
import gc
import sys
import threading
import weakref

import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import Client, hookimpl
from aiotrack.testing import until


class Panic(BaseException):
    """As compiled extensions and test frameworks have them: no Exception."""


ONCE = ["aiotrack_batch_sending", "aiotrack_batch_delivered", "aiotrack_event_tracked", "aiotrack_check_event"]


@pytest.mark.parametrize("hook", [*ONCE, "aiotrack_process_event", "aiotrack_enrich_event"])
async def test_a_base_exception_is_named_and_counted_and_stops_nothing(hook, caplog):
    def panic(self, **_):
        raise Panic

    async def panic_later(self, **_):
        await asyncio.sleep(0)
        raise Panic

    def call(self, event):
        return panic(self)

    async def call_async(self, event):
        return await panic_later(self)

    def of_batch(self, batch):
        return panic(self)

    function = call_async if "enrich" in hook else of_batch if "batch" in hook else call
    plugin = type("Mine", (), {"name": "mine", hook: hookimpl(function)})()
    recorder = Recorder()
    async with Client(recorder, plugin, flush_interval=0.001) as client:
        user = client.create_user_context("u")
        for _ in range(3):
            assert await user.track_event("k")
            await client.flush()
        stats = assert_conserved(client)
        assert stats.total.delivered == 3
        assert stats.plugins["mine"].errors == 3
    assert f"plugin 'mine' raised Panic in {hook}" in caplog.text


@pytest.mark.parametrize("method", ["encode", "frame", "send", "judge"])
async def test_a_destination_that_panics_once_is_sent_to_again(method, caplog, clock):
    class Once(Recorder):
        failed = False

        def __getattribute__(self, name):
            found = super().__getattribute__(name)
            if name != method or self.failed:
                return found
            self.failed = True

            def panic(*_):
                raise Panic

            return panic

    recorder = Once()
    recorder.failed = True
    async with Client(recorder, clock=clock, batch_size=1, max_retries=5) as client:
        recorder.failed = method == "encode"
        user = client.create_user_context("u")
        assert await user.track_event("k")
        for _ in range(3):
            await asyncio.sleep(0.01)
            clock.advance(60)
        assert await user.track_event("k")
        await client.flush(5)
        total = assert_conserved(client).total
        assert total.pending == 0
        assert total.delivered + total.dead == 2
        assert total.delivered >= 1
    assert "raised Panic" in caplog.text or method == "encode"


async def test_an_encode_that_panics_refuses_the_event(caplog):
    class Panics(Recorder):
        def encode(self, event):
            raise Panic

    other = Recorder(name="other")
    async with Client(Panics(), other) as client:
        result = await client.create_user_context("u").track_event("k")
        assert result.refused["recorder"].reason == "destination error"
        assert result.accepted == ("other",)


async def test_what_ends_the_program_is_nobodys_to_catch():
    class Leaves:
        @hookimpl
        def aiotrack_check_event(self, event):
            raise KeyboardInterrupt

    async with Client(Recorder(), Leaves()) as client:
        with pytest.raises(KeyboardInterrupt):
            await client.create_user_context("u").track_event("k")


# -- tracking within tracking -------------------------------------------------------------------------


async def test_a_listener_that_tracks_what_it_hears_of_ends(caplog):
    recorder = Recorder()
    async with Client(recorder) as client:
        user = client.create_user_context("u")
        client.on("aiotrack_event_tracked", lambda event: user.track_event_nowait("heard", {"of": event.key}))
        for _ in range(2):
            assert await user.track_event("k")
        assert assert_conserved(client).refused == {"recursion": 2}
        await client.flush()
    assert len(recorder.events) == 6  # of each call: the event, and two that answer
    assert caplog.text.count("refused: recursion: a plugin or listener tracks in answer to what it tracks") == 1


async def test_a_check_or_a_listener_of_refusals_that_tracks_ends():
    class Checks:
        @hookimpl
        def aiotrack_check_event(self, event):
            users[0].track_event_nowait("checked")

        @hookimpl
        def aiotrack_event_refused(self, event, refusal):
            users[0].track_event_nowait("was refused", {"bad": object()})

    async with Client(Recorder(), Checks()) as client:
        users = [client.create_user_context("u")]
        assert await users[0].track_event("k")
        assert not await users[0].track_event("k", {"bad": object()})
        assert sum(assert_conserved(client).refused.values()) < 20
        assert client.stats().total.accepted < 20


async def test_a_listener_that_answers_some_events_is_left_alone():
    recorder = Recorder()
    async with Client(recorder) as client:
        user = client.create_user_context("u")

        def bonus(event):
            if event.key == "purchase":
                user.track_event_nowait("bonus")

        client.on("aiotrack_event_tracked", bonus)
        for _ in range(10):
            await user.track_event("purchase")
        assert assert_conserved(client).refused == {}
        assert client.stats().total.accepted == 20


async def test_listeners_that_track_what_came_too_late_end():
    client = Client(Recorder())
    heard = []
    async with client:
        user = client.create_user_context("u")
        for _ in range(2):

            def listener(event, refusal):
                heard.append(event.key)
                user.track_event_nowait("heard of it")

            client.on("aiotrack_event_refused", listener)
    assert not await user.track_event("late")
    assert heard == ["late", "late"]
    assert client.stats().refused == {"client closing": 3}


async def test_an_async_hook_that_tracks_ends():
    class Tracks:
        @hookimpl
        async def aiotrack_enrich_event(self, event):
            await users[0].track_event("again")
            return event

    async with Client(Recorder(), Tracks()) as client:
        users = [client.create_user_context("u")]
        assert await users[0].track_event("k")
        stats = assert_conserved(client)
        assert (stats.total.accepted, stats.refused) == (3, {"recursion": 1})


async def test_a_thread_that_tracks_by_mistake_disturbs_no_call_of_the_loop():
    async with Client(Recorder()) as client:
        user = client.create_user_context("u")
        raised = []

        def in_a_listener(event):
            if event.key == "k":
                thread = threading.Thread(target=track_by_mistake)
                thread.start()
                thread.join()

        def track_by_mistake():
            with pytest.raises(aiotrack.errors.WrongLoop):
                user.track_event_nowait("mistake")
            raised.append(True)

        client.on("aiotrack_event_tracked", in_a_listener)
        for _ in range(5):
            assert user.track_event_nowait("k")
            assert user.track_event_nowait("fine")
        assert len(raised) == 5
        assert assert_conserved(client).refused == {}


async def test_a_task_that_was_cancelled_may_track_while_it_cleans_up():
    class Slow:
        name = "slow"

        @hookimpl
        async def aiotrack_enrich_event(self, event):
            await asyncio.sleep(60)

    results = []

    async def request():
        try:
            await asyncio.sleep(60)
        finally:
            results.append(await user.track_event("aborted"))

    async with Client(Recorder(), Slow(), plugin_timeout=0.05) as client:
        user = client.create_user_context("u")
        task = asyncio.create_task(request())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [bool(result) for result in results] == [True]
        assert assert_conserved(client).plugins["slow"].slow == 1


@pytest.mark.parametrize("where", ["send", "shutdown"])
async def test_a_generator_exit_of_foreign_code_is_an_error_like_others(where, clock):
    class Sends(Recorder):
        failures = 1

        async def send(self, batch):
            if where == "send" and self.failures:
                self.failures -= 1
                raise GeneratorExit
            return await super().send(batch)

    class Shuts:
        name = "shuts"
        calls = 0

        @hookimpl
        async def aiotrack_shutdown(self, client):
            Shuts.calls += 1
            if where == "shutdown":
                raise GeneratorExit

    client = Client(Sends(), Shuts(), batch_size=1, clock=clock)
    await client.start()
    assert await client.create_user_context("u").track_event("k")
    for _ in range(3):
        await asyncio.sleep(0.01)
        clock.advance(10)
    async with asyncio.timeout(5):
        report = await client.aclose()
    assert (report.delivered, Shuts.calls) == (1, 1)


# -- contexts -----------------------------------------------------------------------------------------

request = contextvars.ContextVar("request", default=None)


class Request:
    pass


async def test_the_tasks_of_a_client_keep_nothing_of_the_request_that_started_it(collector):
    seen = []
    client = Client(aiotrack.HTTPDestination(collector.url), flush_interval=0.001)
    client.on("aiotrack_batch_sending", lambda batch: seen.append(request.get()))

    async def first():
        mine = Request()
        request.set(mine)
        await client.start()
        await client.create_user_context("u").track_event("k")
        return weakref.ref(mine)

    kept = await asyncio.create_task(first())
    await client.flush(5)
    await until(lambda: gc.collect() is None or kept() is None)
    assert seen == [None]
    await client.aclose()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks start eagerly from Python 3.12 on")
async def test_tasks_that_start_eagerly_change_nothing():
    class Closes:
        calls = 0

        @hookimpl
        async def aiotrack_shutdown(self, client):
            Closes.calls += 1
            await client.aclose()

    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    recorder = Recorder()
    async with Client(recorder, Closes(), flush_interval=0.001) as client:
        for _ in range(100):
            await client.create_user_context("u").track_event("k")
    assert Closes.calls == 1
    assert assert_conserved(client).total.delivered == 100
