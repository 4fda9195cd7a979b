"""Files that are torn, flipped, full or gone: what is sound arrives, what is not is said, nothing raises."""

import asyncio
import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import FileBuffer
from aiotrack.testing.buffers import append, claimed
from aiotrack.testing.listener import RecordingListener

ENTRIES = 600
ENTRY = b'{"n": %04d, "text": "' + b"x" * 300 + b'"}'


def crashed(folder, *, flushed=False):
    """Fill a buffer in several transactions, and return its file as a crash leaves it."""

    async def fill():
        buffer = FileBuffer(folder / "live").for_lane("events")
        await buffer.open(RecordingListener())
        for start in range(0, ENTRIES, 20):
            await asyncio.gather(*(append(buffer, ENTRY % n) for n in range(start, start + 20)))
        if flushed:
            buffer._store._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        shutil.copytree(folder / "live", folder / "crashed", ignore=shutil.ignore_patterns("*.lock"))
        await buffer.close()

    asyncio.run(fill())
    return folder / "crashed" / "events.0.db"


async def recovered(folder):
    """Open the folder, take all that is in it, and close."""
    buffer = FileBuffer(folder).for_lane("events")
    await buffer.open(RecordingListener())
    entries = []
    while (claim := await buffer.claim(1000, 10**9)) is not None:
        entries += claim.entries
    assert await append(buffer, b"one more") > 0
    await buffer.close()
    return entries


EVERYTHING = [ENTRY % n for n in range(ENTRIES)]


def test_a_crash_loses_nothing(tmp_path):
    path = crashed(tmp_path)
    assert Path(f"{path}-wal").exists()
    assert asyncio.run(recovered(path.parent)) == EVERYTHING


def test_a_torn_tail_loses_nothing(tmp_path):
    path = crashed(tmp_path)
    log = Path(f"{path}-wal")
    whole = log.read_bytes()
    for torn in (whole[32:4000], whole[32 : 32 + 4120][:-1], b"\0" * 5000, os.urandom(9000)):
        log.write_bytes(whole + torn)
        copy = tmp_path / f"torn-{len(torn)}"
        shutil.copytree(path.parent, copy)
        assert asyncio.run(recovered(copy)) == EVERYTHING
        assert not list(copy.glob("*damaged*"))


@pytest.mark.parametrize("which", ["log", "file"])
def test_a_flipped_bit_costs_little_and_is_said(tmp_path, which, caplog):
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    path = crashed(tmp_path, flushed=which == "file")
    lost = []
    for number in range(25):
        caplog.clear()
        copy = tmp_path / f"flipped-{number}"
        shutil.copytree(path.parent, copy)
        if which == "file":
            Path(f"{copy / path.name}-wal").unlink()
        target = copy / path.name if which == "file" else Path(f"{copy / path.name}-wal")
        content = bytearray(target.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        target.write_bytes(content)
        entries = asyncio.run(recovered(copy))
        assert set(entries) <= set(EVERYTHING), f"seed {seed}, flip {number}"
        assert len(entries) == len(set(entries)), f"seed {seed}, flip {number}"
        lost.append(ENTRIES - len(entries))
        if lost[-1]:
            assert "damaged" in caplog.text, f"seed {seed}, flip {number}: lost in silence"
            assert list(copy.glob("*damaged*")) or "last transaction" in caplog.text, f"seed {seed}, flip {number}"
            assert {stat.S_IMODE(file.stat().st_mode) for file in copy.glob("*")} == {0o600}
    assert max(lost) <= 60, f"seed {seed}: {lost}"
    assert sum(lost) <= 25 * 20, f"seed {seed}: {lost}"


@pytest.mark.parametrize("content", [b"", b"this is no database" * 500, b"\0" * 100_000])
def test_a_file_that_is_none_is_set_aside(tmp_path, content, caplog):
    (tmp_path / "events.0.db").write_bytes(content)
    assert asyncio.run(recovered(tmp_path)) == []
    if content.strip(b"\0"):
        assert "is set aside as events.0.damaged-1" in caplog.text
        assert (tmp_path / "events.0.damaged-1").read_bytes() == content


@pytest.mark.parametrize("first", [1, 6, 11])
async def test_entries_damaged_while_they_wait_are_dropped_and_the_others_arrive(first, tmp_path, caplog):
    recorder = Recorder()
    buffer = FileBuffer(tmp_path)
    async with aiotrack.Client(recorder, buffer=buffer, flush_interval=3600, batch_size=30) as client:
        lane = client._pipeline.lanes[0]
        user = client.create_user_context("u")
        for _ in range(3):
            await asyncio.gather(*(user.track_event("k") for _ in range(5)))
        damage = "UPDATE entries SET joined = zeroblob(length(joined)) WHERE first = ?"
        lane._buffer._store._db.execute(damage, (first,))
        await client.flush()
        total = assert_conserved(client).total
        assert (total.delivered, total.dropped, total.pending) == (10, 5, 0)
    assert "damaged on disk" in caplog.text


FULL = """
import asyncio, resource, sys
sys.path.insert(0, {tests!r})
from support import Recorder, assert_conserved
import aiotrack

async def main():
    recorder = Recorder()
    async with aiotrack.Client(recorder, buffer=aiotrack.FileBuffer({folder!r}), flush_interval=3600) as client:
        user = client.create_user_context("u")
        assert await user.track_event("k", {{"text": "x" * 1000}})
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
        accepted, refused, in_a_row = 1, 0, 0
        while in_a_row < 5:  # once in between, what the failed transactions took is free again
            result = await user.track_event("k", {{"text": "x" * 1000}})
            accepted += bool(result)
            refused += not result
            in_a_row = 0 if result else in_a_row + 1
            assert result or result.refused["recorder"].reason == "buffer error", result
        assert 1 < accepted < 100
        later = user.track_event_nowait("k", {{"text": "x" * 1000}})
        assert later
        assert (await later.delivered(5)) == aiotrack.Rejected("buffer error")
        assert client.stats().refused == {{"buffer error": refused + 1}}, client.stats()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert await user.track_event("k")
        await client.flush()
        total = assert_conserved(client).total
        assert total.delivered == total.accepted == accepted + 1, total
        assert len(recorder.events) == accepted + 1

asyncio.run(main())
"""


def run(program):
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60)  # noqa: PLW1510
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_a_full_disk_is_a_refusal_and_it_goes_on_when_there_is_room(tmp_path):
    # A limit on the size of files fails a write as a full disk does, needs no rights, and can be lifted.
    run(FULL.format(folder=str(tmp_path), tests=str(Path(__file__).parent.parent)))


