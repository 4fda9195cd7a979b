"""The program of a page of docs/frameworks/, served by a real server in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import attrs

PAGES = Path(__file__).parents[2] / "docs/frameworks"
URL = "http://127.0.0.1:8099/events"
AIOHTTP = "import app, sys; from aiohttp import web; web.run_app(app.app, host='127.0.0.1', port=int(sys.argv[1]))"

UVICORN = ("-m", "uvicorn", "app:app", "--host", "127.0.0.1", "--log-level", "warning", "--port", "{port}")
GUNICORN = ("-m", "gunicorn", "app:app", "--workers", "2", "--log-level", "warning", "--bind", "127.0.0.1:{port}")


@attrs.frozen
class Served:
    """How a framework's program is served."""

    page: str
    command: tuple[str, ...]
    change: tuple[str, str] = ("", "")
    """Text of the program, and what takes its place."""

    def program(self, url: str, options: str = "") -> str:
        """Return the first program of the page, sending to a URL; `options` are more of the client's."""
        text = re.search(r"```python\n(.*?)```", (PAGES / f"{self.page}.md").read_text(), re.DOTALL)[1]
        text = text.replace(*self.change) if self.change[0] else text
        assert URL in text
        text = text.replace(f'HTTPDestination("{URL}")', f'HTTPDestination("{url}"){options}')
        if options and URL in text:  # Django's is a mapping
            text = text.replace('"CLIENT": {', f'"CLIENT": {{"buffer": {{"kind": "file", "path": {options!r}}}, ')
        return text.replace(URL, url)


ASGI = ("app = get_wsgi_application()", "import aiotrack.integrations.django as d; app = d.get_asgi_application()")
SERVED = {
    "fastapi": Served("fastapi", UVICORN),
    "starlette": Served("starlette", UVICORN),
    "litestar": Served("litestar", UVICORN),
    "quart": Served("quart", UVICORN),
    "asgi": Served("asgi", UVICORN),
    "aiohttp": Served("aiohttp", ("-c", AIOHTTP, "{port}")),
    "django asgi": Served("django", UVICORN, ASGI),
    "django wsgi": Served("django", GUNICORN),
    "flask": Served("flask", GUNICORN),
}
MORE_SERVERS = {
    "uvloop": Served("starlette", (*UVICORN, "--loop", "uvloop")),
    "two workers, preloaded": Served("fastapi", (*GUNICORN, "--preload", "-k", "uvicorn_worker.UvicornWorker")),
    "hypercorn": Served("quart", ("-m", "hypercorn", "app:app", "--bind", "127.0.0.1:{port}")),
    "granian": Served("litestar", ("-m", "granian", "--interface", "asgi", "--port", "{port}", "app:app")),
    "flask, preloaded": Served("flask", (*GUNICORN, "--preload")),
    "flask, threads": Served("flask", (*GUNICORN, "--threads", "8")),
    "daphne": Served("django", ("-m", "daphne", "-p", "{port}", "app:app"), ASGI),
}


@attrs.define
class Server:
    """One that runs."""

    base: str
    process: asyncio.subprocess.Process
    errors: str = ""

    async def end(self) -> None:
        """Have it end as an orchestrator does."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(self.process.communicate(), 30)
        self.errors = errors.decode()


@contextlib.asynccontextmanager
async def serve(served: Served, folder: Path, url: str, options: str = "") -> AsyncIterator[Server]:
    """Serve a program; end the server at the end, if it has not."""
    (folder / "app.py").write_text(served.program(url, options))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [part.format(port=port) for part in served.command]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        await until_it_listens(server, port)
        yield server
    finally:
        if process.returncode is None:
            await server.end()


async def until_it_listens(server: Server, port: int) -> None:
    """Wait for the server; say what it said, if it ends instead."""
    for _ in range(400):
        if server.process.returncode is not None:
            _, errors = await server.process.communicate()
            raise AssertionError(errors.decode())
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise AssertionError("it does not listen")


async def buy(session: aiohttp.ClientSession, server: Server, user: str) -> bool | None:
    """Send a request of one user's; return whether it tracked, None where there was no answer."""
    try:
        async with session.post(
            f"{server.base}/buy/{user}", headers={"X-User": user, "User-Agent": f"of {user}"}
        ) as got:
            return (await got.json())["tracked"] if got.status < 300 else None
    except (TimeoutError, aiohttp.ClientError, OSError):
        return None
