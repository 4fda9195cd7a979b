"""In a folder that others may write to, what somebody else has put there is never written to, read or followed."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support import Recorder

from aiotrack import Client, FileBuffer, LocalStore, errors
from aiotrack.buffers.file.survey import folder_name

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")


def plant(path, kind, target):
    if kind == "link":
        path.symlink_to(target)
        os.lchown(path, NOBODY, NOBODY)
    else:
        path.write_bytes(b"")
        path.chmod(0o666)
        os.chown(path, NOBODY, NOBODY)


@pytest.fixture
def shared(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def lane_folder(folder):
    return folder / folder_name("recorder", Recorder().identity)


@needs_root
@pytest.mark.parametrize("kind", ["link", "folder", "open folder", "file"])
async def test_a_lane_does_not_start_in_a_folder_of_somebody_elses(kind, shared, tmp_path):
    path = lane_folder(shared)
    if kind == "link":
        plant(path, "link", tmp_path)
    elif kind == "file":
        plant(path, "file", None)
    else:
        path.mkdir()
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o777 if kind == "open folder" else 0o700)
    with pytest.raises(errors.StartError, match="recorder~"):
        async with Client(Recorder(), buffer=FileBuffer(shared)):
            pass
    assert list(tmp_path.rglob("*.seg")) == []


async def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path):
    path = lane_folder(tmp_path)
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(errors.StartError, match="everybody may write to this folder: chmod 700"):
        async with Client(Recorder(), buffer=FileBuffer(tmp_path)):
            pass


@pytest.mark.parametrize("to", ["somewhere", "nowhere", "fifo"])
async def test_what_is_no_file_in_the_folder_is_left_where_it_is_and_named(to, tmp_path, caplog):
    path = lane_folder(tmp_path)
    path.mkdir(mode=0o700)
    planted = path / f"{'0' * 16}.00000001.{'0' * 16}.seg"
    (tmp_path / "somewhere").write_bytes(b"x" * 5000)
    if to == "fifo":
        os.mkfifo(planted)
    else:
        planted.symlink_to(tmp_path / to)
    async with Client(Recorder(), buffer=FileBuffer(tmp_path)) as client:
        assert await client.create_user_context("u").track_event("k")
        assert (await client.flush()).delivered == 1
    assert f"{planted} is left where it is" in caplog.text
    assert (tmp_path / "somewhere").read_bytes() == b"x" * 5000
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("owner", "mode"), [(0, 0o777), (0, 0o1777), (0, 0o2775), (1234, 0o2770)])
def test_a_volume_of_an_orchestrators_is_used(owner, mode, tmp_path):
    """Kubernetes: an emptyDir is root's and open to all; with an fsGroup it is root's and its group may write."""
    folder = tmp_path / "volume"
    folder.mkdir()
    os.chown(folder, owner, 4321)
    folder.chmod(mode)
    for parent in folder.parents[:4]:
        if parent != Path("/tmp"):  # noqa: S108 - where pytest has put it
            parent.chmod(0o711)
    program = f"""
import asyncio, os, tempfile
import aiotrack
async def main(folder):
    client = aiotrack.Client(aiotrack.HTTPDestination("http://127.0.0.1:9/"), buffer=aiotrack.FileBuffer(folder))
    await client.start()
    assert await client.create_user_context("u").track_event("k")
    report = await client.aclose(timeout=0.1)
    assert report.pending == 1, report
asyncio.run(main(tempfile.mkdtemp()))  # whatever is imported late is readable for root only
os.setgroups([4321]); os.setgid(4321); os.setuid(1000)
asyncio.run(main({str(folder)!r}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)  # noqa: PLW1510
    assert done.returncode == 0, done.stderr[-2000:]


@needs_root
async def test_a_folder_of_somebody_elses_is_not_used(shared):
    folder = shared / "buffer"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    with pytest.raises(errors.StartError, match="this file is another user's"):
        async with Client(Recorder(), buffer=FileBuffer(folder)):
            pass


@needs_root
@pytest.mark.parametrize("kind", ["link", "file"])
@pytest.mark.parametrize("name", ["a.db", "a.db-wal", "a.db-journal"])
async def test_a_store_does_not_start_on_it(kind, name, shared, tmp_path):
    plant(shared / name, kind, tmp_path / "target")
    with pytest.raises(errors.StartError, match="is another user's"):
        async with Client(LocalStore(shared / "a.db")):
            pass
    assert not (tmp_path / "target").exists()


@needs_root
async def test_elsewhere_whoever_may_write_to_the_folder_is_trusted(tmp_path):
    path = tmp_path / "a.db"
    plant(path, "file", None)
    path.chmod(0o660)  # one that everybody may use is refused everywhere
    async with Client(LocalStore(path)) as client:
        assert await client.create_user_context("u").track_event("k")
        assert (await client.flush()).delivered == 1


async def test_a_link_of_ones_own_is_followed(shared, tmp_path):
    (shared / "a.db").symlink_to(tmp_path / "elsewhere.db")
    async with Client(LocalStore(shared / "a.db")) as client:
        assert await client.create_user_context("u").track_event("k")
    assert stat.S_IMODE((tmp_path / "elsewhere.db").stat().st_mode) == 0o600
