"""What a web framework keeps of its requests when each tracks an event by `aiotrack.integrations`.

Two servers stand side by side, `python -m benchmarks.frameworks FRAMEWORK VARIANT COLLECTOR`, and are asked in turn.
The user is read from a header, and the answer is JSON; `posthog` is PostHog's own ASGI middleware with `capture`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import sys
from collections.abc import Callable
from typing import Any

import aiotrack

from . import collector
from .rounds import Column, Figures, Results, Section
from .server import CONNECTIONS, Caller, asked, serve_aiohttp, serve_asgi

BATCH = 500
TURNS = 4
SECONDS = 0.6
USER = "X-User"


# -- the applications ---------------------------------------------------------------------------------


class Variant:
    """What an application does with a request beside answering it."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._url = url
        self.tracks = name == "aiotrack"
        if name == "posthog":
            import posthog

            posthog.api_key, posthog.host, posthog.flush_at = "k", url, BATCH
            self._capture = posthog.capture

    def make_client(self) -> aiotrack.Client:
        return aiotrack.Client(aiotrack.HTTPDestination(self._url), batch_size=BATCH)

    def make_sync_client(self) -> aiotrack.SyncClient:
        return aiotrack.SyncClient(aiotrack.HTTPDestination(self._url), batch_size=BATCH)

    async def track(self) -> None:
        if self.tracks:
            await aiotrack.track_event("viewed", {"page": "home", "n": 1})
        elif self.name == "posthog":
            self._capture("viewed", properties={"page": "home", "n": 1})


def fastapi(variant: Variant) -> Any:
    from fastapi import FastAPI

    from aiotrack.integrations.fastapi import setup

    app = FastAPI()

    @app.get("/{rest}/{user}")
    async def handle(rest: str, user: str) -> dict[str, bool]:
        await variant.track()
        return {"ok": True}

    return _with_middleware(app, variant, setup)


def starlette(variant: Variant) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from aiotrack.integrations.starlette import setup

    async def handle(request: Any) -> JSONResponse:
        await variant.track()
        return JSONResponse({"ok": True})

    return _with_middleware(Starlette(routes=[Route("/{rest}/{user}", handle)]), variant, setup)


def _with_middleware(app: Any, variant: Variant, setup: Callable[..., Any]) -> Any:
    if variant.tracks:
        setup(app, variant.make_client, user=lambda request: request.headers.get(USER))
    elif variant.name == "posthog":
        from posthog.integrations.asgi import PosthogASGIMiddleware

        app.add_middleware(PosthogASGIMiddleware)
    return app


def litestar(variant: Variant) -> Any:
    from litestar import Litestar, get

    from aiotrack.integrations.litestar import TrackingPlugin

    @get("/{rest:str}/{user:str}")
    async def handle() -> dict[str, bool]:
        await variant.track()
        return {"ok": True}

    plugin = TrackingPlugin(variant.make_client, user=lambda request: request.headers.get(USER))
    return Litestar([handle], plugins=[plugin] if variant.tracks else [])


def quart(variant: Variant) -> Any:
    from quart import Quart

    from aiotrack.integrations.quart import setup

    app = Quart(__name__)

    @app.get("/<rest>/<user>")
    async def handle(rest: str, user: str) -> dict[str, bool]:
        await variant.track()
        return {"ok": True}

    return setup(app, variant.make_client, user=_user_of_scope) if variant.tracks else app


def _user_of_scope(scope: Any) -> str | None:
    return next((value.decode() for name, value in scope["headers"] if name == b"x-user"), None)


def django(variant: Variant) -> Any:
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import JsonResponse
    from django.urls import path

    async def handle(request: Any, rest: str, user: str) -> JsonResponse:
        await variant.track()
        return JsonResponse({"ok": True})

    settings.configure(
        ROOT_URLCONF=type("urls", (), {"urlpatterns": [path("<rest>/<user>", handle)]}),
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=["aiotrack.integrations.django.TrackingMiddleware"] if variant.tracks else [],
        AIOTRACK={"CLIENT": variant.make_sync_client, "USER": lambda request: request.headers.get(USER)},
    )
    if variant.tracks:
        from aiotrack.integrations import django as ours

        return ours.get_asgi_application()
    return get_asgi_application()


ASGI = {"fastapi": fastapi, "starlette": starlette, "litestar": litestar, "quart": quart, "django": django}


