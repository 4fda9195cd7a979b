"""Every buffer is held against the same contract; and what is special about each."""

import asyncio
import threading

import pytest
from support import Final, Recorder, assert_conserved

from aiotrack import Answer, Client, FileBuffer, MemoryBuffer, SpillBuffer
from aiotrack.errors import ConfigError
from aiotrack.testing import BufferContract, until
from aiotrack.testing.listener import RecordingListener


class TestMemoryBuffer(BufferContract):
    def make(self, folder):
        return MemoryBuffer(self.max_bytes)


class TestFileBuffer(BufferContract):
    def make(self, folder):
        return FileBuffer(folder, self.max_bytes, sync="normal")


@pytest.mark.parametrize("size", [0, -1, 1.5, "1", True, None])
def test_a_wrong_size_is_refused(size, tmp_path):
    with pytest.raises(ConfigError, match="max_bytes: expected an integer >= 1"):
        MemoryBuffer(size)
    with pytest.raises(ConfigError, match="max_bytes: expected an integer >= 1"):
        FileBuffer(tmp_path, size)


def test_a_wrong_path_or_sync_level_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="path: expected the path of a folder, got int 5"):
        FileBuffer(5)
    with pytest.raises(ConfigError, match="sync: expected one of 'full', 'normal', got str 'off'"):
        FileBuffer(tmp_path, sync="off")


class TestSpillBuffer(BufferContract):
    def make(self, folder):
        return SpillBuffer(FileBuffer(folder, self.max_bytes, sync="normal"), max_bytes=1)


async def test_a_spilling_buffer_fills_memory_then_the_file_and_keeps_order(tmp_path):
    recorder = Recorder()
    buffer = SpillBuffer(FileBuffer(tmp_path), max_bytes=1000)
    async with Client(recorder, buffer=buffer, batch_size=1000, flush_interval=3600) as client:
        user = client.create_user_context("u")
        for start in (0, 40, 80):
            for n in range(start, start + 40):
                assert await user.track_event("k", {"n": n})
            assert client.stats().total.bytes_pending > 1000  # more than memory takes
            await client.flush()
        assert assert_conserved(client).total.delivered == 120
    numbers = [int(entry.split(b'"n":')[1].split(b"}")[0]) for entry in recorder.events]
    assert numbers == list(range(120))


class Down(Recorder):
    async def send(self, batch):
        return Answer(error="down")


async def test_a_spilling_buffer_loses_nothing_at_a_close(tmp_path):
    def client(destination):
        return Client(destination, buffer=SpillBuffer(FileBuffer(tmp_path), max_bytes=1000), shutdown_timeout=0.2)

    async with client(Down(name="a")) as tracking:
        user = tracking.create_user_context("u")
        for n in range(20):
            assert await user.track_event("k", {"n": n})
    total = assert_conserved(tracking).total
    assert (total.pending, total.dropped) == (20, 0)
    recorder = Recorder(name="a")
    async with client(recorder) as tracking:
        await tracking.flush(5)
        assert tracking.stats().total.recovered == 20
    assert len(set(recorder.events)) == len(recorder.events) == 20


async def test_what_a_spilling_buffer_can_not_write_is_refused_and_what_does_not_fit_at_its_close_is_said(
    tmp_path, caplog, monkeypatch
):
    buffer = SpillBuffer(FileBuffer(tmp_path, max_bytes=400), max_bytes=400)
    assert repr(buffer).startswith("SpillBuffer(FileBuffer(")
    client = Client(Down(), buffer=buffer, shutdown_timeout=0.05, overflow="drop_newest")
    await client.start()
    user = client.create_user_context("u")
    results = [await user.track_event("k", {"n": n}) for n in range(6)]
    taken = sum(map(bool, results))
    assert [bool(result) for result in results] == [True] * taken + [False] * (6 - taken)
    log = client._pipeline.lanes[0]._buffer._file._log

    def full(*_):
        return OSError(28, "No space left on device")

    monkeypatch.setattr(log, "_append", full)
    assert not await user.track_event("k")
    too_large = await user.track_event("k", {"text": "x" * 500})
    assert too_large.refused["recorder"].reason == "too large"
    await client.aclose()
    total = assert_conserved(client).total
    assert total.dropped == total.accepted - total.pending > 0
    assert "could not be moved to the file and are lost" in caplog.text


async def test_a_dead_letter_that_finds_no_room_or_is_refused_stays_one(tmp_path):
    recorder = Final(Answer(status=404), Answer(status=404))
    async with Client(recorder, buffer=MemoryBuffer(150), batch_size=1, overflow="drop_newest") as client:
        user = client.create_user_context("u")
        for _ in range(2):
            assert await user.track_event("k")
            await client.flush()
        recorder.send = None  # nothing leaves now
        assert await user.track_event("k")
        letters = await client.dead_letters()
        assert await client.replay(letters) == 0
        client._pipeline.lanes[0]._admission.close()
        assert await client.replay(letters) == 0
        assert len(await client.dead_letters()) == 2
        await client.aclose(0)


async def test_what_a_spilling_buffer_holds_in_memory_is_written_at_its_close_however_much_it_is(tmp_path):
    lane = SpillBuffer(FileBuffer(tmp_path, sync="normal")).for_lane("recorder")
    await lane.open(RecordingListener())
    for _ in range(12_000):  # more than may be on its way to the disk at once
        lane.append(b"x" * 2000, b"")
    assert await lane.close() == 0
    recovered = RecordingListener()
    again = FileBuffer(tmp_path, sync="normal").for_lane("recorder")
    await again.open(recovered)
    assert recovered.recovered_events == 12_000
    await again.close()


async def test_a_caller_of_a_spilling_buffer_who_leaves_is_counted_when_the_file_fails(tmp_path, monkeypatch):
    client = Client(Down(), buffer=SpillBuffer(FileBuffer(tmp_path), max_bytes=200), shutdown_timeout=0.1)
    await client.start()
    user = client.create_user_context("u")
    assert [bool(await user.track_event("k")) for _ in range(2)] == [True, True]
    log = client._pipeline.lanes[0]._buffer._file._log
    begun, go_on = threading.Event(), threading.Event()

    def full(*_):
        begun.set()
        go_on.wait(5)
        return OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(log, "_append", full)
        leaving = asyncio.create_task(user.track_event("k"))
        await until(begun.is_set)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        go_on.set()
        await until(lambda: client.stats().refused == {"buffer error": 1})
    await client.aclose()
    assert assert_conserved(client).total.accepted == 2
