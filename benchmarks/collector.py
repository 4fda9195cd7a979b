"""A server in a process of its own that counts what arrives, in whatever SDK's wire format it comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
import orjson
from aiohttp import web

# One answer for all: each SDK finds in it what it looks for.
OK = orjson.dumps({"code": 200, "status": 1, "success": True, "error": None})
VWO_SETTINGS = {
    "version": 1,
    "accountId": 1,
    "sdkKey": "key",
    "campaigns": [],
    "features": [
        {
            "id": 1,
            "key": "feature",
            "status": "ON",
            "name": "feature",
            "type": "FEATURE_FLAG",
            "metrics": [{"id": 1, "type": "CUSTOM_GOAL", "identifier": "purchase"}],
            "rules": [],
        }
    ],
    "sdkMetaInfo": {"wasInitializedEarlier": True},
}


def events_in(path: str, body: bytes) -> list[Any]:
    """Return the events of a request: an array, or where each vendor has one."""
    if path.startswith("/track"):  # Mixpanel posts a form
        return list(json.loads(dict(parse_qsl(body.decode()))["data"]))
    document = orjson.loads(body)
    if isinstance(document, list):
        return document
    for name in ("batch", "events", "data", "ev"):
        if isinstance(document.get(name), list):
            return list(document[name])
    if "visitors" in document:  # Optimizely
        return [event for one in document["visitors"] for shot in one["snapshots"] for event in shot["events"]]
    return [document]


async def _serve() -> None:
    logging.disable(logging.CRITICAL)  # an SDK that is stopped in the middle of a request
    counts = {"events": 0, "requests": 0}
    ids: set[str] = set()

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        counts["requests"] += 1
        events = events_in(request.path, body)
        counts["events"] += len(events)
        if request.path == "/events":
            ids.update(event["event_id"] for event in events)
        return web.Response(body=OK, content_type="application/json")

    async def settings(request: web.Request) -> web.Response:
        return web.json_response(VWO_SETTINGS)

    async def report(request: web.Request) -> web.Response:
        answer = {**counts, "unique": len(ids)}
        if "reset" in request.query:
            counts.update(events=0, requests=0)
            ids.clear()
        return web.json_response(answer)

    app = web.Application(client_max_size=2**26)
    app.add_routes([web.get("/report", report), web.get("/{rest:.*}", settings), web.post("/{rest:.*}", take)])
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


async def report(url: str, *, reset: bool = True) -> dict[str, int]:
    """Return what has arrived since the last reset."""
    query = "?reset" if reset else ""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/report{query}") as response:
        counts: dict[str, int] = await response.json()
        return counts


if __name__ == "__main__":
    asyncio.run(_serve())
