"""`aiotrack schema`: look a tracking plan over, and write its events as code."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from aiotrack.errors import ConfigError

from .codegen import drift, generate
from .grammar import plan_errors
from .plan import Plan, read

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add `schema` to the parser of `aiotrack`."""
    parser = commands.add_parser("schema", help="tracking plans: check one, or write its events as code")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser("check", help="name everything that is wrong with a plan")
    check.add_argument("plan", type=Path, help="a .toml, .yaml, .yml or .json file")
    check.set_defaults(run=_check)
    code = actions.add_parser("generate", help="write a class for each event of a plan")
    code.add_argument("plan", type=Path, help="a .toml, .yaml, .yml or .json file")
    code.add_argument("-o", "--output", type=Path, help="the module to write (default: standard output)")
    code.add_argument("--check", action="store_true", help="write nothing; fail when the module has drifted apart")
    code.set_defaults(run=_generate)


def _check(options: argparse.Namespace) -> int:
    try:
        problems = list(plan_errors(read(options.plan)))
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        return 1
    for problem in problems:
        print(f"{options.plan}: {problem}", file=sys.stderr)
    if problems:
        return 1
    plan = Plan.load(options.plan)
    print(f"{options.plan}: {len(plan.events)} events, nothing wrong")
    return 0


def _generate(options: argparse.Namespace) -> int:
    if options.check and options.output is None:
        print("aiotrack schema generate: --check needs the module: -o FILE", file=sys.stderr)
        return 2
    try:
        wanted = generate(Plan.load(options.plan), options.plan.name)
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        return 1
    if options.check:
        code = options.output.read_text(encoding="utf-8") if options.output.exists() else ""
        difference = drift(wanted, code)
        if difference:
            print(difference, end="", file=sys.stderr)
            print(f"{options.output} and {options.plan} have drifted apart", file=sys.stderr)
        return 1 if difference else 0
    if options.output is None:
        print(wanted, end="")
    else:
        try:
            options.output.write_text(wanted, encoding="utf-8")
        except OSError as exc:
            print(f"{options.output}: can't be written: {exc.strerror}", file=sys.stderr)
            return 1
    return 0
