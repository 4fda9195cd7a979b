"""The house: its walls hold, its picture is true, and its files and functions keep their caps."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "aiotrack"
PAGE = ROOT / "docs/architecture.md"
UPWARD = "A wing imports only what stands below it"
PUBLIC = ("aiotrack", "aiotrack.errors", "aiotrack.testing", "aiotrack.extension", "aiotrack.integrations")


def modules():
    return [path for path in CORE.rglob("*.py") if "template" not in path.parts]


def test_the_picture_is_the_one_that_the_command_draws():
    drawn = subprocess.check_output([sys.executable, ROOT / "docs/picture.py"], text=True)
    assert drawn in PAGE.read_text()


def test_every_file_has_a_line_that_says_what_it_is_for():
    rows = re.findall(r"^\| .* \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    listed = {path for row in rows for path in re.findall(r"`(\S+)`", row)}
    files = {str(path.relative_to(CORE)).replace("buffers/file/", "") for path in modules()}
    files -= {name for name in files if name.endswith(("__init__.py", "__main__.py"))}
    assert files - listed == set()
    elsewhere = {"buffers/file/", "tracking/", "__init__.py", "plugins/aiotrack-NAME/aiotrack_NAME/destination.py"}
    assert listed - files == elsewhere | {"encode", "frame"}


def test_files_and_functions_keep_their_caps():
    for path in [*modules(), *(path for path in ROOT.glob("plugins/*/aiotrack_*/*.py"))]:
        text = path.read_text()
        assert text.count("\n") <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 60, (path, node.name)


def test_every_wing_says_that_it_is_private():
    for path in CORE.glob("*/__init__.py"):
        if path.parent.name not in {"testing", "cli", "integrations"}:
            assert "may change without notice. Import from `aiotrack` or `aiotrack.extension`." in path.read_text(), (
                path
            )


@pytest.fixture
def copy(tmp_path):
    """A copy of the core, its contract and a plugin, to break."""
    shutil.copytree(CORE, tmp_path / "aiotrack", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "plugins/aiotrack-log/aiotrack_log", tmp_path / "aiotrack_log")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def contract(folder):
    command = [Path(sys.executable).parent / "lint-imports", "--no-logo", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return ended.returncode, ended.stdout


def test_the_walls_hold(copy):
    code, said = contract(copy)
    assert code == 0, said
    assert "3 kept, 0 broken" in said


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        (
            "aiotrack/model/batch.py",
            "from aiotrack.lanes.lane import Lane\n",
            UPWARD,
        ),
        (
            "aiotrack/buffers/base.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from aiotrack.client import Client\n",
            UPWARD,
        ),
        ("aiotrack/lanes/schedule.py", "from .lane import Lane\n", "No file imports one that imports it"),
        ("aiotrack_log/plugin.py", "from aiotrack.model.log import logger\n", "Plugins import nothing but the public"),
    ],
    ids=["an import that goes up", "for type checkers only", "a circle in a wing", "a plugin that looks inside"],
)
def test_what_breaks_a_wall_is_found(file, line, broken, copy):
    path = copy / file
    path.write_text(
        path.read_text().replace(
            "from __future__ import annotations\n", f"from __future__ import annotations\n{line}", 1
        )
    )
    code, said = contract(copy)
    assert code == 1
    assert re.search(rf"{broken}.* BROKEN", said)


def test_the_template_imports_only_what_is_public():
    for path in (CORE / "cli/template").rglob("*.py"):
        imported = re.findall(r"^(?:from|import) (aiotrack[\w.]*)", path.read_text(), re.MULTILINE)
        assert imported
        assert set(imported) <= set(PUBLIC), path
