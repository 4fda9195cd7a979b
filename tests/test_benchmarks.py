"""The benchmarks run, count what arrives, and compare runs as they say they do."""

import asyncio
import json
import subprocess
import sys

from benchmarks import collector, delivery, rounds


def test_a_ratio_is_taken_within_each_round():
    """A machine that gets slower by the round changes the figures, and not the ratio."""
    base = [{"us": 1.0}, {"us": 10.0}, {"us": 100.0}]
    other = [{"us": 2.0}, {"us": 20.0}, {"us": 200.0}]
    assert rounds.ratio(other, base, "us") == 2.0
    assert rounds.median(other, "us") == 20.0
    assert rounds.ratio(other, base, "what nobody measured") is None


def test_cases_take_turns_and_the_first_round_may_not_count():
    turns = []
    cases = {name: lambda name=name: turns.append(name) or {"turn": len(turns)} for name in "ab"}
    assert rounds.in_turn(cases, 2, warm=True) == {"a": [{"turn": 3}, {"turn": 5}], "b": [{"turn": 4}, {"turn": 6}]}
    assert "".join(turns) == "ababab"


async def test_every_event_of_a_run_end_to_end_arrives_once():
    """Ours and the bare loop's; the collector, in a process of its own, counts."""
    async with collector.running() as url:
        for name in ("floor", "aiotrack"):
            figures = await asyncio.to_thread(delivery.run, name, url, 3_000, 100)
            counts = await collector.report(url)
            assert counts["events"] == counts["unique"] == 3_000 + delivery.WARM
            assert figures["events/s"] > 0 < figures["us CPU"]


def test_a_run_can_be_saved_and_compared_with(tmp_path):
    """`--save` writes all figures and what they were made on; `--compare` shows them beside today's."""
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "life", "--rounds", "1"]
    subprocess.run([*command, "--save", str(file)], check=True, capture_output=True, timeout=60)
    saved = json.loads(file.read_text())
    assert saved["machine"]["versions"]["orjson"]
    assert saved["results"]["life"]["10,000 events pending"][0].keys() == {"ms start", "ms flush", "ms close"}
    done = subprocess.run([*command, "--compare", str(file)], check=True, capture_output=True, text=True, timeout=60)
    assert "saved" in done.stdout.splitlines()[1]


def test_an_unknown_section_is_named():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "latency"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "there is no section latency" in done.stderr
