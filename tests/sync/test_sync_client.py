"""Tracking without an event loop: the same options, results and plugins, from any thread, and never for ever."""

import asyncio
import copy
import logging
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import FileBuffer, LocalStore, MemoryBuffer, SyncClient, errors, hookimpl


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def client(recorder):
    client = SyncClient(recorder)
    yield client
    client.close(5)


def events(recorder):
    return [orjson.loads(entry) for entry in recorder.events]


def test_it_starts_with_the_first_event_and_says_what_became_of_it(client, recorder):
    user = client.create_user_context("ann", {"plan": "pro"}, user_agent="UA", ip_address="::1", session_id=5)
    assert not [thread for thread in threading.enumerate() if "sync client" in thread.name]
    result = user.track_event("purchase", {"revenue": 4200}, event_id="id", timestamp=1_700_000_000_000)
    assert result.accepted == ("recorder",)
    assert client.flush(5).delivered == 1
    assert client.delivered(result, 5) == aiotrack.Delivered()
    (event,) = events(recorder)
    assert (event["event"], event["user_id"], event["event_id"], event["revenue"]) == ("purchase", "ann", "id", 4200)
    assert event["attributes"] == {"plan": "pro"}
    assert assert_conserved(client).total.accepted == 1


def test_a_block_starts_and_closes_it(recorder):
    with SyncClient(recorder) as client:
        assert client.create_user_context("ann").track_event("k")
        assert client.health().status == "ok"
    assert len(recorder.events) == 1
    assert not [thread for thread in threading.enumerate() if "sync client" in thread.name]
    result = client.create_user_context("ann").track_event("k")
    assert result.refused["recorder"].reason == "client closing"
    assert client.close().delivered == 1
    with pytest.raises(errors.ClientClosed):
        client.flush()


def test_one_that_was_never_used_closes_and_refuses():
    client = SyncClient(Recorder())
    assert client.health().status == "ok"
    assert client.close().delivered == 0
    assert client.create_user_context("ann").track_event("k").refused["client"].reason == "client closing"
    with pytest.raises(errors.ClientClosed):
        client.start()


def test_a_wrong_option_raises_where_it_is_given():
    with pytest.raises(errors.ConfigError, match="batch_size"):
        SyncClient(Recorder(), batch_size=0)
    with pytest.raises(errors.ConfigError, match="nothing"):
        SyncClient.from_config({"nothing": 1})


def test_from_a_configuration(tmp_path):
    with SyncClient.from_config(
        {"destinations": {"main": {"kind": "local", "path": str(tmp_path / "a.db")}}}
    ) as client:
        assert client.create_user_context("ann").track_event("k").accepted == ("main",)
        assert client.flush().delivered == 1


def test_one_that_can_not_start_refuses_and_is_tried_again_later(tmp_path, caplog, monkeypatch):
    path = tmp_path / "no folder" / "a.db"
    client = SyncClient(LocalStore(path))
    user = client.create_user_context("ann")
    for _ in range(3):
        result = user.track_event("k")
        assert result.refused["client"].reason == "not ready"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    with pytest.raises(errors.StartError):
        client.start()
    path.parent.mkdir()
    assert not user.track_event("k")  # for a minute
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert user.track_event("k")
    client.close()


def test_strict_raises_what_the_others_return(tmp_path):
    with SyncClient(Recorder(), strict=True) as client:
        with pytest.raises(errors.EventRefused, match="finite"):
            client.create_user_context("ann").track_event("k", {"a": float("nan")})
    with pytest.raises(errors.StartError):
        SyncClient(LocalStore(tmp_path / "no" / "a.db"), strict=True).create_user_context("ann").track_event("k")


