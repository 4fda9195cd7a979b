"""A loaded server that tracks one event a request: what it keeps of the requests that it serves without tracking.

The server is a process of its own, `python -m benchmarks.server FRAMEWORK NAME COLLECTOR`, and has one route that
tracks and one that does not; both are asked in turn, since two processes may differ by a fifth for no reason but where
their memory lies. The load comes from here, over connections that each send the next request when the last is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from . import collector
from .contestants import CONTESTANTS, Contestant, installed, quiet
from .rounds import Column, Figures, Results, Section

BATCH = 500
CONNECTIONS = 32
TURNS = 5
UNTRACKED, TRACKED, REST = 0.4, 0.6, 0.3  # seconds of a turn
LATER = 1.0  # seconds
ROUTES = ("untracked", "tracked")


# -- the server ---------------------------------------------------------------------------------------


async def serve_aiohttp(app: web.Application) -> None:
    """Serve on a free port of loopback, which is printed."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def serve_asgi(app: Any) -> None:
    """Serve with uvicorn on a free port of loopback, which is printed."""
    import uvicorn  # noqa: PLC0415 - only these servers need it

    config = uvicorn.Config(app, log_level="critical", loop="asyncio", access_log=False)
    # Named as TCP, or asyncio leaves Nagle's algorithm on, and each answer waits 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(CONNECTIONS)
        print(listening.getsockname()[1], flush=True)
        await uvicorn.Server(config).serve([listening])


async def _aiohttp(contestant: Contestant) -> None:
    def handler(contestant: Contestant) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            waiting = contestant.track(request.match_info["user"])
            if waiting is not None:
                await waiting
            return web.json_response({"ok": True})

        return handle

    app = web.Application()
    for name, one in zip(ROUTES, (Contestant("", 0), contestant), strict=True):
        app.router.add_get(f"/{name}/{{user}}", handler(one))
    await serve_aiohttp(app)


async def _starlette(contestant: Contestant) -> None:
    from starlette.applications import Starlette  # noqa: PLC0415 - only this server needs it
    from starlette.requests import Request  # noqa: PLC0415
    from starlette.responses import JSONResponse  # noqa: PLC0415
    from starlette.routing import Route  # noqa: PLC0415

    def handler(contestant: Contestant) -> Callable[[Request], Awaitable[JSONResponse]]:
        async def handle(request: Request) -> JSONResponse:
            waiting = contestant.track(request.path_params["user"])
            if waiting is not None:
                await waiting
            return JSONResponse({"ok": True})

        return handle

    both = zip(ROUTES, (Contestant("", 0), contestant), strict=True)
    app = Starlette(routes=[Route(f"/{name}/{{user}}", handler(one)) for name, one in both])
    await serve_asgi(app)


FRAMEWORKS = {"aiohttp": _aiohttp, "starlette": _starlette}


async def _serve(framework: str, name: str, url: str) -> None:
    contestant = CONTESTANTS[name](url, BATCH)
    await contestant.start()
    await FRAMEWORKS[framework](contestant)


# -- the load -----------------------------------------------------------------------------------------


class Caller(asyncio.Protocol):
    """One connection that sends the next request when the last is answered, while it has a route."""

    def __init__(self, number: int, header: str = "X: y") -> None:
        self.latencies: list[float] = []
        self._user = number
        self._header = header
        self._request = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def go(self, route: str) -> None:
        self.latencies = []
        self._request = f"GET /{route}/user{self._user} HTTP/1.1\r\nHost: x\r\n{self._header}\r\n\r\n".encode()
        self._send()

    def stop(self) -> None:
        self._request = b""

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self.transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if b'"ok"' not in data:  # the head came without the body
            return
        self.latencies.append(time.perf_counter() - self._sent)
        if self._request:
            self._send()


class Phase(NamedTuple):
    """What a route has answered."""

    seconds: float
    used: float
    """Seconds of processor time."""
    latencies: list[float]


async def asked(callers: list[Caller], process: int, route: str, seconds: float) -> Phase:
    started, used = time.perf_counter(), _processor_time(process)
    for caller in callers:
        caller.go(route)
    await asyncio.sleep(seconds)
    elapsed, used = time.perf_counter() - started, _processor_time(process) - used
    for caller in callers:
        caller.stop()
    await asyncio.sleep(REST)
    return Phase(elapsed, used, [one for caller in callers for one in caller.latencies])


@contextlib.asynccontextmanager
async def _running(framework: str, name: str, url: str) -> AsyncIterator[tuple[int, int]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.server", framework, name, url), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process.pid, int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


async def loaded(framework: str, name: str, url: str, turns: int) -> Figures:
    """Ask both routes in turn; the first turn warms up."""
    await collector.report(url)
    phases: dict[str, list[Phase]] = {route: [] for route in ROUTES}
    async with _running(framework, name, url) as (process, port):
        loop = asyncio.get_running_loop()
        callers = [Caller(number) for number in range(CONNECTIONS)]
        for caller in callers:
            await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", port)  # type: ignore[misc]
        for _ in range(turns + 1):
            for route, seconds in zip(ROUTES, (UNTRACKED, TRACKED), strict=True):
                phases[route].append(await asked(callers, process, route, seconds))
        await asyncio.sleep(LATER - REST)
        counts = await collector.report(url)
        for caller in callers:
            caller.transport.close()
    tracked = sum(len(phase.latencies) for phase in phases["tracked"])
    without, with_ = (_summary(phases[route][1:]) for route in ROUTES)
    return {
        "untracked/s": without["requests/s"],
        "tracked/s": with_["requests/s"],
        "kept %": with_["requests/s"] / without["requests/s"] * 100,
        "us CPU more": with_["us CPU"] - without["us CPU"],
        "p99 ms": with_["p99 ms"],
        "p99 x untracked": with_["p99 ms"] / without["p99 ms"],
        "not arrived": tracked - counts["events"],
    }


def _summary(phases: list[Phase]) -> Figures:
    latencies = sorted(one for phase in phases for one in phase.latencies)
    return {
        "requests/s": statistics.median(len(phase.latencies) / phase.seconds for phase in phases),
        "us CPU": sum(phase.used for phase in phases) / len(latencies) * 1e6,
        "p99 ms": latencies[math.ceil(len(latencies) * 0.99) - 1] * 1e3,
    }


def _processor_time(process: int) -> float:
    """Return the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _measured(framework: str, rounds: int) -> Results:
    names = list(installed(CONTESTANTS))
    results: Results = {name: [] for name in names}
    async with collector.running() as url:
        for _ in range(rounds):
            for name in names:
                results[name].append(await loaded(framework, name, url, TURNS))
    return results


def _section(framework: str) -> Section:
    def measure(rounds: int, events: int) -> Results:
        return asyncio.run(_measured(framework, max(rounds // 2, 1)))

    columns = (
        Column("untracked/s", "{:,.0f}"),
        Column("tracked/s", "{:,.0f}"),
        Column("kept %", "{:.0f}"),
        Column("us CPU more", "{:.0f}"),
        Column("p99 ms"),
        Column("p99 x untracked", "{:.2f}"),
        Column("not arrived", "{:,.0f}"),
    )
    return Section(f"a loaded {framework} server, one event a request", columns, "kept %", measure)


SECTIONS = {framework: _section(framework) for framework in FRAMEWORKS}


if __name__ == "__main__":
    quiet()
    try:
        asyncio.run(_serve(sys.argv[1], sys.argv[2], sys.argv[3]))
    finally:
        os._exit(0)  # some SDKs' timers would keep the process alive