async def _serve_aiohttp(variant: Variant) -> None:
    from aiohttp import web

    from aiotrack.integrations.aiohttp import setup

    async def handle(request: web.Request) -> web.Response:
        await variant.track()
        return web.json_response({"ok": True})

    app = web.Application()
    app.router.add_get("/{rest}/{user}", handle)
    if variant.tracks:
        setup(app, variant.make_client, user=lambda request: request.headers.get(USER))
    await serve_aiohttp(app)


def _serve_flask(variant: Variant) -> None:
    from flask import Flask
    from gunicorn.app.base import BaseApplication

    from aiotrack.integrations.flask import setup

    app = Flask(__name__)

    @app.get("/<rest>/<user>")
    def handle(rest: str, user: str) -> dict[str, bool]:
        if variant.tracks:
            current: Any = aiotrack.current_user()
            current.track_event("viewed", {"page": "home", "n": 1})
        return {"ok": True}

    if variant.tracks:
        setup(app, variant.make_sync_client, user=lambda request: request.headers.get(USER))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    class Server(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            options = {"bind": f"127.0.0.1:{port}", "workers": 1, "threads": 8, "loglevel": "critical", "keepalive": 60}
            for key, value in options.items():
                self.cfg.set(key, value)
            self.cfg.set("when_ready", lambda _: print(port, flush=True))

        def load(self) -> Any:
            return app

    Server().run()


FRAMEWORKS = ("fastapi", "starlette", "litestar", "quart", "aiohttp", "django", "flask")


def _cases() -> list[tuple[str, str]]:
    both = [(framework, "aiotrack") for framework in FRAMEWORKS]
    try:
        import posthog.integrations.asgi  # noqa: F401
    except ImportError:
        return both
    return [*both, ("fastapi", "posthog"), ("starlette", "posthog")]


# -- the load -----------------------------------------------------------------------------------------


async def kept(framework: str, variant: str, url: str, turns: int) -> Figures:
    """Ask the bare application and the other in turn; the first turn warms up."""
    processes, callers, phases = [], {}, {"bare": [], variant: []}
    await collector.report(url)
    loop = asyncio.get_running_loop()
    try:
        for name in phases:
            command = (sys.executable, "-m", "benchmarks.frameworks", framework, name, url)
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            processes.append(process)
            assert process.stdout is not None
            port = int(await process.stdout.readline())
            callers[name] = (process.pid, [Caller(number, f"{USER}: user{number}") for number in range(CONNECTIONS)])
            for caller in callers[name][1]:
                await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", port)  # type: ignore[misc]
        for _ in range(turns + 1):
            for name, (pid, asking) in callers.items():
                phases[name].append(await asked(asking, pid, "r", SECONDS))
        await asyncio.sleep(1.5)
        counts = await collector.report(url)
    finally:
        for process in processes:
            process.terminate()
            await process.wait()
    done = {name: [len(phase.latencies) / phase.seconds for phase in several[1:]] for name, several in phases.items()}
    bare, own = statistics.median(done["bare"]), statistics.median(done[variant])
    answered = sum(len(phase.latencies) for phase in phases[variant])
    return {"bare/s": bare, "tracked/s": own, "kept %": own / bare * 100, "not arrived": answered - counts["events"]}


async def _measured(rounds: int) -> Results:
    results: Results = {f"{framework}, {variant}": [] for framework, variant in _cases()}
    async with collector.running() as url:
        for _ in range(rounds):
            for framework, variant in _cases():
                results[f"{framework}, {variant}"].append(await kept(framework, variant, url, TURNS))
    return results


SECTION = Section(
    "one event a request, by the integrations",
    (
        Column("bare/s", "{:,.0f}"),
        Column("tracked/s", "{:,.0f}"),
        Column("kept %", "{:.0f}"),
        Column("not arrived", "{:,.0f}"),
    ),
    None,
    lambda rounds, events: asyncio.run(_measured(max(rounds // 2, 1))),
)


def main() -> None:
    framework, name, url = sys.argv[1:4]
    variant = Variant(name, url)
    try:
        if framework == "flask":
            _serve_flask(variant)
        elif framework == "aiohttp":
            asyncio.run(_serve_aiohttp(variant))
        else:
            asyncio.run(serve_asgi(ASGI[framework](variant)))
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
