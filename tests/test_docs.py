"""The documents: their programs run as they stand, and what they list is what there is."""

import ast
import asyncio
import inspect
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import aiotrack.extension
from aiotrack import Client, LocalStore, hookspecs
from aiotrack.destinations.base import DestinationOptions
from aiotrack.destinations.http import HTTPOptions
from aiotrack.hooks.hookspecs import HOOKS
from aiotrack.hooks.registration import hooks_of
from aiotrack.hooks.reserved_tags import StrictTags
from aiotrack.model.settings import Settings
from aiotrack_log import EventLog
from aiotrack_privacy import Privacy
from aiotrack_schema import Schema

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/**/*.md")])


PYTEST = ["pytest", "-q", "-p", "no:cacheprovider", "-p", "no:unraisableexception"]


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
    (tmp_path / "test_program.py").write_text(program)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    is_test = "def test_" in program or "class Test" in program
    ended = subprocess.run(
        [sys.executable, "-W", "error", *(["-m", *PYTEST] if is_test else ["test_program.py"])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


TOML_FILES = {}
for block in blocks("toml"):
    named = re.match(r"# (\S+\.toml)\n", block.values[0])
    if named:
        TOML_FILES[named.group(1)] = block.values[0]


@pytest.mark.parametrize("document", list(blocks("toml")))
def test_every_config_makes_a_client(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text(document)
    (tmp_path / "plan.toml").write_text("[events.purchase]")

    assert Client.from_config("a.toml").stats().plugins


def test_the_readme_shows_a_program_before_line_40():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert "```python" in lines[:39]
    assert "asyncio.run(main())" in lines[:39]


def sections():
    """The page of hooks, by hook."""
    page = (ROOT / "docs/plugins/hooks.md").read_text()
    return dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))


def test_the_page_of_hooks_has_a_section_for_each_in_the_order_of_the_specs():
    assert list(sections()) == [name for name in vars(hookspecs) if name.startswith("aiotrack_")]


@pytest.mark.parametrize("hook", HOOKS)
def test_the_section_of_a_hook_is_whole(hook):
    """The exact signature, the colour, when, what the answer and raising mean, an example of it, and who uses it."""
    text = sections()[hook]
    colour = "async" if inspect.iscoroutinefunction(HOOKS[hook]) else "sync"
    signature = f"{'async ' if colour == 'async' else ''}def {hook}{inspect.signature(HOOKS[hook])}".replace("'", "")
    assert f"```text\n{signature}\n```" in text
    assert f"- **Colour**: {colour}" in text
    words = re.findall(r"^- \*\*(.+?)\*\*: ", text, re.MULTILINE)
    assert words == ["Colour", "When", "Answer", "Raising", "Used by"]
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert f"def {hook}(" in example
    assert "assert " in example


def template():
    """The plugin that a new one begins as."""
    (source,) = (ROOT / "aiotrack/cli/template").rglob("__init__.py")
    namespace = {"__name__": "template"}
    program = re.sub(r"\{\{cookiecutter\.\w+\}\}", "Mine", source.read_text())
    exec(program, namespace)  # noqa: S102 - it is ours
    return namespace["plugin"]


def shipped():
    """What ships with aiotrack, by name."""
    return {
        "tags": StrictTags(),
        "`aiotrack new-plugin`": template(),
        "every destination": LocalStore("x.db"),
        "aiotrack-schema": Schema({"events": {"k": {}}}, unlisted="refuse"),
        "aiotrack-privacy": Privacy(consent=asyncio.sleep),
        "aiotrack-log": EventLog(),
    }


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_used_by_what_ships_and_the_page_says_by_whom(hook):
    used_by = next(line for line in sections()[hook].splitlines() if line.startswith("- **Used by**"))
    users = {name for name, plugin in shipped().items() if hook in hooks_of(plugin)}
    assert users
    assert {name for name in shipped() if re.search(rf"{name}(?!\w)", used_by)} == users


def test_every_hook_has_a_test_of_its_name():
    tests = ast.parse((ROOT / "tests/hooks/test_hooks.py").read_text()).body
    names = {test.name for test in tests if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert {hook for hook in HOOKS if not any(name.startswith(f"test_{hook}_") for name in names)} == set()


HTTP_OPTIONS = set(HTTPOptions.__optional_keys__ - DestinationOptions.__optional_keys__)


def test_the_page_of_options_lists_those_of_every_http_destination():
    page = (ROOT / "docs/configuration.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \| ", page, re.MULTILINE)) >= HTTP_OPTIONS


def test_the_page_of_options_lists_every_option():
    page = (ROOT / "docs/configuration.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)` \| ", page, re.MULTILINE)) - {"http", "local", "console", *HTTP_OPTIONS}
    assert listed == {field.name for field in attrs.fields(Settings)} | {"buffer", "json_default"}
    assert listed | {"plugins", "self", "clock"} == set(inspect.signature(Client.__init__).parameters)


def test_links_between_documents_lead_somewhere():
    for document in DOCUMENTS:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text()):
            assert (document.parent / link).exists(), (document, link)


def test_the_page_for_authors_names_everything_that_they_may_import():
    page = (ROOT / "docs/plugins/destinations.md").read_text()
    assert {name for name in aiotrack.extension.__all__ if f"`{name}`" not in page} == set()
    assert {name for name in aiotrack.extension.__all__ if not hasattr(aiotrack.extension, name)} == set()


def test_the_table_of_values_is_the_one_that_the_command_draws():
    drawn = subprocess.run([sys.executable, ROOT / "docs/values_table.py"], capture_output=True, text=True, check=True)
    assert drawn.stdout in (ROOT / "docs/values.md").read_text()


def test_the_table_of_mistakes_is_the_one_that_the_command_draws():
    drawn = subprocess.run(
        [sys.executable, ROOT / "docs/mistakes_table.py"], capture_output=True, text=True, check=True
    )
    assert drawn.stdout in (ROOT / "docs/mistakes.md").read_text()
    assert drawn.stdout.count("\n") >= 2 + 20


def differences(readme):
    """Return the left cells of a README's list of differences from a vendor's SDK."""
    table = readme.read_text().partition("## Different, on purpose\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ")[0] for line in table.splitlines() if line.startswith("| ")]
    return rows[1:]


@pytest.mark.parametrize("name", ["optimizely", "posthog", "vwo"])
def test_every_difference_from_a_vendors_sdk_is_a_test(name):
    plugin = ROOT / "plugins" / f"aiotrack-{name}"
    tree = ast.parse((plugin / "tests" / f"test_{name}_differences.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    tested = {ast.get_docstring(function) for function in functions if function.name.startswith("test_")}
    listed = differences(plugin / "README.md")
    assert listed
    assert tested == set(listed)
