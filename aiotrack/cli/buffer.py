"""`aiotrack buffer`: what waits in a file buffer's folder, for whom; sent, given to another destination, or printed."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

import aiotrack
from aiotrack.buffers.file.moves import adopt
from aiotrack.buffers.file.survey import Waiting, folder_name, old_files, survey, waiting_entries
from aiotrack.config import load
from aiotrack.errors import AiotrackError

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add `buffer` to the parser."""
    parser = commands.add_parser("buffer", help="what waits in a file buffer's folder, for whom", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    status = _action(actions, "status", _status, "say what waits, for whom, since when; reads without locks")
    status.add_argument("--json", action="store_true", help="for programs")
    drain = _action(actions, "drain", _drain, "send what waits, to the destinations of a configuration")
    drain.add_argument("--config", type=Path, required=True, help="a client's TOML file")
    drain.add_argument("--timeout", type=float, default=60.0, help="seconds (default: 60)")
    adopting = _action(actions, "adopt", _adopt, "give what waits for one destination or account to another")
    adopting.add_argument("folder", metavar="FROM", help="the folder that `status` shows, or the part before its ~")
    adopting.add_argument("by", metavar="TO", help="a folder, or with --config the name of a destination")
    adopting.add_argument("--config", type=Path, help="a client's TOML file, where TO is to be found")
    _action(actions, "export", _export, "print each event that waits as a line of JSON; reads without locks")


def _action(actions: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("path", type=Path, metavar="PATH", help="the file buffer's folder")
    parser.set_defaults(run=lambda options: _guarded(name, run, options))
    return parser


def _guarded(name: str, run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    try:
        return run(options)
    except BrokenPipeError:
        return 1
    except (AiotrackError, OSError) as exc:
        print(f"aiotrack buffer {name}: {exc}", file=sys.stderr)
        return 2


# -- status -----------------------------------------------------------------------------------------


def _status(options: argparse.Namespace) -> int:
    found = survey(options.path)
    old = old_files(options.path)
    if options.json:
        print(json.dumps({"lanes": [attrs.asdict(one) for one in found], "old_files": old}, indent=2))
        return 0
    for waiting in found:
        _show(waiting)
    if old:
        print(f"SQLite files of an earlier aiotrack, which that version sends: {', '.join(old)}")
    if not found and not old:
        print(f"{options.path} holds nothing of aiotrack's")
    return 0


def _show(waiting: Waiting) -> None:
    since = "" if waiting.since is None else f", the oldest for {_span(time.time() - waiting.since)}"
    owners = "".join(f", process {pid} is at it" for pid in waiting.owners)
    print(waiting.name)
    print(f"    for      {waiting.lane}: {' '.join(filter(None, (waiting.kind, waiting.account))) or 'not named'}")
    print(f"    waiting  {waiting.events} events, {_size(waiting.size)}{since}{owners}")
    if waiting.dead_letters:
        print(f"    dead     {waiting.dead_letters} letters")
    if waiting.damaged:
        print(f"    damaged  {waiting.damaged} files with what could not be read")
    for what in waiting.left_out:
        print(f"    left out {what}")


def _size(size: int) -> str:
    for unit, least in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= least:
            return f"{size / least:.1f} {unit}"
    return f"{size} bytes"


def _span(seconds: float) -> str:
    for unit, least in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * least:
            return f"{seconds / least:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"


# -- drain, adopt, export ---------------------------------------------------------------------------


def _drain(options: argparse.Namespace) -> int:
    destinations, settings = _destinations(options.config)
    survey(options.path)  # a folder that is not there is a mistake, and not to be made
    settings["buffer"] = aiotrack.FileBuffer(options.path)
    report = asyncio.run(_drained(aiotrack.Client(*destinations, **settings), options.timeout))
    print(f"{report.delivered} delivered, {report.dead} dead, {report.dropped} dropped, {report.pending} still wait")
    owned = [(waiting.lane, pid) for waiting in survey(options.path) for pid in waiting.owners]
    for lane, pid in owned:
        print(f"what process {pid} holds for {lane!r} is sent by that process")
    return 1 if report.pending else 0


def _destinations(config: Path) -> tuple[list[aiotrack.Destination], dict[str, Any]]:
    plugins, settings = load(config)
    return [one for one in plugins if isinstance(one, aiotrack.Destination)], settings


async def _drained(client: aiotrack.Client, timeout: float) -> aiotrack.Report:
    async with client:
        report = await client.flush(timeout)
        await client.aclose(min(timeout, 1.0))
    return report


def _adopt(options: argparse.Namespace) -> int:
    found = survey(options.path)
    source = _one(options.folder, found)
    if options.config is None:
        by = _one(options.by, found)
    else:
        destinations, _ = _destinations(options.config)
        named = {one.name: one for one in destinations}
        if options.by not in named:
            raise aiotrack.errors.ConfigError(f"{options.config} has no destination {options.by!r}")
        by = folder_name(options.by, named[options.by].identity)
    if source == by:
        raise aiotrack.errors.ConfigError(f"{source} is what it would be given to")
    print(f"{adopt(options.path, source, by)} events are {by}'s now: its next look, or its next start, sends them")
    for waiting in survey(options.path):
        if waiting.name == source and waiting.owners:
            print(f"process {waiting.owners[0]} was asked to give the rest when it ends")
    return 0


def _one(name: str, found: list[Waiting]) -> str:
    """Return the folder that is meant. Raises ConfigError."""
    meant = [waiting.name for waiting in found if name in {waiting.name, waiting.lane}]
    if len(meant) != 1:
        what = "more than one is called so" if meant else "there is none"
        raise aiotrack.errors.ConfigError(f"{name}: {what}; {', '.join(one.name for one in found) or 'none at all'}")
    return meant[0]


def _export(options: argparse.Namespace) -> int:
    for waiting, entry, batch_header, at in waiting_entries(options.path):
        line = {"folder": waiting.name, "lane": waiting.lane, "came": at}
        line |= {"entry": _readable(entry), "batch_header": _readable(batch_header)}
        print(json.dumps(line, ensure_ascii=False))
    return 0


def _readable(data: bytes) -> Any:
    """Return what JSON says; text; or the bytes in base 64."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
    try:
        return json.loads(text)
    except ValueError:
        return text
