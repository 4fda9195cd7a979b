"""The `aiotrack` command. Needs the extra `cli`: `pip install 'aiotrack[cli]'`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="aiotrack", description="Asyncio-native event tracking.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    try:
        from . import demo  # noqa: PLC0415 - it imports rich, which only the extra brings
    except ModuleNotFoundError as exc:
        print(f"aiotrack: {exc.name} is missing: pip install 'aiotrack[cli]'", file=sys.stderr)
        return 2
    demo.add_command(commands)
    options = parser.parse_args(arguments)
    code: int = options.run(options)
    return code
