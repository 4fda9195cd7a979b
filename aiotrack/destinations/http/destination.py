"""The destination that posts JSON over HTTP, and the base of those that post something else."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import aiohttp
import attrs
from yarl import URL

from aiotrack.destinations.base import Destination, DestinationOptions
from aiotrack.destinations.credentials import CredentialError, Credentials, SecretText
from aiotrack.model.batch import TIMED_OUT, Answer, Batch, Request
from aiotrack.model.errors import ConfigError, StartError
from aiotrack.model.identity import Identity
from aiotrack.model.log import logger
from aiotrack.model.mistakes import Mistakes
from aiotrack.model.routing import Only, Rename
from aiotrack.model.settings import at_least, seconds
from aiotrack.model.urls import http_url, is_loopback, origin
from aiotrack.model.worker import Worker

from .body import read_body
from .compression import Compression, compressor
from .connector import Connector, status_of
from .failures import failure_name
from .headers import Headers
from .proxies import Proxies
from .resolver import Resolver
from .tls import TLSOption, tls_context

if TYPE_CHECKING:
    from aiotrack.model.host import Client

__all__ = ["HTTPDestination", "HTTPOptions"]

ONE_PIECE = 1 << 20  # bytes of a body
LONGEST_LINE = 64 * 1024  # bytes of a status line or header in an answer
REFUSED = frozenset({401, 403})  # about a secret, which may have changed


class HTTPOptions(DestinationOptions, total=False):
    """The options that every HTTP destination has, by whatever service; a subclass takes them as `**http`."""

    timeout: float
    """Seconds that one attempt may take, connecting included (default: 15)."""
    compression: Compression | None
    """"gzip", or "zstd" (with the package zstandard), for a server that takes it; bodies that it makes no smaller go as
    they are."""
    max_in_flight: int
    """How many requests may be under way at once (default: 1); with more, batches may arrive out of order."""
    ssl: TLSOption | None
    """For a private authority the path of its CA file; for a client certificate a table of `ca_file`, `cert_file`,
    `key_file` and `key_password`; or a context. TLS is always verified."""
    proxy: str | None
    """The URL of an HTTP proxy."""
    trust_env: bool
    """Whether the environment's proxies count: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` (default: no)."""
    session: aiohttp.ClientSession | None
    """One of your own, whose connections and traces are used, and which is left open."""


