"""In a folder that others may write to, what somebody else has put there is never written to, read or followed."""

import os
import stat

import pytest
from support import Recorder, assert_conserved

from aiotrack import Client, FileBuffer, LocalStore, errors

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


@needs_root
@pytest.mark.parametrize("kind", ["link", "file"])
@pytest.mark.parametrize("name", ["recorder.0.db", "recorder.0.lock", "recorder.0.db-wal"])
async def test_a_file_buffer_leaves_it_alone_says_so_and_takes_another(kind, name, shared, tmp_path, caplog):
    plant(shared / name, kind, tmp_path / "target")
    recorder = Recorder()
    for _ in range(2):
        async with Client(recorder, buffer=FileBuffer(shared)) as client:
            assert await client.create_user_context("u").track_event("k", {"card": "secret-value"})
            assert (await client.flush()).delivered == 1
            assert_conserved(client)
    assert not (tmp_path / "target").exists()
    if kind == "file":
        assert (shared / name).read_bytes() == b""
    assert "recorder.0.db is left alone: [Errno 1] this" in caplog.text
    assert f"is another user's (uid {NOBODY})" in caplog.text


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
    async with Client(LocalStore(path)) as client:
        assert await client.create_user_context("u").track_event("k")
        assert (await client.flush()).delivered == 1


async def test_a_link_of_ones_own_is_followed(shared, tmp_path):
    (shared / "a.db").symlink_to(tmp_path / "elsewhere.db")
    async with Client(LocalStore(shared / "a.db")) as client:
        assert await client.create_user_context("u").track_event("k")
    assert stat.S_IMODE((tmp_path / "elsewhere.db").stat().st_mode) == 0o600
