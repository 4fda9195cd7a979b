"""`aiotrack plugins` and `aiotrack new-plugin`, in environments of their own where packages are really installed."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from aiotrack.cli import main

STRANGER = Path(__file__).parents[1] / "strangers/aiotrack-weekend"
"""Written, with its tests, by somebody who had the documents and nothing else."""

BROKEN = {
    "pyproject.toml": """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "aiotrack-broken"
version = "0.3"

[project.entry-points.aiotrack]
broken = "aiotrack_broken"
async-check = "aiotrack_async:plugin"

[tool.hatch.build.targets.wheel]
include = ["*.py"]
""",
    "aiotrack_broken.py": 'raise ImportError("half installed")\n',
    "aiotrack_async.py": """
import aiotrack

class Plugin:
    @aiotrack.hookimpl
    async def aiotrack_check_event(self, event): ...

plugin = Plugin()
""",
}


class Environment:
    """A virtual environment that sees what this one has, and what is installed into it."""

    def __init__(self, folder):
        self.folder = folder
        self.run(sys.executable, "-m", "venv", "--without-pip", str(folder))
        (site,) = folder.glob("lib/python*/site-packages")
        host = sysconfig.get_path("purelib")
        (site / "host.pth").write_text(f"import site; site.addsitedir({host!r})\n")
        self.python = str(folder / "bin/python")

    def run(self, *command, cwd=None, code=0):
        ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout

    def install(self, package):
        options = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
        self.run(self.python, "-m", "pip", "install", *options, str(package))

    def aiotrack(self, *arguments, code=0):
        return self.run(self.python, "-m", "aiotrack.cli", *arguments, cwd=self.folder, code=code)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """One for all tests here: with a plugin from the template, and a distribution whose plugins can't be used."""
    folder = tmp_path_factory.mktemp("environments")
    environment = Environment(folder / "venv")
    environment.aiotrack("new-plugin", "my-shop", "--into", str(folder))
    environment.install(folder / "aiotrack-my-shop")
    (folder / "broken").mkdir()
    for name, text in BROKEN.items():
        (folder / "broken" / name).write_text(text)
    environment.install(folder / "broken")
    environment.package = folder / "aiotrack-my-shop"
    environment.stranger = folder / "aiotrack-weekend"
    shutil.copytree(STRANGER, environment.stranger)
    environment.install(environment.stranger)
    return environment


def test_a_new_plugin_passes_its_own_tests_at_once(environment):
    run = [environment.python, "-W", "error", "-m"]
    assert " passed" in environment.run(*run, "pytest", "-q", "-p", "no:cacheprovider", cwd=environment.package)
    environment.run(*run, "mypy", "--cache-dir", "/dev/null", "aiotrack_my_shop", cwd=environment.package)
    environment.run(*run, "ruff", "check", "--no-cache", "--isolated", ".", cwd=environment.package)
    files = {str(path.relative_to(environment.package)) for path in environment.package.rglob("*") if path.is_file()}
    assert {
        "pyproject.toml",
        "README.md",
        ".gitignore",
        "aiotrack_my_shop/__init__.py",
        "aiotrack_my_shop/py.typed",
    } <= files
    assert not any(
        "cookiecutter" in Path(environment.package, name).read_text() for name in files if "pycache" not in name
    )


def test_its_readme_runs(environment, tmp_path):
    program = (environment.package / "README.md").read_text().split("```python\n")[1].split("```")[0]
    environment.run(environment.python, "-W", "error", "-c", program, cwd=tmp_path)


def test_it_is_found_runs_and_can_be_blocked(environment, tmp_path):
    program = """
import asyncio, aiotrack

async def main():
    for block in (["weekend"], ["weekend", "my-shop"]):
        heard = []
        async with aiotrack.Client(aiotrack.LocalStore("events.db"), autoload=True, block=block) as client:
            client.on("aiotrack_event_tracked", heard.append)
            await client.create_user_context("ann").track_event("purchase")
        stats = client.stats().plugins
        print("my-shop" in stats, stats["broken"].errors, stats["async-check"].errors, heard[0].tags)

asyncio.run(main())
"""
    said = environment.run(environment.python, "-c", program, cwd=tmp_path)
    assert said.splitlines() == ["True 1 1 {'source': 'my-shop'}", "False 1 1 {}"]


