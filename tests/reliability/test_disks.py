"""Disks that are full, hang, or lose the folder; large backlogs: what is promised holds, and all is counted."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import Answer, Client, FileBuffer, SpillBuffer, errors
from aiotrack.buffers.file.log import SegmentLog
from aiotrack.testing import until

ROUNDS = int(os.environ.get("RELIABILITY_ROUNDS", "1"))
PAD = "x" * 500


class Switched(Recorder):
    """A destination that is down while the test says so."""

    def __init__(self, **options):
        super().__init__(**options)
        self.down = True

    async def send(self, batch):
        return Answer(status=503) if self.down else await super().send(batch)


async def fill(client, *, most=20_000):
    """Track until the disk takes no more; return how many were accepted."""
    user = client.create_user_context("u")
    accepted = refused = 0

    async def track():
        nonlocal accepted, refused
        while refused < 20 and accepted < most:
            result = await user.track_event("k", {"pad": PAD})
            accepted += bool(result)
            refused += not result
            if not result:
                assert result.refused["recorder"].reason == "buffer error"

    await asyncio.gather(*(track() for _ in range(20)))
    assert refused >= 20
    return accepted


# -- full -------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk():
    """A disk of 8 MB."""
    folder = Path(tempfile.mkdtemp())
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True).returncode:  # noqa: S607, PLW1510
        folder.rmdir()
        pytest.skip("a disk can't be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)  # noqa: S607
    folder.rmdir()


@pytest.mark.parametrize("restart", [False, True])
async def test_a_disk_that_an_outage_has_filled_drains_and_takes_events_again(small_disk, restart, caplog):
    recorder = Switched()

    def client():
        buffer = FileBuffer(small_disk / "buffer")
        return Client(recorder, buffer=buffer, flush_interval=0.05, shutdown_timeout=0.2, batch_size=1000)

    first = client()
    await first.start()
    accepted = await fill(first)
    assert accepted > 8000
    if restart:  # on the full disk: it starts, says what is wrong, and sends
        await first.aclose()
        first = client()
        await first.start()
        assert first.stats().total.recovered == accepted
        assert "no event can be stored now: [Errno 28]" in caplog.text
        assert not await first.create_user_context("u").track_event("k", {"pad": PAD})
    recorder.down = False
    await first.flush(20)
    assert await first.create_user_context("u").track_event("k")
    await first.aclose()
    assert assert_conserved(first).total.delivered == accepted + 1
    for _ in range(3):
        async with client() as again:
            assert again.stats().total.recovered == 0
    assert len(recorder.events) == len(set(recorder.events)) == accepted + 1
    assert list(small_disk.rglob("*.seg")) == []


@pytest.mark.parametrize("until_the_close", [False, True])
async def test_dead_letters_that_find_no_room_are_held_and_written_once_there_is_some(
    small_disk, until_the_close, caplog
):
    class Refusing(Recorder):
        async def send(self, batch):
            if any(b'"bad"' in entry for entry in batch.entries):
                return Answer(status=404)
            return await super().send(batch)

        def judge(self, answer, now):
            return aiotrack.Verdict("dead") if answer.status == 404 else super().judge(answer, now)

    def client():
        buffer = SpillBuffer(FileBuffer(small_disk / "buffer"))
        return Client(Refusing(), buffer=buffer, flush_interval=3600, batch_size=1)

    hog = small_disk / "hog"
    async with client() as one:
        with hog.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        for _ in range(50):
            assert await one.create_user_context("u").track_event("bad")
        await one.flush()
        assert assert_conserved(one).total.dead == 50
        assert len(await one.dead_letters()) == 50
        assert caplog.text.count("dead letters can't be written, and are held in memory: [Errno 28]") == 1
        if not until_the_close:
            hog.unlink()
            assert len(await one.dead_letters()) == 50
    assert ("50 dead letters can't be written, and are lost" in caplog.text) == until_the_close
    async with client() as other:
        letters = await other.dead_letters()
        assert len(letters) == len({letter.entry for letter in letters}) == (0 if until_the_close else 50)


# -- gone -------------------------------------------------------------------------------------------


def lane_folder(folder):
    (lane,) = [path for path in folder.iterdir() if "~" in path.name]
    return lane


GONE = {
    "removed": shutil.rmtree,
    "lane removed": lambda folder: shutil.rmtree(lane_folder(folder)),
    "files removed": lambda folder: [path.unlink() for path in lane_folder(folder).iterdir()],
    "moved": lambda folder: folder.rename(folder.with_name("moved")),
    "replaced": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
    "locks removed": lambda folder: [path.unlink() for path in folder.rglob("*.lock")],
}


@pytest.mark.parametrize("how", GONE)
async def test_a_folder_that_is_gone_is_made_again_and_what_was_lost_is_counted(how, tmp_path, caplog):
    recorder, folder = Switched(), tmp_path / "buffer"
    buffer = FileBuffer(folder, max_bytes=1_000_000)  # so that segments are small, and many
    async with Client(recorder, buffer=buffer, flush_interval=0.05, batch_size=100) as client:
        user = client.create_user_context("u")
        results = [await user.track_event("k", {"n": n, "pad": PAD}) for n in range(500)]
        assert all(results)
        assert len(list(folder.rglob("*.seg"))) > 3
        GONE[how](folder)
        assert await user.track_event("k", {"n": 500})
        if how == "locks removed":
            await client.flush(0.01)  # or half a minute later
        else:
            assert "was deleted or replaced, and is made again" in caplog.text
        assert len(list(folder.rglob("*.seg"))) >= 1  # what is accepted now is there, whatever happens next
        async with Client(Switched(), buffer=FileBuffer(folder), shutdown_timeout=0.1) as other:
            assert other.stats().total.recovered == 0  # it has an owner
        recorder.down = False
        await client.flush(10)
        total = assert_conserved(client).total
        assert (total.accepted, total.pending) == (501, 0)
        assert total.delivered == len(recorder.events) == len(set(recorder.events))
        assert (total.dropped > 0) == (how not in {"moved", "locks removed"})
        if total.dropped:
            said = re.findall(r"(\d+) events are lost: their files were deleted", caplog.text)
            assert sum(map(int, said)) == total.dropped  # what is on its way just then is said when it comes back
            assert len(said) <= 2


async def test_a_folder_that_is_gone_while_nothing_is_tracked_is_noticed_too(tmp_path, clock, caplog):
    recorder, folder = Switched(), tmp_path / "buffer"
    async with Client(recorder, buffer=FileBuffer(folder), clock=clock, shutdown_timeout=0.2) as client:
        assert await client.create_user_context("u").track_event("k")
        shutil.rmtree(folder)
        await until(lambda: clock.advance(10.0) or "is made again" in caplog.text)
        recorder.down = False
        await client.flush(5)
        assert assert_conserved(client).total.delivered == 1


async def test_while_it_cannot_be_made_again_events_are_refused_and_then_it_heals(tmp_path):
    recorder, folder = Switched(), tmp_path / "buffer"
    async with Client(recorder, buffer=FileBuffer(folder), shutdown_timeout=1) as client:
        user = client.create_user_context("u")
        assert await user.track_event("k", {"n": 1})
        shutil.rmtree(folder)
        folder.write_text("in the way")
        result = await user.track_event("k", {"n": 2})
        assert result.refused["recorder"].reason == "buffer error"
        assert not client.health()
        folder.unlink()
        assert await user.track_event("k", {"n": 3})
        recorder.down = False
        await client.flush(5)
        assert assert_conserved(client).total.delivered == 2
    assert [b'"n":1' in entry for entry in recorder.events] == [True, False]


NO_RIGHTS = """
import asyncio, os, sys, tempfile
sys.path.insert(0, {tests!r})
import aiotrack
from support import assert_conserved
from aiotrack.testing import Collector, Reply

