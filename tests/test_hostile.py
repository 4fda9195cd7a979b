"""Foreign code at its worst, and callers at theirs: nothing is lost in silence, and nothing hangs."""

import asyncio
import os
import time
from collections.abc import Mapping

import attrs
import pytest
from aiohttp import web
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import Client, Delivered, MemoryBuffer, Rejected, Unknown, errors, hookimpl
from aiotrack.testing import Collector, Reply, until


async def accepted(client, count=1):
    user = client.create_user_context("u")
    return [await user.track_event("k", {"n": number}) for number in range(count)]


class ReturnsNothing(Recorder):
    async def send(self, batch):
        if len(self.batches) == 0 and not self.answers:
            self.answers = [aiotrack.Answer()]
            return None
        return await super().send(batch)


class CancelsItself(Recorder):
    async def send(self, batch):
        if not self.answers:
            self.answers = [aiotrack.Answer()]
            raise asyncio.CancelledError
        return await super().send(batch)


class JudgesBadly(Recorder):
    judged = 0

    def judge(self, answer, now):
        self.judged += 1
        if self.judged == 1:
            raise KeyError
        return super().judge(answer, now)


@pytest.mark.parametrize("kind", [ReturnsNothing, CancelsItself, JudgesBadly])
async def test_a_destination_that_misbehaves_once_is_counted_and_sent_to_again(kind, clock):
    destination = kind()
    async with Client(destination, batch_size=1, clock=clock) as client:
        await accepted(client)
        await until(lambda: client.stats().total.retries == 1)
        assert client.stats().plugins["recorder"].errors == 1
        report = await client.flush()
        assert report.delivered == 1


async def test_a_buffer_that_fails_once_does_not_end_the_sender(clock):
    class Failing(MemoryBuffer):
        failed = False

        def for_lane(self, name):
            return self

        async def settle(self, claim, outcome, cause=None):
            if not self.failed:
                self.failed = True
                raise OSError("disk")
            await super().settle(claim, outcome, cause)

    recorder = Recorder()
    async with Client(recorder, buffer=Failing(), batch_size=2, clock=clock) as client:
        await accepted(client, 2)
        await until(lambda: client.stats().plugins["recorder"].errors == 1)
        assert (await client.flush()).delivered == 2
    assert len(recorder.events) == 4  # at least once: the first settling failed after the sending
    assert_conserved(client)


async def test_a_buffer_that_cannot_look_for_what_others_left_stops_no_flush():
    class Blind(MemoryBuffer):
        def for_lane(self, name):
            return self

        async def recover(self):
            raise KeyError("secret-value")

    async with Client(Recorder(), buffer=Blind()) as client:
        await accepted(client, 2)
        assert (await client.flush()).delivered == 2
        assert client.stats().plugins["recorder"].errors == 1


@pytest.mark.parametrize(
    "text", ["Mon, 1 Jan 2024 00:00:00 +99999999999999999999", "0", "Mon, 01 Jan 2024 00:00:00 GMT"]
)
async def test_no_retry_after_stops_or_spins_the_sender(text, clock):
    async with (
        Collector(default=Reply(status=503, headers={"Retry-After": text})) as collector,
        Client(aiotrack.HTTPDestination(collector.url), batch_size=1, clock=clock, shutdown_timeout=0.1) as client,
    ):
        await accepted(client)
        for attempt in range(1, 6):
            await until(lambda attempt=attempt: client.stats().total.retries == attempt)
            assert clock.next_timer > 0
            clock.advance(clock.next_timer)
        assert len(collector.requests) <= 6


async def test_adjacent_bad_events_do_not_take_the_good_ones_with_them():
    async def deliver(bad, count=500):
        def answer(request):
            return Reply(status=400) if any(event["tags"]["n"] in bad for event in request.json()) else None

        async with Collector(answer=answer) as collector:
            async with Client(aiotrack.HTTPDestination(collector.url), batch_size=count) as client:
                await accepted(client, count)
                return await client.flush()

    for bad in (range(8), range(200, 216), range(484, 500), {0, 499}):
        report = await deliver(bad)
        assert (report.delivered, report.dead) == (500 - len(bad), len(bad))


async def test_a_shutdown_that_cancels_its_own_task_does_not_cancel_the_close():
    class Worker:
        @hookimpl
        async def aiotrack_startup(self, client):
            self.task = asyncio.ensure_future(asyncio.Event().wait())

        @hookimpl
        async def aiotrack_shutdown(self, client):
            self.task.cancel()
            await self.task

    recorder = Recorder()
    client = Client(recorder, Worker())
    async with client:
        await accepted(client)
    assert len(recorder.events) == 1
    assert "closed" in repr(client)
    assert client.stats().plugins["Worker"].errors == 1


