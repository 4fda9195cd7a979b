"""`aiotrack plugins`: what is installed, from where, which hooks it has, in which order, and what went wrong."""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import aiotrack
from aiotrack.config import load
from aiotrack.config.factories import DESTINATION, PLUGIN, Kind
from aiotrack.hooks.discovery import Installed, installed
from aiotrack.hooks.hookspecs import HOOKS
from aiotrack.hooks.reserved_tags import Tags
from aiotrack.model.errors import AiotrackError
from aiotrack.model.log import logger

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add `plugins` to the parser."""
    parser = commands.add_parser("plugins", help="what is installed, and what went wrong", description=__doc__)
    parser.add_argument("--config", type=Path, help="a client's TOML file, for its `block`")
    parser.add_argument(
        "--block", action="append", default=[], metavar="NAME", help="leave a plugin out; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_command)


def _command(options: argparse.Namespace) -> int:
    logger.disabled = True  # what can't be loaded is in the list
    try:
        _, settings = load(options.config)
        blocked = {*settings.get("block", ()), *options.block}
        listed = _listed(blocked)
    except AiotrackError as exc:
        print(f"aiotrack plugins: {exc}", file=sys.stderr)
        return 2
    finally:
        logger.disabled = False
    if options.json:
        print(json.dumps(listed, indent=2))
    else:
        _show(listed)
    known = {plugin["name"] for plugin in listed["plugins"]}
    for name in sorted(blocked - known):
        print(f"aiotrack plugins: {name!r} is blocked, and nothing installed is called so", file=sys.stderr)
    return 1 if any(plugin["status"] == "failed" for plugin in listed["plugins"]) else 0


def _listed(block: set[str]) -> dict[str, Any]:
    """Find out what a client with `autoload=True` would have, and in which order it would call it."""
    client = aiotrack.Client(autoload=True, block=block)
    calls = {hook: [name for name, _ in client._plugins.calls[hook]] for hook in HOOKS}  # noqa: SLF001 - of this package
    hooks = {name: [hook for hook in HOOKS if name in calls[hook]] for name in client.stats().plugins}
    built_in: dict[str, Any] = {"name": Tags.name, "version": aiotrack.__version__, "from": "built in"}
    built_in |= {"status": "blocked" if Tags.name in block else "loaded", "hooks": hooks.get(Tags.name, [])}
    plugins = [built_in, *(_described(found, hooks.get(found.name, [])) for found in installed(block))]
    return {
        "plugins": plugins,
        "order": {hook: names for hook, names in calls.items() if names},
        "destinations": _kinds(DESTINATION),
        "plugin kinds": _kinds(PLUGIN),
        "commands": {point.name: _origin(point) for point in _points("aiotrack.commands")},
    }


def _kinds(kind: Kind) -> dict[str, str]:
    """Say what a configuration can name, and where it comes from."""
    installed = {point.name: _origin(point) for point in _points(kind.groups[0])}
    return {**{word: f"aiotrack, {where}, built in" for word, where in kind.built_in.items()}, **installed}


def _points(group: str) -> list[EntryPoint]:
    return sorted(entry_points(group=group), key=lambda point: point.name)


def _described(found: Installed, hooks: list[str]) -> dict[str, Any]:
    distribution = found.point.dist
    described: dict[str, Any] = {
        "name": found.name,
        "version": distribution.version if distribution else None,
        "from": _origin(found.point),
        "status": "blocked" if found.blocked else "failed" if found.error else "loaded",
        "hooks": hooks,
    }
    if found.error is not None:
        described["why"] = f"{type(found.error).__name__}: {found.error}"
    return described


def _origin(point: EntryPoint) -> str:
    """Say which distribution an entry point is of, and where its code is, without importing it."""
    module = sys.modules.get(point.module)
    file = getattr(module, "__file__", None)
    where = file or (str(point.dist.locate_file("")) if point.dist else "unknown")
    return f"{point.dist.name if point.dist else 'unknown'}, {point.value} in {where}"


def _show(listed: dict[str, Any]) -> None:
    for plugin in listed["plugins"]:
        print(f"{plugin['name']} {plugin['version']}: {plugin['status']}")
        print(f"    from   {plugin['from']}")
        if plugin["hooks"]:
            print(f"    hooks  {', '.join(plugin['hooks'])}")
        if "why" in plugin:
            print(f"    why    {plugin['why']}")
    print("\nCall order:")
    for hook, names in listed["order"].items():
        print(f"    {hook}: {', '.join(names)}")
    for what in ("destinations", "plugin kinds", "commands"):
        print(f"\n{what.capitalize()}:")
        for name, origin in listed[what].items():
            print(f"    {name}: {origin}")
