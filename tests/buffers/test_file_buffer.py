"""What is special about the buffer on disk: files, owners, destinations that come and go."""

import asyncio
import os
import shutil
import stat

import pytest
from support import Final, Recorder, assert_conserved

import aiotrack
from aiotrack import Answer, Client, FileBuffer
from aiotrack.buffers.file.log import SegmentLog, Work
from aiotrack.buffers.file.survey import waiting_entries
from aiotrack.errors import WrongLoop
from aiotrack.testing import ManualClock, until


class Down(Recorder):
    async def send(self, batch):
        return Answer(error="down")


async def track(client, count, user="u"):
    context = client.create_user_context(user)
    results = await asyncio.gather(*(context.track_event("k", {"n": n}) for n in range(count)))
    assert all(results)


def segments(folder):
    return sorted(path.name for path in folder.rglob("*.seg"))


def owners(folder):
    return sorted(path.name for path in folder.rglob("*.lock"))


async def test_files_are_for_their_owner_only_and_gone_when_nothing_is_in_them(tmp_path):
    folder = tmp_path / "deep" / "buffer"
    before = os.umask(0)
    try:
        async with Client(Recorder(), buffer=FileBuffer(folder), flush_interval=3600) as client:
            await track(client, 5)
            (lane,) = folder.iterdir()
            assert lane.name.startswith("recorder~")
            assert (len(segments(folder)), len(owners(folder))) == (1, 1)
            assert {stat.S_IMODE(path.stat().st_mode) for path in lane.iterdir()} == {0o600}
            assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, lane)} == {0o700}
    finally:
        os.umask(before)
    assert [path.name for path in lane.iterdir()] == ["lane.json"]


async def test_two_clients_on_one_folder_have_files_of_their_own(tmp_path):
    one, other = Recorder(), Recorder()
    async with Client(one, buffer=FileBuffer(tmp_path)) as first, Client(other, buffer=FileBuffer(tmp_path)) as second:
        assert (len(segments(tmp_path)), len(owners(tmp_path))) == (2, 2)
        await track(first, 10)
        await track(second, 20)
    assert (len(one.events), len(other.events)) == (10, 20)
    assert segments(tmp_path) == owners(tmp_path) == []


async def test_a_running_process_takes_over_what_another_left(tmp_path, clock):
    recorder = Recorder()
    async with Client(recorder, buffer=FileBuffer(tmp_path), clock=clock) as client:
        async with Client(Down(), buffer=FileBuffer(tmp_path), shutdown_timeout=0.1) as other:
            await track(other, 1000)
        assert client.stats().total.accepted == 0
        clock.advance(30)
        await until(lambda: client.stats().total.recovered == 1000)
        await until(lambda: client.stats().total.delivered == 1000)
        assert_conserved(client)
    assert len(set(recorder.events)) == len(recorder.events) == 1000
    assert segments(tmp_path) == owners(tmp_path) == []


async def test_a_flush_takes_over_too_and_dead_letters_come_along(tmp_path):
    async with Client(Final(Answer(status=404)), buffer=FileBuffer(tmp_path), batch_size=5) as one:
        async with Client(Recorder(), buffer=FileBuffer(tmp_path)) as client:
            await track(one, 5)
            await until(lambda: one.stats().total.dead == 5)
            await one.aclose()
            await client.flush()
            assert len(await client.dead_letters()) == 5
            assert await client.replay(await client.dead_letters()) == 5
            await client.flush()
            assert assert_conserved(client).total.delivered == 5


async def test_what_an_earlier_process_left_is_counted_and_goes_first(tmp_path):
    async with Client(Down(), buffer=FileBuffer(tmp_path), shutdown_timeout=0.1) as client:
        await track(client, 30, "early")
    assert client.stats().total.pending == 30
    recorder = Recorder()
    async with Client(recorder, buffer=FileBuffer(tmp_path), flush_interval=3600) as client:
        total = client.stats().total
        assert (total.accepted, total.recovered) == (30, 30)
        await track(client, 5, "late")
        await client.flush()
        total = assert_conserved(client).total
        assert (total.accepted, total.recovered, total.delivered) == (35, 30, 35)
    users = [b"early" in entry for entry in recorder.events]
    assert users == [True] * 30 + [False] * 5


async def test_a_destination_that_is_no_longer_configured_keeps_its_events_until_told_otherwise(
    tmp_path, caplog, clock
):
    async with Client(Down(name="old/one"), buffer=FileBuffer(tmp_path), shutdown_timeout=0.1) as client:
        await track(client, 7)
    buffer = FileBuffer(tmp_path)
    async with Client(Recorder(name="new"), buffer=buffer, clock=clock) as client:
        await track(client, 3)
        await client.flush()
        clock.advance(60)
        await client.flush()
        assert caplog.text.count("holds 7 events of 'old/one' for recorder (old%2Fone~") == 1
        assert await buffer.discard("new") == 0  # it has an owner
        assert client.stats().total.delivered == 3
    assert [path.parent.name.partition("~")[0] for path in tmp_path.rglob("*.seg")] == ["old%2Fone"]
    recorder = Recorder(name="old/one")
    async with Client(recorder, buffer=FileBuffer(tmp_path)):
        pass
    assert len(recorder.events) == 7
    async with Client(Down(name="old/one"), buffer=FileBuffer(tmp_path), shutdown_timeout=0.1) as client:
        await track(client, 7)
    assert await FileBuffer(tmp_path).discard("old/one") == 7
    assert segments(tmp_path) == owners(tmp_path) == []