async def test_an_async_plugin_whose_own_task_was_cancelled_does_not_cancel_the_caller():
    class Enrich:
        @hookimpl
        async def aiotrack_enrich_event(self, event):
            task = asyncio.ensure_future(asyncio.sleep(1))
            task.cancel()
            await task

    async with Client(Recorder(), Enrich()) as client:
        (result,) = await accepted(client)
        assert result
        assert client.stats().plugins["Enrich"].errors == 1


async def test_a_hook_that_hangs_at_close_leaves_time_to_flush():
    class Hanging:
        @hookimpl
        async def aiotrack_shutdown(self, client):
            await asyncio.Event().wait()

    async with Collector() as collector:
        client = Client(aiotrack.HTTPDestination(collector.url), Hanging(), Hanging(), flush_interval=60)
        await client.start()
        await accepted(client)
        report = await client.aclose(timeout=0.5)
    assert report.delivered == 1


@pytest.mark.parametrize("default", [Reply(hang=True), Reply(status=503)])
async def test_receipts_asked_after_the_close_are_honest_and_do_not_hang(default):
    async with Collector(default=default) as collector:
        collector.script(Reply())
        client = Client(aiotrack.HTTPDestination(collector.url), batch_size=1)
        await client.start()
        results = await accepted(client)
        await client.flush()
        results += await accepted(client, 3)
        await client.aclose(timeout=0.3)
        receipts = [await result.delivered() for result in results]
    assert receipts == [Delivered(), Unknown(), Unknown(), Unknown()]


async def test_held_callers_are_let_in_as_fast_as_the_server_takes_them(clock):
    async with (
        Collector() as collector,
        Client(
            aiotrack.HTTPDestination(collector.url), buffer=MemoryBuffer(1000), flush_interval=60, clock=clock
        ) as client,
    ):
        user = client.create_user_context("u")
        results = await asyncio.gather(*(user.track_event("k", {"n": n}) for n in range(50)))
        assert all(results)


async def test_a_close_delivers_what_it_lets_in():
    async with Collector() as collector:
        client = Client(aiotrack.HTTPDestination(collector.url), buffer=MemoryBuffer(1000), flush_interval=60)
        await client.start()
        user = client.create_user_context("u")
        held = [asyncio.create_task(user.track_event("k", {"n": n})) for n in range(30)]
        await asyncio.sleep(0)
        report = await client.aclose(timeout=5)
        results = await asyncio.gather(*held)
    assert report.delivered == sum(map(bool, results))
    assert report.dropped == 0


async def test_callers_who_left_hold_neither_memory_nor_the_door(clock):
    class Never(Recorder):
        async def send(self, batch):
            await asyncio.Event().wait()

    async with Client(
        Never(), buffer=MemoryBuffer(700), batch_size=1, overflow_timeout=1, clock=clock, shutdown_timeout=0
    ) as client:
        user = client.create_user_context("u")
        for _ in range(3):
            assert await user.track_event("k", {"text": "x" * 50})
        held = [asyncio.create_task(user.track_event("k", {"text": "x" * 300})) for _ in range(100)]
        await asyncio.sleep(0)
        clock.advance(1)
        assert not any(await asyncio.gather(*held))
        assert user.track_event_nowait("k")  # it fits, and nobody stands in its way


async def test_a_start_that_fails_keeps_its_deadline_and_shuts_down_what_it_started():
    class Slow(Recorder):
        async def close(self):
            await asyncio.Event().wait()

    class Stuck(Recorder):
        async def start(self, client):
            await asyncio.Event().wait()

    started = time.monotonic()
    with pytest.raises(errors.StartError):
        await Client(Slow(), Stuck(name="stuck"), start_timeout=0.2).start()
    assert time.monotonic() - started < 0.7

    calls = []

    class Plugin:
        @hookimpl
        async def aiotrack_startup(self, client):
            calls.append("up")

        @hookimpl
        async def aiotrack_shutdown(self, client):
            calls.append("down")

    class Broken:
        @hookimpl
        async def aiotrack_startup(self, client):
            raise KeyError

    with pytest.raises(errors.PluginError):
        await Client(Recorder(), Plugin(), Broken(), strict=True).start()
    assert calls == ["up", "down"]


