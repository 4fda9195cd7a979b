"""kill -9 at random points: whatever was acknowledged arrives. `make reliability` runs longer."""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from aiotrack.testing import Collector, Reply

ROUNDS = int(os.environ.get("RELIABILITY_ROUNDS", "5"))
VICTIM = Path(__file__).with_name("victim.py")


async def start(folder, url, what):
    return await asyncio.create_subprocess_exec(
        sys.executable, VICTIM, folder, url, what, stdout=asyncio.subprocess.PIPE
    )


async def read_until_killed(process, lines):
    """Read that many acknowledgements, kill the process, and read what it had said by then."""
    acknowledged = [await process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    acknowledged += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    return {line.decode().strip() for line in acknowledged if line.endswith(b"\n")}


async def drained(folder, url):
    process = await start(folder, url, "drain")
    output, _ = await asyncio.wait_for(process.communicate(), 120)  # three of ten requests fail
    assert process.returncode == 0
    return int(output)


@pytest.mark.parametrize("victims", [1, 3])
async def test_what_was_acknowledged_before_a_kill_arrives(tmp_path, victims):
    seed = random.randrange(10**6)
    chance = random.Random(seed)

    def answer(request):
        roll = chance.random()
        return Reply(status=503) if roll < 0.2 else Reply(lose=True) if roll < 0.3 else None

    acknowledged, rounds = set(), max(ROUNDS // victims, 1)
    async with Collector(answer=answer) as collector:
        for _ in range(rounds):
            processes = [await start(tmp_path, collector.url, "track") for _ in range(victims)]
            killed = [read_until_killed(process, chance.randrange(1, 800)) for process in processes]
            for lines in await asyncio.gather(*killed):
                acknowledged |= lines
            if chance.random() < 0.3:
                await drained(tmp_path, collector.url)
        await drained(tmp_path, collector.url)
        received = Counter(event["event_id"] for event in collector.events())
        assert acknowledged <= received.keys(), f"seed {seed}: {len(acknowledged - received.keys())} are lost"
        assert len(acknowledged) > 10 * rounds
        assert await drained(tmp_path, collector.url) == 0, f"seed {seed}"
    assert list(tmp_path.rglob("*.seg")) == []