async def test_a_configuration_file_can_ask_for_it(tmp_path):
    client = Client.from_config(
        {
            "buffer": {"kind": "file", "path": str(tmp_path / "b"), "max_bytes": 5000, "sync": "normal"},
            "destinations": {"main": {"kind": "local", "path": str(tmp_path / "events.db")}},
        }
    )
    async with client:
        await track(client, 10)
        assert len(segments(tmp_path / "b")) == 1
    assert client.stats().total.delivered == 10
    with pytest.raises(aiotrack.errors.ConfigError, match=r"buffer.sync: expected .*full.*normal"):
        Client.from_config({"buffer": {"kind": "file", "path": "b", "sync": "off"}})


async def test_a_start_that_fails_gives_the_files_up(tmp_path):
    class Failing(Recorder):
        async def start(self, client):
            raise OSError("no")

    with pytest.raises(aiotrack.errors.StartError):
        await Client(Failing(), buffer=FileBuffer(tmp_path)).start()
    await until(lambda: segments(tmp_path) == owners(tmp_path) == [])
    async with Client(Recorder(), buffer=FileBuffer(tmp_path)) as client:
        await track(client, 1)


async def test_a_close_that_is_cut_short_gives_the_files_up_all_the_same(tmp_path):
    client = Client(Down(), buffer=FileBuffer(tmp_path))
    await client.start()
    user = client.create_user_context("u")
    for _ in range(3000):
        assert user.track_event_nowait("k")
    await client.aclose(timeout=0)
    recorder = Recorder()
    async with Client(recorder, buffer=FileBuffer(tmp_path), clock=ManualClock()) as client:
        async with asyncio.timeout(10):
            while len(recorder.events) < 3000:
                await client.flush(1)
    assert len(set(recorder.events)) == 3000


async def test_order_is_kept_through_memory_disk_and_batches(tmp_path):
    recorder = Recorder()
    async with Client(recorder, buffer=FileBuffer(tmp_path, sync="normal"), batch_size=37) as client:
        user = client.create_user_context("u")
        for n in range(2000):
            assert user.track_event_nowait("k", {"n": n})
            if n % 400 == 0:
                await asyncio.sleep(0)
        await client.flush()
    numbers = [int(entry.split(b'"n":')[1].split(b"}")[0]) for entry in recorder.events]
    assert numbers == list(range(2000))


async def test_another_thread_is_refused_and_the_threadsafe_spelling_waits_for_the_commit(tmp_path):
    recorder = Recorder()
    async with Client(recorder, buffer=FileBuffer(tmp_path), flush_interval=3600) as client:
        user = client.create_user_context("u")

        def in_thread():
            with pytest.raises(WrongLoop):
                user.track_event_nowait("k")
            return user.track_event_threadsafe("k").result(5)

        assert await asyncio.to_thread(in_thread)
        assert client.stats().total.accepted == 1
    assert len(recorder.events) == 1


def test_a_folder_that_is_gone_is_made_again_though_no_segment_is_open(tmp_path):
    log = SegmentLog(tmp_path, "lane~0123456789abcdef", {}, 1 << 20, sync=False)
    log.open(0)
    log._seal()
    shutil.rmtree(tmp_path)
    done = log.write(Work([(b"", [b"one"])]))
    assert done.failure is None
    assert [len(appended) for appended in done.appended] == [1]
    assert len(segments(tmp_path)) == 1
    log.close({})


def test_a_batch_header_is_there_twice_and_its_damage_costs_nothing(tmp_path):
    log = SegmentLog(tmp_path, "lane~0123456789abcdef", {}, 1 << 20, sync=False)
    log.open(0)
    entries = [b"%d" % n * 100 for n in range(100)]
    for n, entry in enumerate(entries):
        log.write(Work([(b"header", [entry])], at=float(n)))
    (path,) = tmp_path.rglob("*.seg")
    content = bytearray(path.read_bytes())
    assert content.count(b"header") == 2
    content[content.index(b"header")] ^= 1
    path.write_bytes(content)
    index, damage = log._active.load()
    assert len(damage) == 1
    assert all(index.starts)
    assert index.batch_header(50) == (b"header", 100)
    log.close({})


async def test_what_is_delivered_while_it_is_exported_is_left_out(tmp_path):
    async with Client(Down(), buffer=FileBuffer(tmp_path), shutdown_timeout=0.1) as client:
        await track(client, 600)
    entries = waiting_entries(tmp_path)
    next(entries)
    (path,) = tmp_path.rglob("*.seg")
    path.unlink()
    assert len(list(entries)) < 599