def test_the_spelling_of_vwo_and_users_carried_from_elsewhere(client, recorder):
    assert client.track_event("k", {"id": "ann", "custom_variables": {"a": 1}}, {"n": 1})
    user = client.load_user(client.create_user_context("bob", {"b": 2}).dump())
    assert client.track_event("k", user)
    assert not client.load_user("garbage").track_event("k")
    client.flush()
    assert [(event["user_id"], event["attributes"]) for event in events(recorder)] == [
        ("ann", {"a": 1}),
        ("bob", {"b": 2}),
    ]


def test_a_call_says_where_its_event_goes():
    one, other = Recorder(name="one"), Recorder(name="other")
    with SyncClient(one, other) as client:
        user = client.create_user_context("ann")
        assert user.track_event("k", to="one").accepted == ("one",)
        assert user.track_event_nowait("k", to="other").accepted == ("other",)
        assert user.track_event("k", to="none").refused


def test_many_threads_at_once(client, recorder):
    user = client.create_user_context("ann")
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(lambda number: user.track_event("k", {"n": number}), range(2000)))
    assert all(results)
    assert client.flush(10).delivered == 2000
    assert sorted(event["tags"]["n"] for event in events(recorder)) == list(range(2000))


def test_a_durable_buffer_has_committed_when_the_call_returns(tmp_path):
    class Down(Recorder):
        async def send(self, batch):
            return aiotrack.Answer(status=503)

    client = SyncClient(Down(), buffer=FileBuffer(tmp_path), shutdown_timeout=0.1)
    assert client.create_user_context("ann").track_event("k")
    assert client.stats().total.pending == 1
    client.close()
    recorder = Recorder()
    with SyncClient(recorder, buffer=FileBuffer(tmp_path)) as other:
        other.flush(10)
    assert len(recorder.events) == 1


class Held:
    """Holds the client's thread, or its events, until the test lets go."""

    def __init__(self):
        self.go = threading.Event()

    @hookimpl
    async def aiotrack_enrich_event(self, event):
        if event.key == "awaited":
            await asyncio.to_thread(self.go.wait, 10)
        elif event.key == "blocked":
            self.go.wait(10)
        return event


def test_no_caller_waits_longer_than_its_timeout(recorder):
    held = Held()
    client = SyncClient(recorder, held)
    user = client.create_user_context("ann")
    assert user.track_event("k")
    began = time.monotonic()
    assert user.track_event("awaited", timeout=0.1).refused["recorder"].reason == "not known"
    blocking = threading.Thread(target=user.track_event, args=("blocked",))
    blocking.start()
    time.sleep(0.05)
    assert user.track_event("k", timeout=0.1).refused["recorder"].reason == "buffer full"
    assert user.track_event("k", timeout="soon").refused["recorder"].path == "timeout" if held.go.is_set() else True
    assert time.monotonic() - began < 2
    held.go.set()
    blocking.join()
    assert client.close(5).delivered == 3  # what was not begun in time is not done later


def test_a_full_buffer_holds_a_caller_no_longer_than_it_says():
    class Silent(Recorder):
        async def send(self, batch):
            await asyncio.sleep(60)

    client = SyncClient(Silent(), buffer=MemoryBuffer(500), batch_size=1, shutdown_timeout=0.1)
    user = client.create_user_context("ann")
    while user.track_event_nowait("k"):
        pass
    began = time.monotonic()
    assert user.track_event("k", timeout=0.1).refused["recorder"].reason == "buffer full"
    assert time.monotonic() - began < 1
    client.close()


