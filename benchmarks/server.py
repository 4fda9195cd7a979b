"""A loaded server that tracks one event a request: requests a second, latency, and what has not arrived a second later.

The server is a process of its own, `python -m benchmarks.server FRAMEWORK NAME COLLECTOR`; the load comes from this
one, over connections that each send the next request when the last is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from . import collector
from .contestants import CONTESTANTS, Contestant, Untracked, installed, quiet
from .rounds import Column, Figures, Results, Section

BATCH = 500
CONNECTIONS = 32
WARM, MEASURED = 0.5, 2.0  # seconds
LATER = 1.0  # seconds
SERVED: dict[str, type[Contestant]] = {"untracked": Untracked, **CONTESTANTS}


# -- the server ---------------------------------------------------------------------------------------


async def _aiohttp(contestant: Contestant) -> None:
    async def handle(request: web.Request) -> web.Response:
        waiting = contestant.track(request.match_info["user"])
        if waiting is not None:
            await waiting
        return web.json_response({"ok": True})

    app = web.Application()
    app.router.add_get("/buy/{user}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def _starlette(contestant: Contestant) -> None:
    import uvicorn  # noqa: PLC0415 - only this server needs them
    from starlette.applications import Starlette  # noqa: PLC0415
    from starlette.requests import Request  # noqa: PLC0415
    from starlette.responses import JSONResponse  # noqa: PLC0415
    from starlette.routing import Route  # noqa: PLC0415

    async def handle(request: Request) -> JSONResponse:
        waiting = contestant.track(request.path_params["user"])
        if waiting is not None:
            await waiting
        return JSONResponse({"ok": True})

    config = uvicorn.Config(
        Starlette(routes=[Route("/buy/{user}", handle)]), log_level="critical", loop="asyncio", access_log=False
    )
    # Named as TCP, or asyncio leaves Nagle's algorithm on, and each answer waits 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(CONNECTIONS)
        print(listening.getsockname()[1], flush=True)
        await uvicorn.Server(config).serve([listening])


FRAMEWORKS = {"aiohttp": _aiohttp, "starlette": _starlette}


async def _serve(framework: str, name: str, url: str) -> None:
    contestant = SERVED[name](url, BATCH)
    await contestant.start()
    await FRAMEWORKS[framework](contestant)


# -- the load -----------------------------------------------------------------------------------------


class Caller(asyncio.Protocol):
    """One connection that sends the next request when the last is answered."""

    def __init__(self, number: int) -> None:
        self.latencies: list[float] = []
        self.answers = 0
        self.stopped = False
        self._request = f"GET /buy/user{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self.transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if b'"ok"' not in data:  # the head came without the body
            return
        self.latencies.append(time.perf_counter() - self._sent)
        self.answers += 1
        if not self.stopped:
            self._send()


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


async def _loaded(framework: str, name: str, url: str) -> Figures:
    await collector.report(url)
    async with _running(framework, name, url) as (process, port):
        loop = asyncio.get_running_loop()
        callers = [Caller(number) for number in range(CONNECTIONS)]
        for caller in callers:
            await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", port)  # type: ignore[misc]
        await asyncio.sleep(WARM)
        for caller in callers:
            caller.latencies.clear()
        started, used = time.perf_counter(), _processor_time(process)
        await asyncio.sleep(MEASURED)
        elapsed, used = time.perf_counter() - started, _processor_time(process) - used
        latencies = sorted(one for caller in callers for one in caller.latencies)
        for caller in callers:
            caller.stopped = True
        await asyncio.sleep(LATER)
        counts = await collector.report(url)
        for caller in callers:
            caller.transport.close()
    figures = {
        "requests/s": len(latencies) / elapsed,
        "us CPU": used / len(latencies) * 1e6,
        "p50 ms": latencies[len(latencies) // 2] * 1e3,
        "p99 ms": latencies[math.ceil(len(latencies) * 0.99) - 1] * 1e3,
    }
    if name != "untracked":
        figures["not arrived"] = sum(caller.answers for caller in callers) - counts["events"]
    return figures


def _processor_time(process: int) -> float:
    """Return the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _measured(framework: str, rounds: int) -> Results:
    names = list(installed(SERVED))
    results: Results = {name: [] for name in names}
    async with collector.running() as url:
        for _ in range(rounds):
            for name in names:
                results[name].append(await _loaded(framework, name, url))
    return results


def _section(framework: str) -> Section:
    def measure(rounds: int, events: int) -> Results:
        return asyncio.run(_measured(framework, max(rounds // 2, 1)))

    columns = (
        Column("requests/s", "{:,.0f}"),
        Column("us CPU", "{:.0f}"),
        Column("p50 ms"),
        Column("p99 ms"),
        Column("not arrived", "{:,.0f}"),
    )
    return Section(f"a loaded {framework} server, one event a request", columns, "requests/s", measure)


SECTIONS = {framework: _section(framework) for framework in FRAMEWORKS}


if __name__ == "__main__":
    quiet()
    try:
        asyncio.run(_serve(sys.argv[1], sys.argv[2], sys.argv[3]))
    finally:
        os._exit(0)  # some SDKs' timers would keep the process alive
