"""The destination that posts JSON over HTTP, and the base of those that post something else."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, TypedDict

import aiohttp
from yarl import URL

from aiotrack.destinations.base import Destination
from aiotrack.model.batch import Answer, Batch, Request
from aiotrack.model.errors import ConfigError, StartError
from aiotrack.model.settings import at_least, seconds
from aiotrack.model.urls import http_url, is_loopback, origin

from .compression import Compression, compressor
from .resolver import Resolver

if TYPE_CHECKING:
    from aiotrack.model.host import Client

__all__ = ["HTTPDestination", "HTTPOptions"]

ONE_PIECE = 1 << 20  # bytes of a body
BODY_TIMEOUT = 1.0  # seconds
ANSWER_BYTES = 4096  # of an error's body, kept for listeners and dead letters


class HTTPOptions(TypedDict, total=False):
    """The options that every HTTP destination has, by whatever service; a subclass takes them as `**http`."""

    timeout: float
    """Seconds that one attempt may take, connecting included (default: 15)."""
    compression: Compression | None
    """"gzip", or "zstd" (with the package zstandard), for a server that takes it; bodies that it makes no smaller go as
    they are."""
    max_in_flight: int
    """How many requests may be under way at once (default: 1); with more, batches may arrive out of order."""
    ssl: ssl.SSLContext | None
    """For a private authority, or a client certificate; TLS is verified."""
    proxy: str | None
    """The URL of an HTTP proxy; the environment's is not looked at."""
    session: aiohttp.ClientSession | None
    """One of your own, which is used and left open."""


class HTTPDestination(Destination):
    """Post events as a JSON array to a URL; any 2xx means that they arrived. Redirects are not followed.

    `headers` are sent with every request; `HTTPOptions` has the other options. Raises ConfigError.
    """

    kind = "http"
    compress_from: ClassVar[int] = 1024
    """Bodies of fewer bytes are not compressed."""

    def __init__(
        self,
        url: str,
        *,
        name: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 15.0,
        compression: Compression | None = None,
        max_in_flight: int = 1,
        ssl: ssl.SSLContext | None = None,
        proxy: str | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        super().__init__(name=name)
        self._url = http_url("url", url)
        seconds("timeout", timeout)
        self.max_in_flight = at_least(1, "max_in_flight", max_in_flight)
        self._compress = None if compression is None else compressor(compression)
        self._encoding = compression
        for key, value in (headers or {}).items():
            if not (isinstance(key, str) and isinstance(value, str)):
                raise ConfigError(f"headers.{key}: expected text, got {type(value).__name__}")
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=min(timeout, 5.0))
        self._ssl = ssl
        self._proxy = None if proxy is None else http_url("proxy", proxy)
        self._session = session
        self._owns_session = session is None

    @property
    def remote(self) -> bool:
        """Whether requests leave this machine; who brings a `send` of its own says so itself."""
        here = all(is_loopback(host) for host in self.hosts(self._url))
        return not here and type(self).send is HTTPDestination.send

    def hosts(self, url: str) -> list[str | None]:
        """Name the machines that a request to a URL goes to: its own, and the proxy."""
        return [URL(one).host for one in (url, self._proxy) if one]

    @property
    def session(self) -> aiohttp.ClientSession | None:
        """The session that requests are sent with; None until started."""
        return self._session

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {origin(self._url)}>"

    async def start(self, client: Client) -> None:
        """Open a session, unless one was given."""
        if self._owns_session:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._ssl or True, resolver=Resolver()),
                cookie_jar=aiohttp.DummyCookieJar(),
                proxy=self._proxy,
            )
        elif self._session is None or self._session.closed:
            raise StartError(f"destination {self.name!r}: the session it was given is closed")

    def frame(self, entries: Sequence[bytes], batch_header: bytes, /) -> Request:
        """Join the events to a JSON array."""
        return Request(url=self._url, body=b"[" + b",".join(entries) + b"]", headers=self._headers)

    async def send(self, batch: Batch) -> Answer:
        """Send the request over aiohttp."""
        session = self._session
        if session is None:
            return Answer(error="not started")
        request = batch.request
        body, headers = await self._packed(request)
        try:
            async with session.request(
                request.method,
                URL(request.url, encoded=True),
                # A large body in one piece would hold up the loop; aiohttp sends a file in chunks.
                data=body if len(body) <= ONE_PIECE else io.BytesIO(body),
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                return Answer(status=response.status, headers=response.headers.copy(), body=await _start_of(response))
        except TimeoutError:
            return Answer(error="timeout")
        except (aiohttp.ClientError, OSError) as exc:
            return Answer(error=type(exc).__name__)

    async def _packed(self, request: Request) -> tuple[bytes, Mapping[str, str]]:
        """Return body and headers as they are sent: compressed where that pays, to the same bytes each time."""
        if self._compress is not None and len(request.body) >= self.compress_from:
            packed = await asyncio.to_thread(self._compress, request.body)
            if len(packed) < len(request.body):
                return packed, {**request.headers, "Content-Encoding": str(self._encoding)}
        return request.body, request.headers

    async def close(self) -> None:
        """Close the session if it is ours."""
        session = self._session
        if self._owns_session and session is not None:
            self._session = None
            await session.close()


async def _start_of(response: aiohttp.ClientResponse) -> bytes:
    """Read the start of an answer's body. The status stands, even if the body never comes."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await response.content.read(ANSWER_BYTES)
    except (TimeoutError, aiohttp.ClientError, OSError):
        return b""
