"""`python -m benchmarks`: one table for each question, every figure beside what was measured in the same run.

The floor is what any such program must do: build a dict, call orjson, append the bytes, and (end to end)
post joined batches with aiohttp. Other SDKs take part where they are installed (`pip install -e .[bench]`).
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from . import buffers, commits, delivery, frameworks, growth, life, per_call, plugins, server
from .contestants import CONTESTANTS, installed, quiet
from .rounds import Section, show

SECTIONS: dict[str, Section] = {
    "call": per_call.SECTION,
    "plugins": plugins.SECTION,
    "growth": growth.SECTION,
    "buffers": buffers.SECTION,
    "commits": commits.SECTIONS["500"],
    "commits-1": commits.SECTIONS["1"],
    "million": buffers.MILLION,
    "life": life.LIFE,
    "import": life.IMPORT,
    "delivery": delivery.SECTIONS["500"],
    "delivery-100": delivery.SECTIONS["100"],
    "aiohttp": server.SECTIONS["aiohttp"],
    "starlette": server.SECTIONS["starlette"],
    "frameworks": frameworks.SECTION,
}


def machine() -> dict[str, Any]:
    """Return what the figures were made on, and with which versions."""
    versions = {name: metadata.version(name) for name in ("aiohttp", "orjson", "attrs", "pluggy")}
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {**versions, **installed(CONTESTANTS)},
        "when": time.strftime("%Y-%m-%d %H:%M"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"those of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--events", type=int, default=200_000, help="events sent end to end (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds; the median counts (default: %(default)s)")
    parser.add_argument("--save", type=Path, help="also write the figures to this file, as JSON")
    parser.add_argument("--compare", type=Path, help="show the ratios of a saved run beside today's")
    options = parser.parse_args()
    unknown = set(options.sections) - SECTIONS.keys()
    if unknown:
        parser.error(f"there is no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    quiet()
    before = json.loads(options.compare.read_text())["results"] if options.compare else {}
    saved: dict[str, Any] = {"machine": machine(), "results": {}}
    for name in options.sections or SECTIONS:
        section = SECTIONS[name]
        results = section.measure(options.rounds, options.events)
        show(section, results, before.get(name))
        sys.stdout.flush()
        saved["results"][name] = results
        if options.save:
            options.save.parent.mkdir(parents=True, exist_ok=True)
            options.save.write_text(json.dumps(saved, indent=2) + "\n")


if __name__ == "__main__":
    main()