async def test_a_2xx_whose_body_never_comes_has_delivered():
    received = []

    async def handler(request):
        received.append(await request.json())
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await asyncio.sleep(3600)

    app = web.Application()
    app.router.add_post("/", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    async with Client(aiotrack.HTTPDestination(url, timeout=0.2), batch_size=1) as client:
        await accepted(client)
        await until(lambda: client.stats().total.delivered == 1)
    assert len(received) == 1
    await runner.cleanup()


def test_another_loop_is_refused_at_once():
    client = Client(Recorder())
    asyncio.run(client.start())

    async def elsewhere():
        user = client.create_user_context("u")
        for call in (user.track_event("k"), client.flush(), client.aclose()):
            with pytest.raises(errors.WrongLoop):
                await call
        with pytest.raises(errors.WrongLoop):
            user.track_event_nowait("k")
        with pytest.raises(errors.WrongLoop):
            client.spawn(asyncio.sleep(0), name="t")

    asyncio.run(elsewhere())
    client._lifecycle.state = "closed"  # its loop is gone: nothing is left to warn about


async def test_another_thread_and_a_forked_child_are_refused_at_once():
    async with Client(Recorder()) as client:
        user = client.create_user_context("u")
        with pytest.raises(errors.WrongLoop):
            await asyncio.to_thread(user.track_event_nowait, "k")
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                user.track_event_nowait("k")
            except errors.WrongLoop:
                os.write(writer, b"refused")
            finally:
                os._exit(0)
        os.waitpid(pid, 0)  # noqa: ASYNC222 - it ends at once
        os.close(writer)
        with open(reader, "rb") as pipe:  # noqa: ASYNC230
            assert pipe.read() == b"refused"


class Odd(dict):
    def keys(self):
        raise RuntimeError("secret-value")

    __iter__ = items = values = keys


class OddMapping(Mapping):
    def __getitem__(self, key):
        raise RuntimeError("secret-value")

    def __iter__(self):
        raise RuntimeError("secret-value")

    def __len__(self):
        return 1


async def test_no_input_raises_into_the_caller(caplog):
    async with Client(Recorder()) as client:
        user = client.create_user_context("u")
        for call in (
            user.track_event(["k"], {"revenue": "x"}),
            user.track_event("k", OddMapping()),
            user.track_event("k", {"a": Odd(b=1)}),
            user.track_event("k", timestamp=2**70),
            client.create_user_context("u", OddMapping()).track_event("k"),
            client.create_user_context("u", {"a": Odd(b=b"1")}).track_event("k"),
            client.create_user_context("u", ip_address="\ud800").track_event("k"),
            client.track_event("k", OddMapping()),
        ):
            result = await call
            assert isinstance(result, aiotrack.TrackResult)
        assert client.stats().plugins["recorder"].errors == 0  # none of these is the destination's fault
    assert "secret-value" not in caplog.text


async def test_a_key_in_a_log_line_is_short_and_on_one_line(caplog):
    async with Client(Recorder()) as client:
        user = client.create_user_context("u")
        await user.track_event("k", {"a\nERROR forged": float("nan")})
        await user.track_event("l", {"x" * 100_000: float("nan")})
        for number in range(500):
            await user.track_event("m", {f"key {number}": float("nan")})
    assert len(caplog.records) == 3
    assert all("\n" not in record.getMessage() and len(record.getMessage()) < 500 for record in caplog.records)


async def test_plugins_cannot_change_a_users_attributes_or_be_blamed_on_the_caller():
    class Odd:
        @hookimpl
        def aiotrack_check_event(self, event):
            event.attributes["leak"] = 1
            return aiotrack.Problem(None, "x", "y")

        @hookimpl
        def aiotrack_process_event(self, event):
            return attrs.evolve(event, key="")

        @hookimpl
        def aiotrack_reserved_tags(self):
            return {"price": aiotrack.ReservedTag(lambda value: value["amount"], "an amount")}

    async with Client(Recorder(), Odd()) as client:
        user = client.create_user_context("u", {"a": 1})
        result = await user.track_event("k", {"price": 5})
        assert result.refused["recorder"].path == "key"
        assert user.attributes == {"a": 1}


async def test_an_argument_with_a_default_is_still_given():
    heard = []

    class Plugin:
        @hookimpl
        def aiotrack_event_tracked(self, event=None):
            heard.append(event)

    async with Client(Recorder(), Plugin()) as client:
        await accepted(client)
    assert heard[0].key == "k"


async def test_a_rejection_is_told_before_a_slow_destination_has_answered():
    async with Collector(default=Reply(hang=True)) as slow, Collector(default=Reply(status=404)) as dead:
        destinations = [aiotrack.HTTPDestination(server.url, name=name) for name, server in (("s", slow), ("d", dead))]
        async with Client(*destinations, batch_size=1, shutdown_timeout=0.1) as client:
            (result,) = await accepted(client)
            assert await result.delivered(5) == Rejected("HTTP 404")


async def test_one_destination_serves_one_client_at_a_time():
    recorder = Recorder()
    async with Client(recorder):
        with pytest.raises(errors.StartError, match="in use by another client"):
            await Client(recorder).start()
    async with Client(recorder) as client:
        await accepted(client)
    assert len(recorder.events) == 1


class Lazy(MemoryBuffer):
    """Answers as a foreign buffer may; `answer` makes something of a number."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def for_lane(self, name):
        return self

    def append(self, entry, batch_header):
        return self.answer(super().append(entry, batch_header))


class Number(int):
    pass


async def test_a_buffer_may_answer_with_an_int_of_its_own():
    """Counted as any other; with what is neither an int nor a future, the event is refused."""
    async with Client(Recorder(), buffer=Lazy(Number)) as client:
        await accepted(client, 2)
        assert (await client.flush(1)).delivered == 2
        assert_conserved(client)
    async with Client(Recorder(), buffer=Lazy(str)) as client:
        (result,) = await accepted(client)
        assert result.refused["recorder"].reason == "buffer error"


async def test_what_a_buffer_raises_is_never_blamed_on_the_destination():
    """Not even where the oldest events are dropped for a new one."""

    def fail(number):
        if number % 2:
            raise errors.BufferFull("full")
        raise LookupError(number)

    async with Client(Recorder(), buffer=Lazy(fail), overflow="drop_oldest") as client:
        (result,) = await accepted(client)
        assert result.refused["recorder"].reason == "buffer error"
        assert "recorder" not in client.stats().plugins or client.stats().plugins["recorder"].errors == 0


@pytest.mark.parametrize("max_bytes", [1300, 5000])
async def test_numbers_that_jump_send_no_batch_early(tmp_path, max_bytes):
    """A spill buffer's do, whenever it turns from memory to its file or back."""
    recorder = Recorder()
    buffer = aiotrack.SpillBuffer(aiotrack.FileBuffer(tmp_path, sync="normal"), max_bytes=max_bytes)
    async with Client(recorder, buffer=buffer, batch_size=100, flush_interval=600) as client:
        await accepted(client, 99)
        assert recorder.batches == []
        await client.flush()
        await accepted(client, 99)
        assert len(recorder.events) == 99


async def test_a_user_id_that_is_assigned_later_is_checked_too():
    async with Client(Recorder()) as client:
        user = client.create_user_context("anonymous")
        user.user_id = "ann"
        assert await user.track_event("k")
        user.user_id = None
        result = await user.track_event("k")
        assert result.refused["recorder"].path == "user_id"


async def test_a_plugin_that_scrubs_an_event_in_place_scrubs_this_event_alone():
    """What it forgot to copy must not go out unscrubbed."""

    class Scrubber:
        @hookimpl
        def aiotrack_process_event(self, event):
            event.attributes.pop("email")
            return event

    recorder = Recorder()
    async with Client(recorder, Scrubber()) as client:
        user = client.create_user_context("u", {"email": "ann@example.org", "plan": "gold"})
        for _ in range(2):
            assert await user.track_event("k")
    assert b"ann@" not in b"".join(recorder.events)
    assert user.attributes == {"email": "ann@example.org", "plan": "gold"}
    assert client.stats().plugins["Scrubber"].errors == 0


async def test_an_encode_that_was_put_in_place_of_another_is_the_one_that_counts(monkeypatch):
    """On the object or on the class."""
    recorder = Recorder()
    recorder.encode = lambda event: b"1"
    async with Client(recorder) as client:
        await accepted(client)
    monkeypatch.setattr(aiotrack.Destination, "encode", lambda self, event: b"2")
    other = Recorder()
    async with Client(other) as client:
        await accepted(client)
    assert (recorder.events, other.events) == ([b"1"], [b"2"])


def test_names_that_are_imported_later_are_there_as_any_other():
    assert aiotrack.local_store.LocalStore is aiotrack.LocalStore
    assert {"FileBuffer", "LocalStore", "SpillBuffer"} <= set(dir(aiotrack))
    with pytest.raises(AttributeError, match="Clietn"):
        _ = aiotrack.Clietn
