"""What an HTTP destination makes of an answer."""

import asyncio
import gzip

import pytest
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


# -- answers that break HTTP, or are long -----------------------------------------------------------

LONG = b"x" * 9000

ANSWERS = {
    "204 with a body": (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", "delivered"),
    "a header of 9 kB": (b"HTTP/1.1 200 OK\r\nX-Long: " + LONG + b"\r\nContent-Length: 0\r\n\r\n", "delivered"),
    "a reason of 9 kB": (b"HTTP/1.1 200 " + LONG + b"\r\nContent-Length: 0\r\n\r\n", "delivered"),
    "an unknown encoding": (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nabc", "delivered"),
    "gzip that is none": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "delivered"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", "delivered"),
    "a length and chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "delivered",
    ),
    "bytes after the end": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokgarbage\r\n\r\n", "delivered"),
    "a bad header line": (b"HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 0\r\n\r\n", "delivered"),
    "a bad 503": (b"HTTP/1.1 503 Busy\r\nno colon here\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", "retry"),
    "a bad 400": (b"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", "bisect"),
    "100 before it": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nbad line\r\n\r\n", "delivered"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "retry"),
}


async def answered(raw):
    """Have a destination send a batch to a server that says these bytes; return its answer and verdict."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    destination = aiotrack.HTTPDestination(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", timeout=5)
    async with Client(destination, shutdown_timeout=0):
        request = destination.frame([b"{}"], b"")
        answer = await destination.send(
            aiotrack.Batch(destination="http", entries=[b"{}"], batch_header=b"", request=request, attempt=1)
        )
    server.close()
    await server.wait_closed()
    return answer, destination.judge(answer, 0.0)


@pytest.mark.parametrize("case", ANSWERS)
async def test_an_answer_whose_status_is_known_is_an_answer(case):
    raw, action = ANSWERS[case]
    answer, verdict = await answered(raw)
    assert verdict.action == action, answer
    if case == "a bad 503":
        assert verdict.delay == 7


@pytest.mark.parametrize(("size", "kept"), [(10, 10), (65_536, 65_536), (100_000, 65_536), (3_000_000, 65_536)])
async def test_a_body_is_read_whole_and_kept_up_to_a_bound(size, kept):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    answer, verdict = await answered(head + b"y" * size)
    assert (answer.status, len(answer.body), verdict.action) == (200, kept, "delivered")


async def test_a_packed_body_is_unpacked():
    packed = gzip.compress(b'{"quota_limited": ["events"]}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    answer, _ = await answered(head + packed)
    assert answer.body == b'{"quota_limited": ["events"]}'
