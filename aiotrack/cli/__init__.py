"""The `aiotrack` command. Its subcommands are entry points in the group `aiotrack.commands`, plugins' like ours."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

__all__ = ["main"]

GROUP = "aiotrack.commands"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="aiotrack", description="Asyncio-native event tracking.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        _add(point, commands)
    options = parser.parse_args(arguments)
    code: int = options.run(options)
    return code


def _add(point: EntryPoint, commands: Any) -> None:
    """Add one subcommand; one that can't be loaded says why when it is called, and leaves the others alone."""
    try:
        point.load()(commands)
    except Exception as exc:  # noqa: BLE001 - importing runs foreign code
        hint = f"{type(exc).__name__}: {exc}"
        if isinstance(exc, ModuleNotFoundError) and point.value.startswith("aiotrack."):
            hint = f"{exc.name} is missing: pip install 'aiotrack[cli]'"
        broken = commands.add_parser(point.name, help=f"can't be loaded: {hint}", add_help=False)
        broken.add_argument("rest", nargs=argparse.REMAINDER)
        broken.set_defaults(run=lambda _: _say(f"aiotrack {point.name}: {hint}"))


def _say(message: str) -> int:
    print(message, file=sys.stderr)
    return 2
