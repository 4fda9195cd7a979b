"""`track_many`: many events in constant memory, committed together, counted, and each failure with its place."""

import asyncio
import threading
import tracemalloc

import pytest
from support import Recorder, Slow, assert_conserved

import aiotrack
from aiotrack import Client, Event, FileBuffer, MemoryBuffer, SpillBuffer, errors, hookimpl
from aiotrack.testing import until


def rows(count, **more):
    return ({"user_id": f"u{number}", "key": "k", "tags": {"n": number}, **more} for number in range(count))


async def each(events):
    for event in events:
        await asyncio.sleep(0)
        yield event


def numbers(recorder):
    return [int(entry.split(b'"n":')[1].split(b"}")[0]) for entry in recorder.events]


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize("source", [rows, lambda count: each(rows(count)), lambda count: list(rows(count))])
async def test_all_are_tracked_in_their_order(kind, source, tmp_path):
    recorder = Recorder()
    async with Client(recorder, buffer=FileBuffer(tmp_path) if kind == "file" else None) as client:
        result = await client.track_many(source(1000))
        assert result
        assert (result.accepted, result.refused, result.failures) == (1000, 0, ())
        await client.flush()
        assert assert_conserved(client).total.delivered == 1000
    assert numbers(recorder) == list(range(1000))


async def test_an_event_and_a_mapping_say_the_same():
    recorder = Recorder()
    fields = {
        "user_id": "u",
        "key": "k",
        "tags": {"a": 1},
        "attributes": {"b": True},
        "event_id": "e",
        "timestamp": 1_700_000_000_000,
        "user_agent": "agent",
        "ip_address": "::1",
        "session_id": 5,
    }
    bare = {"user_id": "u", "key": "k", "event_id": "e", "timestamp": 1_700_000_000_000}
    async with Client(recorder) as client:
        assert await client.track_many([fields, Event(**fields), bare, Event(**bare)])
        await client.flush()
    first, same, third, like_it = recorder.events
    assert first == same != third == like_it


async def test_each_failure_has_its_place_and_its_reason():
    events = [
        {"user_id": "u", "key": "k"},
        {"user_id": "u", "key": "k", "tags": {"bad": float("nan")}},
        {"user_id": "u", "event": "k"},
        {"user_id": "u", "kye": "k"},
        "k",
        {"key": "k"},
        {"user_id": "u"},
        Event("k", "u", tags={"bad": b""}),
        None,
        {1: 2},
        {"user_id": "u", "key": "k"},
    ]
    async with Client(Recorder()) as client:
        result = await client.track_many(events)
        assert not result
        assert (result.accepted, result.refused) == (2, 9)
        fields = (
            "the fields user_id, attributes, user_agent, ip_address, session_id, key, tags, event_id, timestamp, to"
        )
        said = {failure.place: str(failure.refused["recorder"]) for failure in result.failures}
        assert said == {
            1: "invalid tag: tags.bad: expected a finite number, got nan",
            2: f"invalid event: event: expected {fields}, got 'event'",
            3: f"invalid event: event: expected {fields}, got 'kye'",
            4: "invalid event: event: expected an aiotrack.Event or a mapping, got str",
            5: "invalid event: user_id: expected a str, an int or a UUID, got NoneType",
            6: "invalid event: key: expected a non-empty str, got NoneType",
            7: "invalid tag: tags.bad: expected a JSON value, or what stands for one, got bytes",
            8: "invalid event: event: expected an aiotrack.Event or a mapping, got NoneType",
            9: f"invalid event: event: expected {fields}, got int",
        }
        assert [failure.place for failure in result.failures] == sorted(said)
        assert sum(client.stats().refused.values()) == 9


async def test_a_thousand_failures_are_listed_and_all_are_counted():
    async with Client(Recorder()) as client:
        result = await client.track_many(rows(3000, event_id=5))
        assert (result.accepted, result.refused, len(result.failures)) == (0, 3000, 1000)
        assert [failure.place for failure in result.failures] == list(range(1000))


async def test_memory_does_not_grow_with_their_number():
    class Dropping(Recorder):
        async def send(self, batch):
            return aiotrack.Answer()

    async with Client(Dropping(), buffer=MemoryBuffer(1 << 18), batch_size=100) as client:
        await client.track_many(rows(1000))
        tracemalloc.start()
        try:
            await client.track_many(rows(3_000))
            _, some = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            await client.track_many(rows(30_000))
            _, many = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert many < 2 * some
        await client.flush()
        assert assert_conserved(client).total.delivered == 34_000


async def test_a_file_buffer_commits_them_together(tmp_path, monkeypatch):
    from aiotrack.buffers.file.log import SegmentLog  # noqa: PLC0415 - counted here, and nowhere else

    commits = []
    write = SegmentLog.write
    monkeypatch.setattr(SegmentLog, "write", lambda log, work: commits.append(work) or write(log, work))
    async with Client(Recorder(), buffer=FileBuffer(tmp_path), flush_interval=60, batch_size=5000) as client:
        assert await client.track_many(rows(2000))
        assert len(commits) < 40


async def test_others_have_their_turn_meanwhile():
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with Client(Recorder()) as client:
        task = asyncio.create_task(other())
        await client.track_many(rows(6400))
        task.cancel()
    assert turns >= 100


class Gate(Recorder):
    def __init__(self):
        super().__init__()
        self.open = asyncio.Event()

    async def send(self, batch):
        await self.open.wait()
        return await super().send(batch)


