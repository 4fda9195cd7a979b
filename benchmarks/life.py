"""How long a client takes to start, to flush and to close, and what importing it costs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import aiotrack

from . import collector
from .rounds import Column, Figures, Results, Section, in_turn
from .work import ATTRIBUTES, KEY, TAGS, USER

PENDING = 10_000


async def _lives(url: str) -> Figures:
    client = aiotrack.Client(aiotrack.HTTPDestination(f"{url}/events"), flush_interval=60, batch_size=500)
    marks = [time.perf_counter()]
    await client.start()
    marks.append(time.perf_counter())
    user = client.create_user_context(USER, ATTRIBUTES)
    for _ in range(PENDING):
        user.track_event_nowait(KEY, TAGS)
    started = time.perf_counter()
    report = await client.flush()
    assert report.delivered == PENDING
    flushed = time.perf_counter()
    await client.aclose()
    return {
        "ms start": (marks[1] - marks[0]) * 1e3,
        "ms flush": (flushed - started) * 1e3,
        "ms close": (time.perf_counter() - flushed) * 1e3,
    }


async def _measured(rounds: int) -> Results:
    async with collector.running() as url:
        return {f"{PENDING:,} events pending": [await _lives(url) for _ in range(rounds)]}


def _imported(statement: str, cache: str) -> Callable[[], Figures]:
    """Time an import in a fresh interpreter, in processor time; its modules are compiled, as after an installation."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    code = f"import time; before = time.process_time(); {statement}; print(time.process_time() - before)"

    def run() -> Figures:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        return {"ms": float(done.stdout) * 1e3}

    return run


def _imports(rounds: int, events: int) -> Results:
    names = ("aiohttp", "aiotrack")
    with tempfile.TemporaryDirectory() as cache:
        cases = {f"import {name}": _imported(f"import {name}", cache) for name in names}
        return in_turn(cases, rounds * 2, warm=True)


LIFE = Section(
    "life of a client",
    (Column("ms start"), Column("ms flush"), Column("ms close")),
    None,
    lambda rounds, events: asyncio.run(_measured(rounds)),
)
IMPORT = Section(
    "import",
    (Column("ms"),),
    "ms",
    _imports,
)