class HTTPDestination(Destination):
    """Post events as a JSON array to a URL; any 2xx means that they arrived. Redirects are not followed.

    `headers` are sent with every request; a value may be a function that returns it (see `Secret`). `HTTPOptions` has
    the other options. Raises ConfigError.
    """

    kind = "http"
    compress_from: ClassVar[int] = 1024
    """Bodies of fewer bytes are not compressed."""

    def __init__(
        self,
        url: str,
        *,
        name: str | None = None,
        headers: Mapping[str, SecretText] | None = None,
        timeout: float = 15.0,
        compression: Compression | None = None,
        max_in_flight: int = 1,
        ssl: TLSOption | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        session: aiohttp.ClientSession | None = None,
        only: Only | None = None,
        rename: Rename | None = None,
    ) -> None:
        self.credentials = Credentials()
        """The secrets that it was given; a subclass adds its own."""
        with Mistakes() as mistakes:
            mistakes.check(super().__init__, name=name, only=only, rename=rename)
            self._url = mistakes.check(http_url, "url", url)
            self._headers = mistakes.check(Headers, headers, self.credentials, {"Content-Type": "application/json"})
            if not mistakes.found and URL(self._url).user is not None and "authorization" in self._headers.names:
                mistakes.add("url: has a user, beside headers.Authorization: only one of them can be sent")
            mistakes.check(seconds, "timeout", timeout)
            self.max_in_flight = mistakes.check(at_least, 1, "max_in_flight", max_in_flight)
            self._compress = None if compression is None else mistakes.check(compressor, compression)
            self._ssl = mistakes.check(tls_context, ssl)
            self._proxies = mistakes.check(Proxies, proxy, trust_env)
            self._given = mistakes.check(_usable, session, self._proxies)
        self._encoding = compression
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=min(timeout, 5.0))
        self._session: aiohttp.ClientSession | None = None
        self._worker = Worker("compression")

    @property
    def identity(self) -> Identity:
        """What its events are for: the URL, without user and query."""
        return Identity(self.kind, origin(self._url), URL(self._url).raw_path)

    @property
    def remote(self) -> bool:
        """Whether requests leave this machine; who brings a `send` of its own says so itself."""
        here = all(is_loopback(host) for host in self.hosts(self._url))
        return not here and type(self).send is HTTPDestination.send

    def hosts(self, url: str) -> list[str | None]:
        """Name the machines that a request to a URL goes to: its own, and the proxy."""
        return [URL(one).host for one in (url, self._proxies.of(url)) if one]

    @property
    def session(self) -> aiohttp.ClientSession | None:
        """The session that requests are sent with; None until started, and after the close."""
        return self._session

    def connection(self, url: str) -> dict[str, Any]:
        """Return what aiohttp is to be told for a request of this destination to a URL: its TLS, and its proxy."""
        return {"ssl": self._ssl or True, "proxy": self._proxies.of(url)}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {origin(self._url)}>"

    async def start(self, client: Client) -> None:
        """Open a session: of an application's own only the connections and the traces are used.

        Whatever else it is set to, headers, a base URL, raising for a status, must not change what is sent here, or
        what an answer means.
        """
        if self._given is None:
            connector: aiohttp.BaseConnector = Connector(resolver=Resolver())
            if isinstance(connector, Connector) and not connector.keeps_answers:
                logger.warning(
                    "%s: this aiohttp shows no answer that it can't parse; such answers are retried", self.name
                )
        elif self._given.closed or self._given.connector is None:
            raise StartError(f"destination {self.name!r}: the session it was given is closed")
        else:
            connector = self._given.connector
        self.credentials.start(client.clock)
        self._worker = Worker(f"compression {self.name}")
        self._session = aiohttp.ClientSession(
            connector=connector,
            connector_owner=self._given is None,
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=None if self._given is None else self._given.trace_configs,
        )

    @property
    def can_send(self) -> bool:
        """Whether a request can still be sent; not once the application has closed the session that it gave."""
        connector = None if self._session is None else self._session.connector
        return connector is not None and not connector.closed

    def frame(self, entries: Sequence[bytes], batch_header: bytes, /) -> Request:
        """Join the events to a JSON array."""
        return Request(url=self._url, body=b"[" + b",".join(entries) + b"]", headers=self._headers.now())

    async def send(self, batch: Batch) -> Answer:
        """Send the request, framed anew where there are secrets that may have changed."""
        if not self.credentials.change:
            return await self._exchange(batch.request)
        return await self.request(lambda: self.frame(batch.entries, batch.batch_header))

    async def request(self, make: Callable[[], Request]) -> Answer:
        """Send a request that is made with the secrets of now; with new ones once more, where these are refused."""
        timeout = float(self._timeout.total or 0)
        try:
            await self.credentials.refresh(timeout)
        except CredentialError as exc:
            return Answer(error=str(exc))
        version = self.credentials.version
        answer = await self._exchange(make())
        if answer.status not in REFUSED:
            return answer
        try:
            renewed = await self.credentials.renew(version, timeout)
        except CredentialError as exc:
            return attrs.evolve(answer, error=f"HTTP {answer.status}; {exc}")
        return await self._exchange(make()) if renewed else answer

    async def _exchange(self, request: Request) -> Answer:
        """Send a request over aiohttp, within `timeout` seconds, compression included."""
        session = self._session
        if session is None or not self.can_send:
            return Answer(error="not started" if session is None else "the session it was given is closed")
        try:
            async with asyncio.timeout(self._timeout.total) as limit:
                return await self._sent(session, request, limit)
        except TimeoutError:
            return Answer(error=TIMED_OUT)
        except aiohttp.ClientHttpProxyError as exc:  # what the proxy says, in place of the server
            return Answer(status=exc.status, headers=exc.headers or {})
        except aiohttp.ClientResponseError as exc:
            found = status_of(exc)
            if found is None:
                return Answer(error=f"an answer that is no HTTP ({type(exc).__name__})")
            return Answer(status=found[0], headers=found[1])
        except (aiohttp.ClientError, OSError) as exc:
            return Answer(error=failure_name(exc))

    async def _sent(self, session: aiohttp.ClientSession, request: Request, limit: asyncio.Timeout) -> Answer:
        body, headers = await self._packed(request)
        async with session.request(
            request.method,
            URL(request.url, encoded=True),
            # A large body in one piece would hold up the loop; aiohttp sends a file in chunks.
            data=body if len(body) <= ONE_PIECE else io.BytesIO(body),
            headers=headers,
            timeout=self._timeout,
            **self.connection(request.url),
            allow_redirects=False,
            auto_decompress=False,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
        ) as response:
            limit.reschedule(None)  # the status stands, however long the body takes
            return Answer(status=response.status, headers=response.headers.copy(), body=await read_body(response))

    async def _packed(self, request: Request) -> tuple[bytes, Mapping[str, str]]:
        """Return body and headers as they are sent: compressed where that pays, to the same bytes each time."""
        if self._compress is not None and len(request.body) >= self.compress_from:
            compress, whole = self._compress, request.body
            packed = await self._worker.run(lambda: compress(whole))
            if len(packed) < len(request.body):
                return packed, {**request.headers, "Content-Encoding": str(self._encoding)}
        return request.body, request.headers

    async def close(self) -> None:
        """Close the session; an application's own connections stay open."""
        session, self._session = self._session, None
        self._worker.stop()
        if session is not None:
            await session.close()


def _usable(session: object, proxies: Proxies | None) -> aiohttp.ClientSession | None:
    """Return a session that was given; raise ConfigError for what is none, or can't go by a proxy."""
    if session is None:
        return None
    if not isinstance(session, aiohttp.ClientSession):
        raise ConfigError(f"session: expected an aiohttp.ClientSession, got {type(session).__name__}")
    if (
        proxies is not None
        and proxies.any
        and isinstance(session.connector, aiohttp.UnixConnector | aiohttp.NamedPipeConnector)
    ):
        raise ConfigError(f"proxy: a session over {type(session.connector).__name__} can't go by a proxy")
    return session
