"""Every way to end a program, with every buffer and destination: each event arrives, is kept, or is said lost."""

import asyncio
import itertools
import os
import re
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest

import aiotrack
from aiotrack.testing import Collector

PROGRAMS = Path(__file__).parent / "programs.py"
ALL = int(os.environ.get("RELIABILITY_ROUNDS", "1")) > 1
COUNT = 130
LONGEST = 8.0  # seconds, on a busy machine; a program that hangs never ends

SIGINT, SIGTERM = -signal.SIGINT, -signal.SIGTERM
ENDS = {  # what the program returns, and whether its client is closed
    "closed": (0, True),
    "exception_in_the_block": (1, True),
    "exit_in_the_block": (3, True),
    "interrupted_in_the_block": (SIGINT, True),
    "sigterm": (SIGTERM, True),
    "forked_in_the_block": (0, True),
    "forgotten": (0, False),
    "exception": (1, False),
    "system_exit": (3, False),
    "hard_exit": (0, None),  # nobody can close it, nor say anything
}
BUFFERS = ["memory", "spill", "file"]
DESTINATIONS = ["http", "gzip", "name", "store"]
EVERY = list(itertools.product(ENDS, BUFFERS, DESTINATIONS))
FEW = [combination for number, combination in enumerate(EVERY) if (number + number // 12) % 4 == 0]  # each with each


def lost(errors):
    """Return how many events the log says are lost."""
    return sum(map(int, re.findall(r"(\d+) events are lost", errors)))


async def run(name, folder, url):
    """Run a program; return its exit code, what it said, and how long it took."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error::RuntimeWarning", PROGRAMS, name, folder, url), stderr=asyncio.subprocess.PIPE
    )
    try:
        _, errors = await asyncio.wait_for(process.communicate(), 60)
    except TimeoutError:
        process.kill()
        raise
    return process.returncode, errors.decode(), time.monotonic() - began


async def kept(tmp_path, destination):
    """Deliver what a buffer's files hold."""
    async with aiotrack.Client(destination, buffer=aiotrack.FileBuffer(tmp_path / "buffer")) as client:
        return (await client.flush(10)).delivered


def rows(path):
    """Count the events of a store."""
    if not path.exists():
        return 0
    connection = sqlite3.connect(path)
    try:
        return connection.execute("select count(*) from events").fetchone()[0]
    finally:
        connection.close()


@pytest.mark.parametrize(("name", "kind", "to"), EVERY if ALL else FEW)
async def test_each_event_arrives_is_kept_or_is_said_lost(name, kind, to, tmp_path):
    returns, is_closed = ENDS[name]
    folder = {"memory": "memory", "spill": f"spill:{tmp_path}/buffer", "file": f"{tmp_path}/buffer"}[kind]
    async with Collector() as collector:
        by_name = collector.url.replace("127.0.0.1", "localhost")
        store = tmp_path / "events.db"
        url = {"http": collector.url, "gzip": f"gzip+{collector.url}", "name": by_name, "store": f"store:{store}"}[to]
        returned, errors, took = await run(name, folder, url)
        arrived = rows(store) if to == "store" else len(collector.events())
        assert returned == returns, errors[-2000:]
        assert took < LONGEST
        assert errors.count("Traceback") == {1: 1, SIGINT: 2}.get(returns, 0), errors  # the program's own
        assert "never retrieved" not in errors
        assert "never awaited" not in errors
        if is_closed:
            assert (arrived, lost(errors)) == (COUNT, 0)
            return
        in_file = 0
        if kind != "memory":
            destination = aiotrack.LocalStore(store) if to == "store" else aiotrack.HTTPDestination(url.split("+")[-1])
            in_file = await kept(tmp_path, destination)
        expected = COUNT if is_closed is False or kind == "file" else 0
        assert arrived + in_file + lost(errors) == expected
        assert (in_file == COUNT) == (kind == "file")
