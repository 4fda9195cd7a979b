"""`python -m benchmarks`: one table, each figure beside the floor that was measured in the same run.

The floor is what any such program must do: build a dict, call orjson, append the bytes, and (end to end)
post joined batches with aiohttp.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
from pathlib import Path

from . import buffers, delivery, per_call


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="events sent end to end (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds; the median counts (default: %(default)s)")
    parser.add_argument("--save", type=Path, help="also write the figures to this file, as JSON")
    options = parser.parse_args()
    figures = {
        "machine": {"python": platform.python_version(), "system": platform.platform()},
        "per call": asyncio.run(per_call.measure(options.rounds)),
        "buffers": buffers.measure(max(options.rounds // 2, 1)),
        "delivery": asyncio.run(delivery.measure(options.events, max(options.rounds // 2, 1))),
    }
    per_call.show(figures["per call"])
    buffers.show(figures["buffers"])
    delivery.show(figures["delivery"])
    if options.save:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        options.save.write_text(json.dumps(figures, indent=2) + "\n")
        print(f"saved to {options.save}", file=sys.stderr)


if __name__ == "__main__":
    main()