def test_a_strangers_plugin_passes_its_tests_where_it_is_installed(environment):
    run = [environment.python, "-W", "error", "-m"]
    said = environment.run(*run, "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=environment.stranger)
    assert "18 passed" in said


def test_a_strangers_plugin_is_found_runs_is_blocked_and_fails_safely(environment, tmp_path):
    program = """
import asyncio, logging, aiotrack, aiotrack_weekend

logging.basicConfig(format="%(message).60s")
SATURDAY = 1_700_265_600_000

async def tracked(*plugins, block=(), revenue=5):
    heard = []
    options = {"autoload": True, "block": ["broken", "async-check", "my-shop", *block]}
    async with aiotrack.Client(aiotrack.LocalStore("events.db"), *plugins, **options) as client:
        client.on("aiotrack_event_tracked", heard.append)
        await client.create_user_context("ann").track_event("purchase", {"revenue": revenue}, timestamp=SATURDAY)
    return [event.tags.get("weekend") for event in heard], client.stats().plugins.get("weekend")

async def main():
    print("found", *await tracked())
    print("checks", (await tracked(revenue=10**9))[0])
    print("with options", *await tracked(aiotrack_weekend.Weekend(limit=10**10), revenue=10**9))
    print("blocked", *await tracked(block=["weekend"]))
    aiotrack_weekend.plugin.limit = "no number"
    print("fails", *await tracked())

asyncio.run(main())
"""
    said = environment.run(environment.python, "-c", program, cwd=tmp_path)
    assert said.splitlines() == [
        "found [True] PluginStats(errors=0, dropped=0, slow=0)",
        "checks []",
        "with options [True] PluginStats(errors=0, dropped=0, slow=0)",
        "blocked [None] None",
        "fails [True] PluginStats(errors=2, dropped=0, slow=0)",
    ]


def test_the_list_says_what_is_there_and_what_went_wrong(environment):
    listed = json.loads(environment.aiotrack("plugins", "--json", code=1))
    plugins = {plugin["name"]: plugin for plugin in listed["plugins"]}
    shop = plugins["my-shop"]
    assert (shop["version"], shop["status"]) == ("0.1.0", "loaded")
    assert shop["hooks"] == ["aiotrack_check_event", "aiotrack_process_event"]
    assert shop["from"].startswith("aiotrack-my-shop, aiotrack_my_shop:plugin in ")
    assert str(environment.folder) in shop["from"]
    assert plugins["tags"]["from"] == "built in"
    assert plugins["broken"]["status"] == "failed"
    assert plugins["broken"]["why"] == "ImportError: half installed"
    assert plugins["broken"]["version"] == "0.3"
    assert "must be a plain `def`, got `async def`" in plugins["async-check"]["why"]
    assert listed["order"]["aiotrack_check_event"] == ["my-shop", "weekend"]
    assert {"http", "local"} <= listed["destinations"].keys()
    assert {"demo", "new-plugin", "plugins"} <= listed["commands"].keys()


def test_the_list_for_people_says_the_same(environment):
    said = environment.aiotrack("plugins", "--block", "broken", "--block", "async-check")
    assert "broken 0.3: blocked" in said
    assert "my-shop 0.1.0: loaded\n    from   aiotrack-my-shop, aiotrack_my_shop:plugin in " in said
    assert "Call order:\n" in said
    assert "weekend 0.1.0: loaded" in said
    assert "    aiotrack_check_event: my-shop, weekend\n" in said
    assert "    why    ImportError: half installed" in environment.aiotrack("plugins", code=1)


def test_what_is_blocked_in_a_config_file_is_blocked(environment, tmp_path):
    (tmp_path / "aiotrack.toml").write_text('block = ["broken", "async-check", "my-shop"]\n')
    listed = json.loads(environment.aiotrack("plugins", "--json", "--config", str(tmp_path / "aiotrack.toml")))
    assert {p["name"]: p["status"] for p in listed["plugins"]}["my-shop"] == "blocked"
    (tmp_path / "aiotrack.toml").write_text("block = 5\n")
    environment.aiotrack("plugins", "--config", str(tmp_path / "aiotrack.toml"), code=2)


@pytest.mark.parametrize("name", ["Shop", "my_shop", "../shop", "9shop", "-", "shop-", ""])
def test_a_name_that_can_not_be_a_packages_is_refused(name, tmp_path, capsys):
    assert main(["new-plugin", "--into", str(tmp_path), "--", name]) == 2
    assert "expected a name like 'shop' or 'my-shop'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "aiotrack-shop").mkdir()
    assert main(["new-plugin", "aiotrack-shop", "--into", str(tmp_path)]) == 1
    assert "aiotrack-shop exists already" in capsys.readouterr().err


def test_a_subcommand_that_can_not_be_loaded_says_why_and_leaves_the_others_alone(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cookiecutter.generate", None)
    monkeypatch.delitem(sys.modules, "aiotrack.cli.new_plugin", raising=False)
    assert main(["new-plugin", "shop"]) == 2
    assert (
        "aiotrack new-plugin: cookiecutter.generate is missing: pip install 'aiotrack[cli]'" in capsys.readouterr().err
    )
    assert main(["plugins", "--json"]) == 0