@pytest.mark.parametrize("kind", ["memory", "file", "spill"])
async def test_they_wait_through_an_outage_and_leave_others_half_of_the_room(kind, tmp_path):
    gate, taken = Gate(), []

    def source():
        for row in rows(500):
            taken.append(row)
            yield row

    buffer = FileBuffer(tmp_path, max_bytes=20_000)
    if kind != "file":
        buffer = MemoryBuffer(20_000) if kind == "memory" else SpillBuffer(buffer, max_bytes=1000)
    async with Client(gate, buffer=buffer, overflow_timeout=0.01) as client:
        importing = asyncio.create_task(client.track_many(source()))
        await until(lambda: client.stats().total.bytes_pending > 10_000)
        await asyncio.sleep(0.05)
        await until(lambda: len(taken) == client.stats().total.accepted + 1)
        assert len(taken) < 120
        assert await client.create_user_context("u").track_event("k", {"n": -1})
        gate.open.set()
        assert await importing
        await client.flush()
        assert assert_conserved(client).total.delivered == 501
        assert client.stats().refused == {}


async def test_nothing_is_taken_once_the_client_closes():
    gate, taken = Gate(), []

    def source():
        for row in rows(500):
            taken.append(row)
            yield row

    client = Client(gate, buffer=MemoryBuffer(20_000))
    await client.start()
    importing = asyncio.create_task(client.track_many(source()))
    await until(lambda: client.stats().total.bytes_pending > 10_000)
    await client.aclose(timeout=0.2)
    result = await importing
    assert not result
    assert result.refused == 1
    assert result.failures[0].refused["recorder"].reason == "client closing"
    assert result.failures[0].place == len(taken) - 1 == result.accepted


async def test_what_the_source_raises_is_raised_with_the_numbers_when_the_others_have_ended(tmp_path):
    def source():
        yield from rows(100)
        raise OSError("the file broke")

    recorder = Recorder()
    async with Client(recorder, buffer=FileBuffer(tmp_path)) as client:
        with pytest.raises(OSError, match="the file broke") as caught:
            await client.track_many(source())
        assert caught.value.__notes__ == ["track_many: 100 events were taken, and 100 accepted"]
        await client.flush()
        assert numbers(recorder) == list(range(100))


async def test_strict_raises_for_the_first_that_is_refused(tmp_path):
    events = [*rows(10), {"user_id": "u", "key": 5}, *rows(10)]
    for buffer in (None, FileBuffer(tmp_path)):
        async with Client(Recorder(), buffer=buffer, strict=True) as client:
            with pytest.raises(errors.EventRefused, match="key") as caught:
                await client.track_many(events)
            assert "11 events were taken, and 10 accepted" in caught.value.__notes__[0]
            assert client.stats().total.accepted == 10


async def test_a_cancelled_call_leaves_no_task_and_keeps_what_was_accepted(tmp_path):
    async def source():
        for row in rows(100):
            yield row
        await asyncio.Event().wait()

    recorder = Recorder()
    async with Client(recorder, buffer=FileBuffer(tmp_path)) as client:
        importing = asyncio.create_task(client.track_many(source()))
        await until(lambda: client.stats().total.accepted == 100)
        importing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await importing
        assert not [task for task in asyncio.all_tasks() if "track_many" in task.get_name()]
        assert (await client.flush()).delivered == 100


async def test_plugins_that_await_do_so_side_by_side():
    under_way = most = 0

    class Lookup:
        @hookimpl
        async def aiotrack_enrich_event(self, event):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.001)
            under_way -= 1
            return event

    async with Client(Recorder(), Lookup()) as client:
        assert await client.track_many(rows(1000))
        assert 32 <= most <= 256
        assert (await client.flush()).delivered == 1000


@pytest.mark.parametrize("events", [5, None, "events", b"events", {"user_id": "u", "key": "k"}])
async def test_what_is_no_source_of_events_is_a_mistake(events):
    async with Client(Recorder()) as client:
        with pytest.raises(TypeError, match="track_many: expected an iterable or async iterable of events, got"):
            await client.track_many(events)


async def test_none_are_fine():
    async with Client(Recorder()) as client:
        assert await client.track_many([])


async def test_a_client_that_was_never_started_says_so():
    with pytest.raises(errors.NotStarted):
        await Client(Recorder()).track_many(rows(3))


async def test_from_another_event_loop():
    recorder, started, done = Recorder(), threading.Event(), threading.Event()
    made = []

    async def home():
        async with Client(recorder) as client:
            made.append(client)
            started.set()
            await asyncio.to_thread(done.wait, 30)
            await client.flush()

    thread = threading.Thread(target=asyncio.run, args=(home(),))
    thread.start()
    try:
        await asyncio.to_thread(started.wait, 30)
        result = await made[0].track_many(each(rows(1000)))
        assert result.accepted == 1000
    finally:
        done.set()
        await asyncio.to_thread(thread.join)
    assert numbers(recorder) == list(range(1000))


async def test_a_call_that_is_cancelled_while_the_last_ones_are_written_leaves_no_task():
    buffer = Slow()
    async with Client(Recorder(), buffer=buffer) as client:
        importing = asyncio.create_task(client.track_many(rows(5)))
        await until(lambda: len(buffer.writing) == 5)
        await asyncio.sleep(0)
        importing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await importing
        assert not [task for task in asyncio.all_tasks() if "track_many" in task.get_name()]
        buffer.write()
        assert (await client.flush()).delivered == 5
