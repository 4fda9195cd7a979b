"""The webhook: VWO says that the settings have changed, and proves that it is VWO."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from aiotrack.errors import ConfigError, StartError

if TYPE_CHECKING:
    from .destination import VWO

__all__ = ["Webhook"]

LARGEST = 1 << 20  # bytes of a body

Message = MutableMapping[str, Any]


class Webhook:
    """Refreshes the settings when VWO's signed request comes; an aiohttp handler and an ASGI application.

    `secret` is the one that VWO shows beside the webhook's URL, `header` the name of the header in which it puts the
    signature: the HMAC-SHA256 of the body, in hexadecimal, with or without `sha256=` before it.

        app.router.add_post("/vwo", webhook.aiohttp)      # aiohttp
        Mount("/vwo", app=webhook)                        # Starlette, or any ASGI server
    """

    def __init__(self, vwo: VWO, secret: str, *, header: str) -> None:
        if not isinstance(secret, str) or not secret:
            raise ConfigError(f"secret: expected text, got {type(secret).__name__}")
        if not isinstance(header, str) or not header:
            raise ConfigError(f"header: expected the name of a header, got {type(header).__name__}")
        self._vwo = vwo
        self._secret = secret.encode()
        self._header = header.lower()

    def verify(self, body: bytes, signature: str | None) -> bool:
        """Tell whether a signature is that of a body; takes as long for a wrong one."""
        expected = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        came = (signature or "").strip().removeprefix("sha256=").lower()
        return hmac.compare_digest(expected.encode(), came.encode("utf-8", "replace"))

    async def receive(self, body: bytes, signature: str | None) -> int:
        """Verify and refresh; return the HTTP status to answer with."""
        if not self.verify(body, signature):
            return 401
        try:
            fetch = await self._vwo.refresh()
        except StartError:
            return 503
        return 200 if fetch.outcome != "failed" else 502

    async def aiohttp(self, request: web.Request) -> web.Response:
        """Handle a request in an aiohttp application."""
        body = await request.read()
        return web.Response(status=await self.receive(body, request.headers.get(self._header)))

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Be an ASGI application."""
        if scope["type"] != "http":
            return
        status = 405
        if scope["method"] == "POST":
            body = await _body(receive)
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            status = 413 if body is None else await self.receive(body, headers.get(self._header))
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes | None:
    """Read a body; None for one that is too large or was broken off."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > LARGEST:
            return None
        if not message.get("more_body"):
            return bytes(body)
