"""What an HTTP destination makes of an answer."""

import asyncio

from aiohttp import web

import aiotrack
from aiotrack import Client
from aiotrack.testing import until


async def accepted(client, count=1):
    user = client.create_user_context("u")
    return [await user.track_event("k", {"n": number}) for number in range(count)]


async def test_a_2xx_whose_body_never_comes_has_delivered():
    received = []

    async def handler(request):
        received.append(await request.json())
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await asyncio.sleep(3600)

    app = web.Application()
    app.router.add_post("/", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    async with Client(aiotrack.HTTPDestination(url, timeout=0.2), batch_size=1) as client:
        await accepted(client)
        await until(lambda: client.stats().total.delivered == 1)
    assert len(received) == 1
    await runner.cleanup()
