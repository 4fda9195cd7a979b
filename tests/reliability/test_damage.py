"""Files that are torn, flipped, zeroed, full or gone: what is sound arrives, what is not is said, nothing raises."""

import asyncio
import errno
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
from aiotrack.buffers.file import scan
from aiotrack.buffers.file.format import BLOCK, HEAD, RECORDS
from aiotrack.testing.buffers import append, claimed
from aiotrack.testing.listener import RecordingListener

ROUNDS = int(os.environ.get("RELIABILITY_ROUNDS", "1"))
ENTRIES = 600
ENTRY = b'{"n": %04d, "text": "' + b"x" * 300 + b'"}'
EVERYTHING = [ENTRY % n for n in range(ENTRIES)]
HEADERS = [b"one", b"another"]


def crashed(folder, *, ended=0):
    """Fill a buffer in several groups, end some of it, and return the segment as a crash leaves it."""

    async def fill():
        buffer = FileBuffer(folder / "live").for_lane("events")
        await buffer.open(RecordingListener())
        for start in range(0, ENTRIES, 20):
            header = HEADERS[start // 20 % 7 == 3]
            await asyncio.gather(*(append(buffer, ENTRY % n, header) for n in range(start, start + 20)))
        for _ in range(0, ended, 20):
            await buffer.ack(await claimed(buffer, 20))
            await buffer.written()
        shutil.copytree(folder / "live", folder / "crashed", ignore=shutil.ignore_patterns("*.lock"))
        await buffer.close()

    asyncio.run(fill())
    (path,) = (folder / "crashed").rglob("*.seg")
    return path


async def recovered(folder):
    """Open the folder, take all that is in it, and close."""
    buffer = FileBuffer(folder).for_lane("events")
    await buffer.open(RecordingListener())
    entries, lost = [], 0
    while True:
        try:
            claim = await buffer.claim(1000, 10**9)
        except aiotrack.errors.EntriesLost as exc:
            lost += len(exc.numbers)
            continue
        if claim is None:
            break
        entries += claim.entries
    assert buffer.depth().events == len(entries)
    assert buffer.depth().bytes == sum(map(len, entries))
    assert await append(buffer, b"one more") > 0
    await buffer.close()
    return entries, lost


def copied(path, to):
    """Copy the folder of a segment; return the copy's segment."""
    root = path.parent.parent
    shutil.copytree(root, to)
    return to / path.relative_to(root)


def places(content):
    """Return where each record is, from its first byte to the byte after its last."""
    found, at = {}, RECORDS
    while at + HEAD.size <= len(content):
        mark, index, number, length, _ = HEAD.unpack_from(content, at)
        if not mark:
            break
        if number:
            found[index] = (at, at + HEAD.size + length)
        at += HEAD.size + length
    return found


def test_a_crash_loses_nothing(tmp_path):
    assert asyncio.run(recovered(crashed(tmp_path).parent.parent)) == (EVERYTHING, 0)


def test_a_torn_group_at_the_end_is_none(tmp_path, caplog):
    """Nobody was told that it is safe."""
    path = crashed(tmp_path)
    whole = path.read_bytes()
    end = max(stop for _, stop in places(whole).values())
    tails = [whole[RECORDS : RECORDS + 4120], b"\0" * 5000, os.urandom(9000), whole[end - 400 : end]]
    for number, torn in enumerate(tails):
        copy = copied(path, tmp_path / f"torn-{number}")
        with copy.open("r+b") as file:
            file.seek(end)
            file.write(torn)
        assert asyncio.run(recovered(copy.parent.parent)) == (EVERYTHING, 0)
    assert "damaged" not in caplog.text


KINDS = {"bit": 1, "byte": 1, "sector": 512, "block": BLOCK}


@pytest.mark.parametrize("kind", KINDS)
def test_damage_costs_the_records_that_it_hits_and_is_said(tmp_path, kind, caplog):
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    path = crashed(tmp_path)
    whole = path.read_bytes()
    records = places(whole)
    assert len(records) == ENTRIES
    end = max(stop for _, stop in records.values())
    for number in range(30 * ROUNDS):
        caplog.clear()
        copy = copied(path, tmp_path / f"damaged-{number}")
        size = KINDS[kind]
        at = chance.randrange(end) // size * size
        content = bytearray(whole)
        if kind == "bit":
            content[at] ^= 1 << chance.randrange(8)
        else:
            content[at : at + size] = bytes(size) if chance.random() < 0.5 else chance.randbytes(size)
        copy.write_bytes(content)
        hit = {index for index, (start, stop) in records.items() if start < at + size and at < stop}
        what = f"seed {seed}, {number}: {kind} at {at}"
        entries, lost = asyncio.run(recovered(copy.parent.parent))
        assert entries == sorted(entries), what
        missing = set(range(ENTRIES)) - {EVERYTHING.index(entry) for entry in entries}
        assert missing <= hit, what
        assert lost == len(missing), what
        if missing:
            assert f"{lost} events are lost: damaged on disk" in caplog.text, what
            (kept,) = copy.parent.glob("*.damaged")
            assert stat.S_IMODE(kept.stat().st_mode) == 0o600
            assert kept.stat().st_size <= 2 * BLOCK


@pytest.mark.parametrize("copies", [(0,), (1,), (0, 1)])
def test_damaged_notes_bring_back_what_had_ended_and_cost_nothing(tmp_path, copies, caplog):
    path = crashed(tmp_path, ended=100)
    content = bytearray(path.read_bytes())
    for copy in copies:
        at = BLOCK + copy * 2 * BLOCK
        content[at : at + BLOCK] = bytes(BLOCK)
    path.write_bytes(content)
    entries, lost = asyncio.run(recovered(path.parent.parent))
    assert lost == 0
    assert set(EVERYTHING[100:]) <= set(entries)
    if len(copies) == 2:
        assert entries == EVERYTHING
        assert "is damaged: its notes: what had ended there may be sent again" in caplog.text


@pytest.mark.parametrize("copies", [(0,), (1,), (0, 1)])
def test_a_damaged_header_costs_nothing(tmp_path, copies, caplog):
    path = crashed(tmp_path)
    content = bytearray(path.read_bytes())
    for copy in copies:
        content[copy * 2 * BLOCK : copy * 2 * BLOCK + 512] = bytes(512)
    path.write_bytes(content)
    assert asyncio.run(recovered(path.parent.parent)) == (EVERYTHING, 0)
    assert "is damaged: its header" in caplog.text


def test_a_file_that_was_cut_costs_what_is_cut_off(tmp_path, caplog):
    path = crashed(tmp_path)
    records = places(path.read_bytes())
    os.truncate(path, records[400][0] + 5)
    entries, lost = asyncio.run(recovered(path.parent.parent))
    assert entries == EVERYTHING[:400]
    assert lost == 200
    assert "200 events are lost" in caplog.text


@pytest.mark.parametrize("content", [b"", b"this is no segment" * 500, b"\0" * 100_000])
def test_a_file_that_is_none_is_left_where_it_is_and_named(tmp_path, content, caplog):
    path = crashed(tmp_path)
    stray = path.with_name(f"{'0' * 16}.00000001.{'0' * 16}.seg")
    stray.write_bytes(content)
    assert asyncio.run(recovered(path.parent.parent)) == (EVERYTHING, 0)
    assert f"{stray} is left where it is: it is no segment" in caplog.text
    assert stray.read_bytes() == content


def test_a_file_of_a_later_version_is_left_where_it_is_and_named(tmp_path, caplog):
    path = crashed(tmp_path)
    content = bytearray(path.read_bytes())
    for at in (0, 2 * BLOCK):
        content[at + 8 : at + 10] = (7).to_bytes(2, "little")
    path.write_bytes(content)
    assert asyncio.run(recovered(path.parent.parent)) == ([], 0)
    assert asyncio.run(recovered(path.parent.parent)) == ([b"one more"], 0)
    assert f"{path} is left where it is: it is of version 7, which a later aiotrack has written" in caplog.text
    assert path.read_bytes() == content


def test_blocks_that_the_disk_cannot_read_cost_what_is_in_them(tmp_path, monkeypatch):
    path = crashed(tmp_path)
    records = places(path.read_bytes())
    bad = records[300][0] // BLOCK * BLOCK
    pread = os.pread

    def failing(fd, size, at):
        if at < bad + BLOCK and bad < at + size:
            raise OSError(errno.EIO, "Input/output error")
        return pread(fd, size, at)

    monkeypatch.setattr(scan.os, "pread", failing)
    entries, lost = asyncio.run(recovered(path.parent.parent))
    hit = {index for index, (start, stop) in records.items() if start < bad + BLOCK and bad < stop}
    assert set(EVERYTHING) - set(entries) == {EVERYTHING[index] for index in hit}
    assert lost == len(hit)


def test_no_payload_can_look_like_a_record(tmp_path):
    """Whatever it holds: when the head before it is damaged, what comes next is searched for."""
    other = crashed(tmp_path / "other")
    fake = other.read_bytes()[RECORDS : RECORDS + 2000]

    async def fill():
        buffer = FileBuffer(tmp_path / "b").for_lane("events")
        await buffer.open(RecordingListener())
        for entry in (b"first", fake, b"last"):
            await append(buffer, entry)
        shutil.copytree(tmp_path / "b", tmp_path / "c", ignore=shutil.ignore_patterns("*.lock"))
        await buffer.close()

    asyncio.run(fill())
    (path,) = (tmp_path / "c").rglob("*.seg")
    content = bytearray(path.read_bytes())
    content[places(content)[1][0]] ^= 1
    path.write_bytes(content)
    assert asyncio.run(recovered(tmp_path / "c")) == ([b"first", b"last"], 1)


@pytest.mark.parametrize("first", [0, 5, 10])
async def test_entries_damaged_while_they_wait_are_dropped_and_the_others_arrive(first, tmp_path, caplog):
    recorder = Recorder()
    async with aiotrack.Client(recorder, buffer=FileBuffer(tmp_path), flush_interval=3600, batch_size=30) as client:
        user = client.create_user_context("u")
        for _ in range(3):
            await asyncio.gather(*(user.track_event("k") for _ in range(5)))
        (path,) = tmp_path.rglob("*.seg")
        records = places(path.read_bytes())
        with path.open("r+b") as file:
            file.seek(records[first][0])
            file.write(bytes(records[first + 4][1] - records[first][0]))
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


def test_a_damaged_dead_letter_is_not_handed_out(tmp_path):
    async def main():
        buffer = FileBuffer(tmp_path).for_lane("events")
        await buffer.open(RecordingListener())
        for n in range(3):
            await append(buffer, ENTRY % n)
            await buffer.bury(await claimed(buffer, 1), aiotrack.Cause("no", 404, b"no", 1.0))
            assert len(await buffer.dead_letters()) == n + 1
        await append(buffer, ENTRY % 3)
        await buffer.close()
        (path,) = tmp_path.rglob("*.dead")
        content = bytearray(path.read_bytes())
        content[content.index(ENTRY % 1)] ^= 1
        path.write_bytes(content)
        buffer = FileBuffer(tmp_path).for_lane("events")
        await buffer.open(RecordingListener())
        letters = await buffer.dead_letters()
        assert [letter.entry for letter in letters] == [ENTRY % 0, ENTRY % 2]
        assert (await claimed(buffer)).entries == [ENTRY % 3]
        await buffer.close()

    asyncio.run(main())