def test_a_folder_that_cannot_be_written_fails_the_start_with_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")

    async def main():
        with pytest.raises(aiotrack.errors.StartError, match=r"the buffer of 'recorder' can't start: .*Error"):
            await aiotrack.Client(Recorder(), buffer=FileBuffer(tmp_path / "file")).start()

    asyncio.run(main())


def test_a_damaged_first_page_costs_nothing(tmp_path, caplog):
    path = crashed(tmp_path, flushed=True)
    Path(f"{path}-wal").unlink()
    content = bytearray(path.read_bytes())
    content[:4096] = bytes(4096)
    path.write_bytes(content)
    assert asyncio.run(recovered(path.parent)) == EVERYTHING
    assert "is set aside" in caplog.text


@pytest.mark.parametrize("damage", ["head", "sector", "salts"])
def test_a_damaged_head_of_a_log_with_older_runs_behind_it_costs_nothing(tmp_path, damage, caplog):
    async def fill():
        buffer = FileBuffer(tmp_path / "live").for_lane("events")
        await buffer.open(RecordingListener())
        for start in range(0, 3000, 60):  # far more than the log holds: it begins anew several times
            await asyncio.gather(*(append(buffer, (ENTRY % n) * 6) for n in range(start, start + 60)))
            if start < 2700:
                await buffer.ack(await claimed(buffer, 60))
                await buffer.dead_letters()
        shutil.copytree(tmp_path / "live", tmp_path / "crashed", ignore=shutil.ignore_patterns("*.lock"))
        await buffer.close()

    asyncio.run(fill())
    log = tmp_path / "crashed" / "events.0.db-wal"
    content = bytearray(log.read_bytes())
    cut = {"head": slice(0, 32), "sector": slice(0, 512), "salts": slice(16, 24)}[damage]
    content[cut] = bytes(len(content[cut]))
    log.write_bytes(content)
    entries = asyncio.run(recovered(tmp_path / "crashed"))
    expected = [(ENTRY % n) * 6 for n in range(2700, 3000)]
    assert set(entries) <= set(expected)
    assert len(expected) - len(entries) <= (60 if damage == "sector" else 0)
    assert "is set aside" in caplog.text


def test_a_salvage_that_is_cut_short_begins_anew_or_is_finished(tmp_path):
    program = """
import asyncio, os, sys
import aiotrack.buffers.file.repair as salvage
from aiotrack import FileBuffer
from aiotrack.testing.listener import RecordingListener

step = int(sys.argv[2])
replace, rename = os.replace, os.rename
def counting(function):
    def call(*args):
        global step
        if step == 0:
            os._exit(7)
        step -= 1
        return function(*args)
    return call
os.replace, os.rename = counting(replace), counting(rename)
salvage.sync_folder = counting(salvage.sync_folder)
asyncio.run(FileBuffer(sys.argv[1]).for_lane("events").open(RecordingListener()))
os._exit(0)
"""
    path = crashed(tmp_path, flushed=True)
    Path(f"{path}-wal").unlink()
    content = bytearray(path.read_bytes())
    content[:4096] = bytes(4096)
    path.write_bytes(content)
    codes = []
    for step in range(6):
        copy = tmp_path / f"step-{step}"
        shutil.copytree(path.parent, copy)
        done = subprocess.run([sys.executable, "-c", program, copy, str(step)], timeout=60)  # noqa: PLW1510
        codes.append(done.returncode)
        assert asyncio.run(recovered(copy)) == EVERYTHING, step
    assert codes[:3] == [7, 7, 7]
    assert codes[-1] == 0


def test_a_damaged_dead_letter_is_not_handed_out(tmp_path, caplog):
    async def main():
        buffer = FileBuffer(tmp_path).for_lane("events")
        await buffer.open(RecordingListener())
        for n in range(3):
            await append(buffer, ENTRY % n)
            await buffer.bury(await claimed(buffer, 1), aiotrack.Cause("no", 404, b"no", 1.0))
        await append(buffer, ENTRY % 3)
        assert len(await buffer.dead_letters()) == 3
        buffer._store._db.execute("UPDATE dead SET entry = zeroblob(5) WHERE id = 2")
        await buffer.close()
        buffer = FileBuffer(tmp_path).for_lane("events")
        await buffer.open(RecordingListener())
        letters = await buffer.dead_letters()
        assert [letter.entry for letter in letters] == [ENTRY % 0, ENTRY % 2]
        assert (await claimed(buffer)).entries == [ENTRY % 3]
        await buffer.close()

    asyncio.run(main())
    assert "damaged" in caplog.text
