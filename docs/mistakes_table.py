"""Draw the table of docs/mistakes.md: what a new user is told. `python docs/mistakes_table.py`."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiotrack
from aiotrack import Client, FileBuffer, HTTPDestination, hookimpl
from aiotrack.errors import AiotrackError
from aiotrack_optimizely import Optimizely
from aiotrack_posthog import PostHog
from aiotrack_privacy import Privacy
from aiotrack_schema import Schema
from aiotrack_vwo import VWO

URL = "http://127.0.0.1:9/in"


class Misspelt:
    @hookimpl
    def aiotrack_event_track(self, event: aiotrack.Event) -> None: ...


class Async:
    @hookimpl
    async def aiotrack_process_event(self, event: aiotrack.Event) -> aiotrack.Event:
        return event


class Unmarked:
    def aiotrack_event_tracked(self, event: aiotrack.Event) -> None: ...


async def too_early() -> Any:
    return await Client(HTTPDestination(URL)).create_user_context("u").track_event("k")


async def shared() -> None:
    destination = HTTPDestination(URL)
    async with Client(destination):
        await Client(destination).start()


async def tracked(key: Any, tags: Any, user: Any = "u", **options: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        async with Client(aiotrack.LocalStore(f"{folder}/a.db")) as client:
            result = await client.create_user_context(user).track_event(key, tags, **options)
    return None if result else next(iter(result.refused.values()))


def config(text: str, **variables: str) -> Client:
    with tempfile.TemporaryDirectory() as folder, environment(variables):
        before = os.getcwd()
        os.chdir(folder)
        try:
            Path("app.toml").write_text(text)
            return Client.from_config("app.toml")
        finally:
            os.chdir(before)


@contextmanager
def environment(variables: dict[str, str]) -> Any:
    os.environ.update(variables)
    try:
        yield
    finally:
        for variable in variables:
            del os.environ[variable]


WEB = f'[destinations.web]\nkind = "http"\nurl = "{URL}"\n'

TWO = '[destinations.a]\nkind = "htp"\n[destinations.b]\nkind = "http"'

MISTAKES: list[tuple[str, Callable[[], Any]]] = [
    ('`HTTPDestination("localhost:8000/in")`', lambda: HTTPDestination("localhost:8000/in")),
    (
        'a token read from a file: `headers={"Authorization": "Bearer ...\\n"}`',
        lambda: HTTPDestination(URL, headers={"Authorization": "Bearer x\n"}),
    ),
    ('`headers={"X Key": "..."}`', lambda: HTTPDestination(URL, headers={"X Key": "x"})),
    (
        "a user in the URL, and an `Authorization` header",
        lambda: HTTPDestination("http://u:p@127.0.0.1:9/", headers={"Authorization": "x"}),
    ),
    ("`HTTPDestination(url, ssl=False)`", lambda: HTTPDestination(URL, ssl=False)),  # type: ignore[arg-type]
    ('`ssl="no-such-file.pem"`', lambda: HTTPDestination(URL, ssl="no-such-file.pem")),
    ('`proxy="socks5://127.0.0.1:1080"`', lambda: HTTPDestination(URL, proxy="socks5://127.0.0.1:1080")),
    ("`timeout=0`", lambda: HTTPDestination(URL, timeout=0)),
    ("`Optimizely()`", Optimizely),
    (
        '`Optimizely("key", datafile_url="https://cdn.example/{key}.json")`',
        lambda: Optimizely("key", datafile_url="https://cdn.example/{key}.json"),
    ),
    ('`VWO(12345, "")`', lambda: VWO(12345, "")),
    ('`PostHog("phc_...", host="eu.i.posthog.com")`', lambda: PostHog("phc_x", host="eu.i.posthog.com")),
    ("a class: `Client(HTTPDestination)`", lambda: Client(HTTPDestination)),
    ('a URL: `Client("https://example.org/in")`', lambda: Client("https://example.org/in")),
    (
        "two destinations: `Client(HTTPDestination(a), HTTPDestination(b))`",
        lambda: Client(HTTPDestination(URL), HTTPDestination(URL)),
    ),
    ('`Client(..., batch_size="100", flush_interval=-1)`', lambda: Client(batch_size="100", flush_interval=-1)),  # type: ignore[arg-type]
    ("a class: `Client(..., buffer=FileBuffer)`", lambda: Client(buffer=FileBuffer)),  # type: ignore[arg-type]
    ('`Client(..., block=["privcay"])`', lambda: Client(Privacy(), HTTPDestination(URL), block=["privcay"])),
    ("a hook that there is not: `aiotrack_event_track`", lambda: Client(Misspelt())),
    ("`async def aiotrack_process_event`", lambda: Client(Async())),
    ("a hook without `@aiotrack.hookimpl`", lambda: Client(Unmarked())),
    ('`Privacy(drop="tags.email")`', lambda: Privacy(drop="tags.email")),
    ('`Privacy(hash=["user_id"])`', lambda: Privacy(hash=["user_id"])),
    ('a plan with `minimun = 1`', lambda: Schema({"events": {"buy": {"properties": {"n": {"minimun": 1}}}}})),
    ('`Client.from_config("apps.toml")`, which is not there', lambda: Client.from_config("apps.toml")),
    ('`flush_intervall = 2` in app.toml', lambda: config("flush_intervall = 2\n" + WEB)),
    ('`timeout = "5"` in app.toml', lambda: config(WEB + 'timeout = "5"')),
    ('`kind = "htp"`, and in another table no `url`', lambda: config(TWO)),
    ("`AIOTRACK_BATCH_SIZE=many`", lambda: config(WEB, AIOTRACK_BATCH_SIZE="many")),
    ("`AIOTRACK_DESTINATIONS__WEB__TIMEUOT=5`", lambda: config(WEB, AIOTRACK_DESTINATIONS__WEB__TIMEUOT="5")),
    ("`AIOTRACK_BATCH_SIZ=100`", lambda: config(WEB, AIOTRACK_BATCH_SIZ="100")),
    ("`track_event` before `start` or `async with`", too_early),
    ("one destination for two clients", shared),
    ('`track_event("buy", {"revenue": "42.00"})`', lambda: tracked("buy", {"revenue": "42.00"})),
    ('`track_event("buy", {"cart": cart})`, an object of yours', lambda: tracked("buy", {"cart": object()})),
    ('`track_event("buy", ["shoes"])`', lambda: tracked("buy", ["shoes"])),
    ('`track_event("buy", timestamp=int(time.time()))`', lambda: tracked("buy", None, timestamp=1_700_000_000)),
    ("`create_user_context(None)`", lambda: tracked("buy", None, user=None)),
]  # fmt: skip


class Said(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname.lower()}: {record.getMessage()}")


def what_is_said(mistake: Callable[[], Any]) -> str:
    said = Said()
    logger = logging.getLogger("aiotrack")
    logger.addHandler(said)
    logger.propagate = False
    try:
        answer = mistake()
        if isinstance(answer, Awaitable):
            answer = asyncio.run(answer)  # type: ignore[arg-type]
    except AiotrackError as exc:
        return f"{type(exc).__name__}: {exc}"
    finally:
        logger.removeHandler(said)
        logger.propagate = True
    if isinstance(answer, aiotrack.Refusal):
        return f"refused: {answer}"
    if not said.lines:
        raise AssertionError("nothing was said")
    return said.lines[0]


def table() -> str:
    rows = ["| what was written | what is said |", "|---|---|"]
    for what, mistake in MISTAKES:
        said = what_is_said(mistake).replace("|", "\\|").replace("<", "&lt;").replace("\n", "<br>")
        rows.append(f"| {what} | {said} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
