"""Events through a real loopback server: how many a second, for how much CPU, and the longest loop stall.

Each run is a process of its own: `python -m benchmarks.delivery NAME URL EVENTS BATCH` prints its figures as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from . import collector
from .contestants import CONTESTANTS, installed, quiet
from .rounds import Column, Figures, Results, Section

TICK = 0.001  # seconds
WARM = 2_000
TIMEOUT = 300  # seconds, for one run


async def _timed(name: str, url: str, events: int, batch: int) -> Figures:
    """Run one contestant; the clocks start when it has started and sent some events."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        before = time.perf_counter()
        while True:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            longest, before = max(longest, now - before - TICK), now

    contestant = CONTESTANTS[name](url, batch)
    await contestant.start()
    await contestant.run(min(WARM, events))
    gc.collect()
    memory = _peak()
    watching = asyncio.create_task(watch(), name="watch")
    wall, cpu = time.perf_counter(), time.process_time()
    await contestant.run(events)
    await contestant.finish()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    watching.cancel()
    return {
        "events/s": events / wall,
        "us CPU": cpu / events * 1e6,
        "stall ms": longest * 1e3,
        "peak MB": (_peak() - memory) / 1024,
    }


def _peak() -> int:
    """Return the most KiB that this process has held; `ru_maxrss` would count what its parent held at the fork."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def run(name: str, url: str, events: int, batch: int) -> Figures:
    command = [sys.executable, "-m", "benchmarks.delivery", name, url, str(events), str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


async def _measured(rounds: int, events: int, batch: int) -> Results:
    names = list(installed(CONTESTANTS))
    results: Results = {name: [] for name in names}
    async with collector.running() as url:
        for _ in range(rounds):
            for name in names:
                here = name in {"floor", "aiotrack"}
                number = events if here else min(CONTESTANTS[name].events, events)
                figures = await asyncio.to_thread(run, name, url, number, batch)
                counts = await collector.report(url)
                warm = min(WARM, number)
                assert not here or counts["events"] == counts["unique"] == number + warm, (name, counts)
                figures["requests"] = counts["requests"]
                figures["arrived %"] = counts["events"] / (number + warm) * 100
                results[name].append(figures)
    return results


def _section(batch: int) -> Section:
    def measure(rounds: int, events: int) -> Results:
        return asyncio.run(_measured(max(rounds // 2, 1), events, batch))

    columns = (
        Column("events/s", "{:,.0f}"),
        Column("us CPU"),
        Column("stall ms"),
        Column("peak MB"),
        Column("requests", "{:,.0f}"),
        Column("arrived %", "{:.0f}"),
    )
    return Section(f"end to end, batches of {batch}", columns, "us CPU", measure)


SECTIONS = {"500": _section(500), "100": _section(100)}


if __name__ == "__main__":
    quiet()
    print(json.dumps(asyncio.run(_timed(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))), flush=True)
    os._exit(0)  # some SDKs' timers would keep the process alive
