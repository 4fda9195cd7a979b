"""The body of an answer: read whole, bounded, and unpacked where it is packed."""

from __future__ import annotations

import asyncio
import zlib

import aiohttp

__all__ = ["read_body"]

MOST = 64 * 1024  # bytes that are kept
DRAINED = 1024 * 1024  # bytes that are read to their end, so that the connection can be used again
PATIENCE = 1.0  # seconds that a body may take; the status stands, even if the body never comes


async def read_body(response: aiohttp.ClientResponse) -> bytes:
    """Return the first 64 KiB of a body. What is longer than a MiB, or does not come, costs the connection."""
    body = bytearray()
    size = 0
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in response.content.iter_any():
                size += len(chunk)
                body += chunk[: MOST - len(body)]
                if size > DRAINED:
                    response.close()
                    break
    except (TimeoutError, aiohttp.ClientError, OSError):
        response.close()
    return _unpacked(bytes(body), response.headers.get("Content-Encoding", "").strip().lower())


def _unpacked(body: bytes, encoding: str) -> bytes:
    """Undo gzip and deflate, as far as that goes; anything else stays as it is."""
    if encoding not in {"gzip", "x-gzip", "deflate"} or not body:
        return body
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(body, MOST)
    except zlib.error:
        return b""
