"""Systems that lack something: Windows, a frozen program without package metadata."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

import aiotrack
from aiotrack_posthog.destination import VERSION

NEEDS = (
    "path: a FileBuffer needs POSIX file locks (fcntl), which this system does not have; "
    "fallback='memory' starts all the same"
)
WITHOUT = """
import importlib.metadata, os, sys
sys.modules["fcntl"] = None
for name in ("register_at_fork", "fork", "geteuid", "getuid", "fdatasync", "posix_fallocate", "pread", "pwrite"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK"):
    delattr(os, name)
"""

WINDOWS = (
    WITHOUT
    + """
import asyncio, aiotrack
from aiotrack.testing import Collector

async def main():
    async with Collector() as collector:
        async with aiotrack.Client.from_config({"destinations": {
            "web": {"kind": "http", "url": collector.url}, "kept": {"kind": "local", "path": "kept.db"},
        }}) as client:
            assert await client.create_user_context("u").track_event("k")
        print(client.stats().total.delivered)
        try:
            aiotrack.FileBuffer("buffer")
        except aiotrack.errors.ConfigError as exc:
            print(exc)
        buffer = aiotrack.FileBuffer("buffer", fallback="memory")
        async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), buffer=buffer) as client:
            assert await client.create_user_context("u").track_event("k")
        print(client.stats().total.delivered)

asyncio.run(main())
with aiotrack.SyncClient(aiotrack.LocalStore("kept.db")) as client:
    client.create_user_context("u").track_event("k")
print(client.stats().total.delivered)
"""
)


def run(program, folder):
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=folder, env=environ, check=False
    )


def test_windows_has_all_but_the_file_buffer(tmp_path):
    done = run(WINDOWS, tmp_path)
    assert done.stdout.splitlines() == [
        "2",
        NEEDS,
        "1",
        "1",
    ], done.stderr
    assert "events wait in memory, and are lost with this process" in done.stderr


FROZEN = """
import importlib.metadata as metadata
metadata.entry_points = lambda **_: metadata.EntryPoints()
def version(name):
    raise metadata.PackageNotFoundError(name)
metadata.version = version
import aiotrack, aiotrack_optimizely, aiotrack_posthog, aiotrack_vwo, aiotrack_log, aiotrack_schema, aiotrack_privacy
aiotrack_posthog.PostHog("k")
aiotrack.Client(autoload=True)
client = aiotrack.Client.from_config({
    "buffer": {"kind": "spill", "path": "b"},
    "destinations": {"web": {"kind": "http", "url": "http://127.0.0.1:9"},
                     "vwo": {"kind": "aiotrack_vwo:VWO", "account_id": 1, "sdk_key": "k"}},
    "plugins": {"log": {"kind": "aiotrack_log:EventLog"}},
})
print(aiotrack.__version__, list(client.stats().plugins))
"""


def test_a_frozen_program_needs_no_metadata(tmp_path):
    done = run(FROZEN, tmp_path)
    assert done.stdout.strip() == f"{aiotrack.__version__} ['tags', 'log', 'web', 'vwo']", done.stderr


def test_posthogs_version_is_that_of_its_package():
    assert version("aiotrack-posthog") == VERSION


async def test_a_store_that_everybody_can_read_is_made_private(tmp_path, caplog):
    path = tmp_path / "kept.db"
    path.touch()
    path.chmod(0o644)
    async with aiotrack.Client(aiotrack.LocalStore(path)) as client:
        assert await client.create_user_context("u").track_event("k")
        await client.flush()
        assert {one.stat().st_mode & 0o777 for one in tmp_path.iterdir()} == {0o600}
    assert "could be used by everybody, and has mode 0600 now" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="to make another user's file needs root")
async def test_one_that_is_another_users_is_refused(tmp_path):
    path = tmp_path / "kept.db"
    path.touch()
    path.chmod(0o644)
    os.chown(path, 65534, 65534)
    with pytest.raises(aiotrack.errors.StartError, match=r"it is another user's \(uid 65534\)"):
        await aiotrack.Client(aiotrack.LocalStore(path)).start()
    assert path.stat().st_mode & 0o777 == 0o644
