"""The life of a client: every public call in every state, and a start or close that goes wrong."""

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
import time
import warnings

import pytest
import uvloop
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import Client, Report, errors, hookimpl
from aiotrack.testing import Collector, Reply, until


class Stuck(Recorder):
    """A destination that can be held at each step of its life."""

    def __init__(self, step=None, **options):
        super().__init__(**options)
        self.step = step
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.closed = 0

    async def at(self, step):
        if step == self.step:
            self.entered.set()
            await self.release.wait()

    async def start(self, client):
        await self.at("start")

    async def send(self, batch):
        await self.at("send")
        return await super().send(batch)

    async def close(self):
        self.closed += 1
        await self.at("close")


# -- the matrix: what each call does in each state -----------------------------------------------------

OK, REFUSED = "ok", "refused"
CALLS = {
    "create_user_context": lambda client, user: client.create_user_context("u") and OK,
    "load_user": lambda client, user: client.load_user(user.dump()) and OK,
    "user.set_attribute": lambda client, user: user.set_attribute("a", 1) or OK,
    "stats": lambda client, user: client.stats() and OK,
    "health": lambda client, user: OK if client.health().status else None,
    "on": lambda client, user: client.on("aiotrack_event_tracked", print) and OK,
    "repr": lambda client, user: repr(client) and OK,
    "user.track_event": lambda client, user: user.track_event("k"),
    "client.track_event": lambda client, user: client.track_event("k", user),
    "track_many": lambda client, user: client.track_many([aiotrack.Event("k", "u")]),
    "user.track_event_nowait": lambda client, user: user.track_event_nowait("k"),
    "user.track_event_threadsafe": lambda client, user: asyncio.wrap_future(user.track_event_threadsafe("k")),
    "dead_letters": lambda client, user: client.dead_letters(),
    "replay": lambda client, user: client.replay([]),
    "forget": lambda client, user: client.forget([]),
    "flush": lambda client, user: client.flush(timeout=0.05),
    "start": lambda client, user: client.start(),
    "spawn": lambda client, user: client.spawn(asyncio.sleep(0, OK), name="t"),
    "aclose": lambda client, user: client.aclose(timeout=0.05),
}
NEW, CLOSED = errors.NotStarted, errors.ClientClosed
MATRIX = {
    #                             new     started  closing  closed
    "create_user_context": (OK, OK, OK, OK),
    "load_user": (OK, OK, OK, OK),
    "user.set_attribute": (OK, OK, OK, OK),
    "stats": (OK, OK, OK, OK),
    "health": (OK, OK, OK, OK),
    "on": (OK, OK, OK, OK),
    "repr": (OK, OK, OK, OK),
    "user.track_event": (NEW, OK, REFUSED, REFUSED),
    "client.track_event": (NEW, OK, REFUSED, REFUSED),
    "track_many": (NEW, OK, REFUSED, REFUSED),
    "user.track_event_nowait": (NEW, OK, REFUSED, REFUSED),
    "user.track_event_threadsafe": (NEW, OK, REFUSED, REFUSED),
    "dead_letters": (NEW, OK, OK, CLOSED),
    "replay": (NEW, OK, OK, CLOSED),
    "forget": (NEW, OK, OK, CLOSED),
    "flush": (NEW, OK, OK, CLOSED),
    "start": (OK, OK, CLOSED, CLOSED),
    "spawn": (NEW, OK, OK, CLOSED),
    "aclose": (OK, OK, OK, OK),
}


async def outcome(call, client, user):
    try:
        answer = CALLS[call](client, user)
        if asyncio.iscoroutine(answer) or isinstance(answer, asyncio.Future):
            answer = await answer
    except errors.StateError as exc:
        assert str(exc).split(":")[0].removesuffix("_event") in call  # noqa: PT017 - the error is an outcome here
        return type(exc)
    if isinstance(answer, aiotrack.BulkResult) and answer.failures:
        answer = answer.failures[0]
    if isinstance(answer, aiotrack.TrackResult | aiotrack.BulkFailure):
        return (
            OK
            if not answer.refused
            else str(next(iter(answer.refused.values())).reason).replace("client closing", REFUSED)
        )
    return OK


def test_the_matrix_has_every_public_method():
    public = {name for name in dir(Client) if not name.startswith("_")} - {"from_config", "clock", "catalog"}
    on_user = {f"user.{name}" for name in dir(aiotrack.UserContext) if name.startswith(("track_", "set_"))}
    renamed = {"client.track_event": "track_event"}
    assert {renamed.get(name, name) for name in MATRIX} == (public | on_user | {"repr"})


@pytest.mark.parametrize("call", MATRIX)
@pytest.mark.parametrize("state", ["new", "started", "closing", "closed"])
async def test_each_call_in_each_state(call, state):
    destination = Stuck("send" if state == "closing" else None)
    client = Client(destination, batch_size=1)
    user = client.create_user_context("u")
    closing = None
    if state != "new":
        await client.start()
    if state == "closing":
        await user.track_event("first")
        await destination.entered.wait()
        closing = asyncio.create_task(client.aclose(timeout=0.5))
        await until(lambda: client._state.current == "closing")
    if state == "closed":
        await client.aclose()
    assert await outcome(call, client, user) == MATRIX[call][["new", "started", "closing", "closed"].index(state)]
    destination.release.set()
    if closing is not None:
        await closing
    await client.aclose()
    assert_conserved(client)


