"""The documents: their programs run as they stand, and what they list is what there is."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from aiotrack import Client, hookspecs
from aiotrack.registration import HOOKS
from aiotrack.settings import Settings

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/**/*.md")])


def blocks(language):
    for document in DOCUMENTS:
        text = document.read_text()
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text[: match.start()].count("\n") + 1
            yield pytest.param(match.group(1), id=f"{document.relative_to(ROOT)}:{line}")


@pytest.mark.parametrize("program", list(blocks("python")))
def test_every_program_runs_as_it_stands(program, tmp_path):
    for name, text in TOML_FILES.items():
        (tmp_path / name).write_text(text)
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


TOML_FILES = {}
for block in blocks("toml"):
    named = re.match(r"# (\S+\.toml)\n", block.values[0])
    if named:
        TOML_FILES[named.group(1)] = block.values[0]


@pytest.mark.parametrize("document", list(blocks("toml")))
def test_every_config_makes_a_client(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text(document)

    assert Client.from_config("a.toml").stats().plugins


def test_the_readme_shows_a_program_before_line_40():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert "```python" in lines[:39]
    assert "asyncio.run(main())" in lines[:39]


def test_the_page_of_hooks_lists_every_hook_with_its_arguments_and_colour():
    page = (ROOT / "docs/plugins.md").read_text()
    for name, spec in HOOKS.items():
        arguments = ", ".join(inspect.signature(spec).parameters)
        colour = "async" if inspect.iscoroutinefunction(spec) else "sync"
        assert f"| `{name}({arguments})` | {colour}" in page
    listed = set(re.findall(r"^\| `(aiotrack_\w+)\(", page, re.MULTILINE))
    assert listed == {name for name in vars(hookspecs) if name.startswith("aiotrack_")}


def test_the_page_of_options_lists_every_option():
    page = (ROOT / "docs/configuration.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)` \| ", page, re.MULTILINE)) - {"http", "local"}
    assert listed == {field.name for field in attrs.fields(Settings)} | {"buffer"}
    assert listed | {"plugins", "self", "clock"} == set(inspect.signature(Client.__init__).parameters)


def test_the_house_has_a_line_for_every_file():
    page = (ROOT / "docs/house.md").read_text()
    files = {path.name for folder in ("aiotrack", "aiotrack/file_buffer") for path in (ROOT / folder).glob("*.py")}
    files -= {"__init__.py", "catalog.py", "errors.py"}
    assert {name for name in files if f"`{name}`" not in page} == set()


def test_links_between_documents_lead_somewhere():
    for document in DOCUMENTS:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text()):
            assert (document.parent / link).exists(), (document, link)


def test_core_files_and_functions_keep_their_caps():

    for path in (ROOT / "aiotrack").rglob("*.py"):
        if "template" in path.parts:
            continue
        text = path.read_text()
        assert text.count("\n") <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 60, (path, node.name)
