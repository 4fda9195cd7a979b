"""Draws the house from its own contract: `python docs/picture.py` prints the picture that architecture.md shows.

Floors come from the layers in pyproject.toml, what stands on them from the files, words from their docstrings.
"""

from __future__ import annotations

import ast
import textwrap
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
WIDTH = 118


def floors() -> list[list[str]]:
    """Return the layers from the top down, each with the names that stand side by side in it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["id"] == "wings")
    return [[name.strip() for name in layer.split("|")] for layer in layers]


def words(path: Path) -> str:
    """Return the first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]


def files(wing: Path) -> str:
    """Return what a wing consists of: its files, and its own wings with theirs."""
    inside = sorted(path for path in wing.iterdir() if path.suffix == ".py" and path.stem != "__init__")
    wings = sorted(path for path in wing.iterdir() if (path / "__init__.py").exists())
    return ", ".join([*(path.stem for path in inside), *(f"{path.name}/ ({files(path)})" for path in wings)])


def picture() -> str:
    """Return the picture: the highest floor first; every arrow goes down."""
    lines: list[str] = []
    for floor in floors():
        lines.append("─" * WIDTH)
        for name in floor:
            wing = ROOT / "aiotrack" / name
            is_wing = wing.is_dir()
            shown, file = (f"{name}/", wing / "__init__.py") if is_wing else (f"{name}.py", wing.with_suffix(".py"))
            indent = " " * 18
            lines += textwrap.wrap(f"{shown:18}{words(file)}", WIDTH, subsequent_indent=indent)
            if is_wing:
                lines += textwrap.wrap(f"[{files(wing)}]", WIDTH, initial_indent=indent, subsequent_indent=indent)
    return "\n".join([*lines, "─" * WIDTH])


if __name__ == "__main__":
    print(picture())
