"""Servers that fail in every way that networks know, and clients that are driven through it."""

from __future__ import annotations

import asyncio
import contextlib

from aiotrack.testing import until


async def run_out(client, clock, *, pending=0, timeout=20.0):
    """Move the clock from timer to timer until no more than `pending` events are pending."""
    async with asyncio.timeout(timeout):
        while client.stats().total.pending > pending:
            requests = client.stats().total.retries
            await until(
                lambda requests=requests: (
                    client.stats().total.pending <= pending
                    or client.stats().total.retries > requests
                    or bool(clock.next_timer)
                )
            )
            if clock.next_timer:
                clock.advance(min(clock.next_timer, 1.0))
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def tcp_server(handle):
    """Run a raw server on loopback; yield its URL. What it has open is closed at the end."""
    handling = set()

    def handler(reader, writer):
        async def run():
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                try:
                    await handle(reader, writer)
                finally:
                    writer.transport.abort()

        handling.add(asyncio.create_task(run()))

    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/events"
    finally:
        server.close()
        for task in handling:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
        await server.wait_closed()


async def silent(reader, writer):
    """Accept, and never answer."""
    await asyncio.Event().wait()


async def half_closing(reader, writer):
    """Take the request, and close without an answer."""
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def trickling(reader, writer):
    """Send an answer that never ends, a byte at a time."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.01)


async def garbage(reader, writer):
    """Answer with what is no HTTP."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\x00\xff SSH-2.0-OpenSSH\r\n\r\n")
    await writer.drain()
    writer.close()
