"""A server in a process of its own that counts what arrives: events and distinct ids."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import aiohttp
import orjson
from aiohttp import web


async def _serve() -> None:
    counts = {"events": 0, "requests": 0}
    ids: set[str] = set()

    async def take(request: web.Request) -> web.Response:
        events = orjson.loads(await request.read())
        counts["requests"] += 1
        counts["events"] += len(events)
        ids.update(event["event_id"] for event in events)
        return web.Response(status=204)

    async def report(request: web.Request) -> web.Response:
        answer = {**counts, "unique": len(ids)}
        counts.update(events=0, requests=0)
        ids.clear()
        return web.json_response(answer)

    app = web.Application(client_max_size=2**26)
    app.add_routes([web.post("/events", take), web.get("/report", report)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the parent lets go


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[str]:
    """Run the collector; yield its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.collector"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.stdin.close()
        await process.wait()


async def report(url: str) -> dict[str, int]:
    """Return what has arrived since the last report."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/report") as response:
        counts: dict[str, int] = await response.json()
        return counts


if __name__ == "__main__":
    asyncio.run(_serve())