# -- start ---------------------------------------------------------------------------------------------


async def test_start_is_idempotent_and_concurrent_starts_are_one():
    destination = Stuck("start")
    client = Client(destination)
    starts = [asyncio.create_task(client.start()) for _ in range(3)]
    await destination.entered.wait()
    destination.release.set()
    await asyncio.gather(*starts)
    await client.start()
    await client.aclose()
    assert destination.closed == 1


class Failing(Recorder):
    kind = "failing"

    async def start(self, client):
        raise OSError("no such host")


async def test_a_start_that_fails_half_way_closes_what_had_started():
    first, third = Stuck(name="first"), Stuck(name="third")
    client = Client(first, Failing(), third)
    with pytest.raises(errors.StartError, match="destination 'failing' can't start: OSError: no such host"):
        await client.start()
    assert (first.closed, third.closed) == (1, 0)
    with pytest.raises(errors.ClientClosed):
        await client.start()
    report = await client.aclose()
    assert isinstance(report, Report)
    assert report.lanes == {}
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("aiotrack")]


async def test_a_start_that_hangs_ends_at_its_timeout():
    first, second = Stuck(name="first"), Stuck("start", name="second")
    client = Client(first, second, start_timeout=0.05)
    with pytest.raises(errors.StartError, match=r"start took longer than 0\.05 s"):
        await client.start()
    assert first.closed == 1


async def test_a_start_that_is_cancelled_closes_what_had_started():
    first, second = Stuck(name="first"), Stuck("start", name="second")
    client = Client(first, second)
    starting = asyncio.create_task(client.start())
    await second.entered.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert first.closed == 1
    await client.aclose()


async def test_a_plugin_that_hangs_at_start_is_named_and_left_behind(caplog):
    class Hanging:
        @hookimpl
        async def aiotrack_startup(self, client):
            await asyncio.Event().wait()

    async with Client(Recorder(), Hanging(), plugin_timeout=0.05) as client:
        assert await client.create_user_context("u").track_event("k")
    assert "plugin 'Hanging' did not answer in aiotrack_startup within" in caplog.text


async def test_closing_during_a_start_waits_for_it_and_closes():
    destination = Stuck("start")
    client = Client(destination)
    starting = asyncio.create_task(client.start())
    await destination.entered.wait()
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    destination.release.set()
    await asyncio.gather(starting, closing)
    assert destination.closed == 1


def test_a_constructor_needs_no_loop_and_starts_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads = threading.active_count()
    client = Client(aiotrack.HTTPDestination("http://127.0.0.1:1/"), aiotrack.LocalStore())
    client.create_user_context("u").set_attribute("a", 1)
    assert threading.active_count() == threads
    assert list(tmp_path.iterdir()) == []


# -- close ---------------------------------------------------------------------------------------------


async def test_close_twice_and_concurrently_gives_one_closing_and_one_report():
    destination = Stuck()
    client = Client(destination)
    await client.start()
    await client.create_user_context("u").track_event("k")
    reports = await asyncio.gather(*(client.aclose() for _ in range(5)))
    assert {report.delivered for report in reports} == {1}
    assert await client.aclose() == reports[0]
    assert destination.closed == 1


async def test_a_close_that_is_cancelled_goes_on():
    destination = Stuck("send")
    client = Client(destination)
    await client.start()
    await client.create_user_context("u").track_event("k")
    closing = asyncio.create_task(client.aclose())
    await destination.entered.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    destination.release.set()
    assert (await client.aclose()).delivered == 1


@pytest.mark.parametrize("step", ["send", "close"])
async def test_close_keeps_its_deadline_whatever_hangs(step):
    destination = Stuck(step)
    client = Client(destination, Recorder(name="other"))
    await client.start()
    await client.create_user_context("u").track_event("k")
    started = time.monotonic()
    report = await client.aclose(timeout=0.3)
    assert time.monotonic() - started < 0.3 + 0.2
    assert report.lanes["other"].delivered == 1
    assert (report.dropped, report.delivered) == ((1, 1) if step == "send" else (0, 2))
    assert report.pending == 0
    assert_conserved(client)


@pytest.mark.parametrize("default", [Reply(status=503), Reply(hang=True)])
async def test_close_against_a_failing_server_keeps_its_deadline_and_counts_the_loss(default):
    async with Collector(default=default) as collector:
        client = Client(aiotrack.HTTPDestination(collector.url))
        await client.start()
        for _ in range(10):
            await client.create_user_context("u").track_event("k")
        started = time.monotonic()
        report = await client.aclose(timeout=0.3)
        assert time.monotonic() - started < 0.3 + 0.2
        assert (report.delivered, report.dropped, report.pending) == (0, 10, 0)