def test_a_thread_that_is_held_up_delays_no_close_and_no_flush_for_ever(recorder, caplog):
    held = Held()
    client = SyncClient(recorder, held, shutdown_timeout=0.1, overflow_timeout=0.1)
    user = client.create_user_context("ann")
    user.track_event("k")
    threading.Thread(target=user.track_event, args=("blocked",), daemon=True).start()
    time.sleep(0.05)
    began = time.monotonic()
    client.flush(0.1)
    client.close(0.1)
    assert time.monotonic() - began < 6
    assert "a SyncClient is left behind: something holds its thread up" in caplog.text
    (thread,) = [thread for thread in threading.enumerate() if "sync client" in thread.name]
    held.go.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_plugin_may_track_and_may_not_wait(recorder):
    raised = []

    class Tracks:
        @hookimpl
        def aiotrack_event_tracked(self, event):
            if event.key == "first":
                assert client.create_user_context("bob").track_event("second")
                try:
                    client.flush()
                except errors.WrongLoop as exc:
                    raised.append(str(exc))

    client = SyncClient(recorder, Tracks())
    assert client.create_user_context("ann").track_event("first")
    client.close()
    assert sorted(event["event"] for event in events(recorder)) == ["first", "second"]
    assert raised == ["flush: called on the client's own thread, by a plugin say, it would wait for itself"]


def test_listeners_come_and_go(client):
    heard = []
    remove = client.on("aiotrack_event_tracked", lambda event: heard.append(event.key))
    user = client.create_user_context("ann")
    user.track_event("a")
    remove()
    remove()
    user.track_event("b")
    assert heard == ["a"]
    with pytest.raises(errors.PluginError):
        client.on("no_such_hook", print)


def test_many_events_are_taken_in_the_callers_thread_and_counted(client, recorder):
    threads = set()

    def source():
        for number in range(1200):
            threads.add(threading.current_thread())
            yield {"user_id": "ann", "key": "k", "tags": {"n": float("nan") if number in {3, 1100} else number}}

    result = client.track_many(source())
    assert threads == {threading.current_thread()}
    assert (result.accepted, result.refused, [failure.place for failure in result.failures]) == (1198, 2, [3, 1100])
    client.flush(10)
    numbers = [event["tags"]["n"] for event in events(recorder)]
    assert numbers == [number for number in range(1200) if number not in {3, 1100}]


def test_dead_letters_are_looked_after():
    class Refuses(Recorder):
        async def send(self, batch):
            return await super().send(batch) if self.batches else aiotrack.Answer(status=400)

    recorder = Refuses()
    with SyncClient(recorder) as client:
        client.create_user_context("ann").track_event("k")
        client.flush(5)
        (letter,) = client.dead_letters()
        recorder.batches.append(None)
        assert client.replay([letter]) == 1
        recorder.batches.clear()
        client.flush(5)
        client.forget(client.dead_letters())
        assert client.dead_letters() == []


async def test_on_an_event_loop_of_somebody_elses_as_in_a_notebook(client):
    user = client.create_user_context("ann")
    assert user.track_event("k")
    assert client.flush(5).delivered == 1


async def test_its_users_can_be_the_current_one(client):
    with aiotrack.use_user(client.create_user_context("ann")) as user:
        assert aiotrack.current_user() is user
        assert aiotrack.current_user().track_event("k")
        assert await aiotrack.track_event("k")
    assert client.stats().total.accepted == 2


def test_copies_and_pickles(client):
    user = client.create_user_context("ann", {"a": 1})
    twin = copy.deepcopy(user)
    twin.set_attribute("a", 2)
    assert (user.attributes, twin.attributes) == ({"a": 1}, {"a": 2})
    assert twin.track_event("k")
    for thing in (client, user):
        with pytest.raises(TypeError, match="can't be"):
            pickle.dumps(thing)


def test_a_signal_handler_may_track(client):
    user = client.create_user_context("ann")
    results = []
    before = signal.signal(signal.SIGUSR1, lambda *_: results.append(user.track_event_nowait("signal")))
    try:
        assert user.track_event("k")
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert all(results)
    assert len(results) == 1


def test_one_that_is_let_go_of_is_closed(recorder, caplog):
    client = SyncClient(recorder, flush_interval=60)
    client.create_user_context("ann").track_event("k")
    with caplog.at_level(logging.ERROR):
        del client
    assert len(recorder.events) == 1
    assert caplog.text == ""
