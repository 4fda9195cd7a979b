"""`aiotrack new-plugin`: a package that installs, and whose tests pass at once."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from cookiecutter.generate import generate_context, generate_files  # type: ignore[import-untyped]
from cookiecutter.prompt import prompt_for_config  # type: ignore[import-untyped]

from aiotrack import __version__

__all__ = ["add_command"]

TEMPLATE = Path(__file__).parent / "template"


def add_command(commands: Any) -> None:
    """Add `new-plugin` to the parser."""
    text = "a package of your own, with tests that pass"
    parser = commands.add_parser("new-plugin", help=text, description=__doc__)
    parser.add_argument("name", help="its name, as in `shop` or `aiotrack-shop`")
    parser.add_argument("--into", type=Path, default=Path(), help="the folder to make it in (default: this one)")
    parser.set_defaults(run=_command)


def _command(options: argparse.Namespace) -> int:
    name = options.name.removeprefix("aiotrack-")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        print(f"aiotrack new-plugin: expected a name like 'shop' or 'my-shop', got {options.name!r}", file=sys.stderr)
        return 2
    folder = options.into / f"aiotrack-{name}"
    if folder.exists():
        print(f"aiotrack new-plugin: {folder} exists already", file=sys.stderr)
        return 1
    values = {"name": name, "aiotrack_version": ".".join(__version__.split(".")[:2])}
    context = generate_context(str(TEMPLATE / "cookiecutter.json"), extra_context=values)
    context["cookiecutter"] = prompt_for_config(context, no_input=True)  # the others follow from the name
    generate_files(str(TEMPLATE), context, output_dir=str(options.into))
    print(f"{folder} is there. Next:", f"  cd {folder}", "  pip install -e '.[dev]'", "  pytest", sep="\n")
    return 0