async def test_a_destination_that_ignores_cancellation_does_not_hold_the_close(caplog):
    release = asyncio.Event()

    class Stubborn(Recorder):
        async def send(self, batch):
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            return aiotrack.Answer()

    client = Client(Stubborn(), batch_size=1)
    await client.start()
    await client.create_user_context("u").track_event("k")
    await asyncio.sleep(0)
    started = time.monotonic()
    await client.aclose(timeout=0.2)
    assert time.monotonic() - started < 0.4
    assert "'aiotrack sender recorder' does not end when cancelled" in caplog.text
    release.set()
    await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_a_plugin_may_close_the_client_from_its_shutdown_and_from_a_task():
    class Closing:
        reports: list = []  # noqa: RUF012

        @hookimpl
        async def aiotrack_shutdown(self, client):
            self.reports.append(await client.aclose())

    plugin = Closing()
    client = Client(Recorder(), plugin)
    await client.start()
    await client.create_user_context("u").track_event("k")
    client.spawn(client.aclose(), name="closes")
    await asyncio.sleep(0)
    report = await client.aclose()
    assert report.delivered == 1
    assert len(plugin.reports) == 1


async def test_a_plugin_may_track_in_its_shutdown():
    class Last:
        @hookimpl
        async def aiotrack_shutdown(self, client):
            assert await client.create_user_context("u").track_event("last")

    recorder = Recorder()
    async with Client(recorder, Last()) as client:
        await client.create_user_context("u").track_event("first")
    assert len(recorder.events) == 2
    assert client.stats().plugins["Last"].errors == 0


async def test_an_exception_in_the_body_still_flushes():
    recorder = Recorder()

    async def body():
        async with Client(recorder) as client:
            await client.create_user_context("u").track_event("k")
            raise KeyError

    with pytest.raises(KeyError):
        await body()
    assert len(recorder.events) == 1


@pytest.mark.aiotrack(leaks=True)
async def test_a_forgotten_close_is_heard_with_the_count():
    client = Client(Recorder())
    await client.start()
    for _ in range(3):
        await client.create_user_context("u").track_event("k")
    lanes = client._pipeline.lanes
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        del client
        gc.collect()
    assert [str(warning.message) for warning in heard if warning.category is ResourceWarning] == [
        "an aiotrack.Client was never closed, with 3 events pending: await client.aclose()"
    ]
    for lane in lanes:
        await lane.stop_sending()


# -- loops ---------------------------------------------------------------------------------------------


async def test_two_clients_in_one_process_share_nothing():
    one, other = Recorder(), Recorder()
    async with Client(one) as first, Client(other, strict=True) as second:
        await first.create_user_context("a").track_event("one")
        with pytest.raises(errors.EventRefused):
            await second.create_user_context("b").track_event("")
        first.on("aiotrack_event_tracked", lambda event: pytest.fail("heard the other's event"))
        await second.create_user_context("b").track_event("other")
        assert first.stats().refused == {}
    assert (len(one.events), len(other.events)) == (1, 1)


def test_asyncio_run_a_hundred_times_leaks_neither_tasks_nor_threads_nor_files(tmp_path):

    async def main(number):
        async with Client(aiotrack.LocalStore(tmp_path / "events.db")) as client:
            assert await client.create_user_context("u").track_event("k", event_id=f"{number}")
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main(-1))
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for number in range(100):
        asyncio.run(main(number))
    assert len(os.listdir("/proc/self/fd")) <= files
    assert threading.active_count() <= threads + 1


def test_uvloop_does_the_same():
    async def main():
        async with Collector() as collector:
            collector.script(Reply(status=503))
            async with Client(aiotrack.HTTPDestination(collector.url), batch_size=5) as client:
                user = client.create_user_context("u")
                results = [await user.track_event("k", {"n": number}) for number in range(20)]
                threaded = await asyncio.to_thread(lambda: user.track_event_threadsafe("k", {"n": 20}).result(5))
                await client.flush()
                assert all(results)
                assert threaded
            assert assert_conserved(client).total.delivered == 21
            return sorted(event["tags"]["n"] for event in collector.events())

    assert uvloop.run(main()) == list(range(21))


def test_a_program_that_ends_without_closing_says_so():
    code = """
import asyncio, aiotrack
class Nowhere(aiotrack.Destination):
    kind = "nowhere"
async def main():
    client = aiotrack.Client(Nowhere())
    await client.start()
    await client.create_user_context("u").track_event("k")
asyncio.run(main())
"""
    ended = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True, timeout=20
    )
    assert "ResourceWarning: an aiotrack.Client was never closed, with 1 events pending" in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_nothing_is_logged_when_all_goes_well(caplog):
    caplog.set_level(logging.DEBUG, logger="aiotrack")
    async with Client(Recorder()) as client:
        await client.create_user_context("u").track_event("k")
    assert [record.message for record in caplog.records if record.name == "aiotrack"] == []


@pytest.mark.parametrize("timeout", [float("nan"), -1, "1", True, 10**400])
async def test_a_timeout_that_is_none_is_named(timeout):
    async with aiotrack.Client(Recorder()) as client:
        for call in (client.flush, client.aclose):
            with pytest.raises(aiotrack.errors.ConfigError, match="timeout: expected seconds >= 0"):
                await call(timeout=timeout)