async def main(folder, chmod):
    async with Collector(default=Reply(status=503)) as collector:
        buffer = aiotrack.FileBuffer(folder, max_bytes=1_000_000)
        destination = aiotrack.HTTPDestination(collector.url)
        async with aiotrack.Client(destination, buffer=buffer, flush_interval=0.05) as client:
            user = client.create_user_context("u")
            for n in range(300):
                assert await user.track_event("k", {{"n": n, "pad": "x" * 500}})
            if chmod:
                os.chmod(folder, 0)
                result = await user.track_event("k", {{"n": 300}})
                assert result.refused["http"].reason == "buffer error", result
                assert "PermissionError" in result.refused["http"].message, result
                os.chmod(folder, 0o700)
            assert await user.track_event("k", {{"n": 301}})
            collector.script(*[Reply()] * 1000)
            await client.flush(10)
            total = assert_conserved(client).total
            assert (total.accepted, total.delivered, total.pending) == (301, 301, 0), total
        assert len(collector.events()) == 301

asyncio.run(main(tempfile.mkdtemp(), False))  # whatever is imported late is readable for root only
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
asyncio.run(main(tempfile.mkdtemp(), True))
"""


def test_a_folder_without_rights_refuses_what_comes_and_nothing_is_lost():
    program = NO_RIGHTS.format(tests=str(Path(__file__).parent.parent))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)  # noqa: PLW1510
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("spill", [False, True])
async def test_an_application_starts_without_its_folder_if_it_is_told_so(spill, tmp_path, caplog):
    (tmp_path / "file").write_text("")

    def buffer(fallback):
        file = FileBuffer(tmp_path / "file" / "buffer", fallback=fallback)
        return SpillBuffer(file) if spill else file

    with pytest.raises(errors.StartError, match="NotADirectoryError"):
        await Client(Recorder(), buffer=buffer(None)).start()
    recorder = Recorder()
    async with Client(recorder, buffer=buffer("memory"), flush_interval=3600) as client:
        assert "events wait in memory, and are lost with this process" in caplog.text
        assert await client.create_user_context("u").track_event("k")
        assert client.stats().total.bytes_pending > 0
        await client.flush()
        assert assert_conserved(client).total.delivered == 1
    with pytest.raises(errors.ConfigError, match="fallback: expected one of 'memory', got str 'disk'"):
        buffer("disk")


# -- hanging ----------------------------------------------------------------------------------------

SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
static void wait_while_it_hangs(void) {
    struct stat found;
    while (stat(getenv("HANG_WHILE"), &found) == 0) usleep(10000);
}
int fdatasync(int fd) { wait_while_it_hangs(); return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd); }
int fsync(int fd) { wait_while_it_hangs(); return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd); }
"""
HANGING = """
import asyncio, os, sys, time
import aiotrack
from aiotrack.testing import until

hangs, folder, how = sys.argv[1:]

async def main():
    client = aiotrack.Client(
        aiotrack.HTTPDestination("http://127.0.0.1:9/"), buffer=aiotrack.FileBuffer(folder), overflow_timeout=1.0
    )
    await client.start()
    user = client.create_user_context("u")
    assert await user.track_event("k")
    open(hangs, "w").close()
    began = time.monotonic()
    results = await asyncio.gather(*(user.track_event("k") for _ in range(3)))
    assert 0.5 < time.monotonic() - began < 2.0
    assert [result.refused["http"].reason for result in results] == ["not known"] * 3
    if how == "heals":
        os.remove(hangs)
        await until(lambda: client.stats().total.accepted == 4)
        assert client.stats().total.recovered == 3
        assert await user.track_event("k")
    began = time.monotonic()
    await client.aclose(timeout=0.5)
    assert time.monotonic() - began < 1.5

asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["heals", "stays"])
async def test_a_disk_that_hangs_holds_callers_close_and_exit_no_longer_than_their_deadlines(how, tmp_path):
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    (tmp_path / "shim.c").write_text(SHIM)
    build = [compiler, "-shared", "-fPIC", "-o", tmp_path / "shim.so", tmp_path / "shim.c", "-ldl"]
    subprocess.run(build, check=True)  # noqa: ASYNC221 - nothing else runs here
    environment = {**os.environ, "LD_PRELOAD": str(tmp_path / "shim.so"), "HANG_WHILE": str(tmp_path / "hangs")}
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HANGING, tmp_path / "hangs", tmp_path / "buffer", how), env=environment
    )
    assert await asyncio.wait_for(process.wait(), 30) == 0
    assert time.monotonic() - began < 12
    recorder = Recorder(name="http")
    kept = Client(aiotrack.HTTPDestination("http://127.0.0.1:9/"), buffer=FileBuffer(tmp_path / "buffer"))
    async with kept:
        assert kept.stats().total.recovered >= (5 if how == "heals" else 1)
        await kept.aclose(timeout=0)
    assert recorder.events == []


# -- large ------------------------------------------------------------------------------------------

LARGE = """
import asyncio, os, sys, time
import aiotrack

folder, count, what = sys.argv[1], int(sys.argv[2]), sys.argv[3]

class Sink(aiotrack.Destination):
    kind = "sink"
    def frame(self, entries, batch_header):
        return aiotrack.Request(url="x:", body=b"")
    async def send(self, batch):
        return aiotrack.Answer(status=503 if what == "fill" else 200)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

async def main():
    idle = aiotrack.Client(Sink(), buffer=aiotrack.FileBuffer(folder + "-idle"), flush_interval=0.01)
    await idle.start()
    await idle.create_user_context("u").track_event("k")
    await idle.flush(0.5)
    before = resident()
    await idle.aclose(0.5)
    options = {"flush_interval": 3600} if what == "fill" else {"flush_interval": 0.05}
    client = aiotrack.Client(
        Sink(), buffer=aiotrack.FileBuffer(folder, max_bytes=4 << 30, sync="normal"), batch_size=1000, **options
    )
    began = time.monotonic()
    await client.start()
    print("start", time.monotonic() - began)
    user, pad = client.create_user_context("u"), "x" * 3000
    for _ in range(count // 100 if what == "fill" else 0):
        assert all(await asyncio.gather(*(user.track_event("k", {"pad": pad}) for _ in range(100))))
    if what == "fill":
        os._exit(0)
    most = resident()
    while client.stats().total.pending:
        most = max(most, resident())
        await asyncio.sleep(0.005)
    total = client.stats().total
    print("memory", most - before)
    print("delivered", total.delivered, "dropped", total.dropped)
    await client.aclose()

asyncio.run(main())
"""


@pytest.mark.parametrize("flipped", [0, 1])
def test_a_large_backlog_costs_neither_the_start_nor_memory(flipped, tmp_path):
    count = 20_000 if ROUNDS == 1 else 320_000  # 60 MB, or 1 GB
    folder = tmp_path / "buffer"

    def run(what):
        limits = "ulimit -v 700000; " if what == "drain" else ""
        command = f'{limits}exec "{sys.executable}" -c "$0" "{folder}" {count} {what}'
        done = subprocess.run(["bash", "-c", command, LARGE], capture_output=True, text=True, timeout=300)  # noqa: PLW1510, S607
        assert done.returncode == 0, done.stderr[-2000:]
        return done

    run("fill")
    segments = sorted(folder.rglob("*.seg"))
    assert len(segments) > 10
    if flipped:
        with segments[-2].open("r+b") as file:
            file.seek(1_000_000)
            (byte,) = file.read(1)
            file.seek(1_000_000)
            file.write(bytes([byte ^ 1]))
    drained = run("drain")
    said = dict(line.split(" ", 1) for line in drained.stdout.splitlines())
    assert float(said["start"]) < 1.0
    assert int(said["memory"]) < 32 * 1024 * 1024
    assert said["delivered"] == f"{count - flipped} dropped {flipped}"
    assert ("1 events are lost: damaged on disk" in drained.stderr) == bool(flipped)
    assert list(folder.rglob("*.seg")) == []


# -- identity ---------------------------------------------------------------------------------------


async def test_what_waits_for_one_account_is_never_sent_to_another(tmp_path, caplog):
    class Account(Switched):
        def __init__(self, account):
            super().__init__()
            self.account = account

        @property
        def identity(self):
            return aiotrack.extension.Identity("shop", "an account", self.account)

    for account in ("secret-a", "secret-b"):
        async with Client(Account(account), buffer=FileBuffer(tmp_path), shutdown_timeout=0.1) as client:
            assert await client.create_user_context(account).track_event("k")
            assert client.stats().total.recovered == 0
    again = Account("secret-a")
    again.down = False
    async with Client(again, buffer=FileBuffer(tmp_path)) as client:
        await client.flush()
        assert client.stats().total.recovered == 1
    assert [b"secret-a" in entry for entry in again.events] == [True]
    assert "holds 1 events of 'recorder' for shop an account" in caplog.text
    assert "secret-b" not in caplog.text + str(list(tmp_path.rglob("*")))
    assert Counter(path.suffix for path in tmp_path.rglob("*.seg")) == {".seg": 1}


async def test_a_start_is_not_held_up_by_what_is_strange_in_the_folder(tmp_path, monkeypatch):
    """It takes over for half a second, and goes on beside new events."""
    for n in range(5):
        async with Client(Switched(), buffer=FileBuffer(tmp_path), shutdown_timeout=0.05) as client:
            assert await client.create_user_context("u").track_event("k", {"n": n})
        for path in tmp_path.rglob("*.seg"):  # as if each were of another dead process
            name = path.name.split(".", 1)
            path.rename(path.with_name(f"{n:016x}.{name[1]}") if not name[0].startswith("0" * 15) else path)
    take_over = SegmentLog.take_over
    monkeypatch.setattr(SegmentLog, "take_over", lambda log, seconds: take_over(log, 0 if seconds > 0.1 else seconds))
    recorder = Switched()
    recorder.down = False
    async with Client(recorder, buffer=FileBuffer(tmp_path)) as client:
        await client.flush()
        assert client.stats().total.recovered == 5
    assert len(set(recorder.events)) == 5
