"""A real server whose answers are scripted."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
from collections import deque
from collections.abc import Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Self

import attrs
import orjson
from aiohttp import web

from .time import until

__all__ = ["Collector", "Received", "Reply"]


@attrs.frozen(kw_only=True)
class Reply:
    """One scripted answer.

    With `hang` the server takes the request and never answers; with `lose` it takes it, answers nothing and closes
    the connection, as when an acknowledgement is lost.
    """

    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    hang: bool = False
    lose: bool = False


@attrs.frozen(kw_only=True)
class Received:
    """One request as it reached the server."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    status: int

    def json(self) -> Any:
        """Return the body, parsed."""
        return orjson.loads(self.body)


Answering = Callable[[Received], Reply | None]


class Collector:
    """A real HTTP server on loopback, port chosen by the system, that keeps what it receives.

    It answers with the scripted replies, in order, and then with `default`. `answer`, a function of the
    request, decides first when it is given; None leaves it to the script. `port` is for one that comes back where
    it was; 0 is a free one.

        async with Collector() as collector:
            collector.script(Reply(status=503), Reply(status=429, headers={"Retry-After": "1"}))
            ...
            await collector.wait_for(3)
    """

    def __init__(self, *, default: Reply = Reply(), answer: Answering | None = None, port: int = 0) -> None:
        self.requests: list[Received] = []
        self._default = default
        self._answer = answer
        self._port = port
        self._script: deque[Reply] = deque()
        self._runner: web.AppRunner | None = None
        self._hanging: list[asyncio.Future[None]] = []
        self._url = ""

    @property
    def url(self) -> str:
        """The server's address, with a path."""
        return self._url

    def script(self, *replies: Reply) -> None:
        """Answer the next requests with these."""
        self._script.extend(replies)

    def events(self, *, delivered: bool = True) -> list[Any]:
        """Return the items of all bodies that are JSON arrays; `delivered`: of those answered with 2xx."""
        return [
            event
            for request in self.requests
            if not delivered or 200 <= request.status < 300
            for event in request.json()
        ]

    async def wait_for(self, requests: int, *, timeout: float = 10.0) -> None:
        """Wait until that many requests have been received. Raises TimeoutError."""
        await until(lambda: len(self.requests) >= requests, timeout=timeout)

    @contextlib.contextmanager
    def in_a_thread(self) -> Generator[Self]:
        """Run the server on an event loop of its own, for tests that have none, or that block theirs."""
        ready: concurrent.futures.Future[Callable[[], object]] = concurrent.futures.Future()

        async def serve() -> None:
            over = asyncio.Event()
            async with self:
                ready.set_result(functools.partial(asyncio.get_running_loop().call_soon_threadsafe, over.set))
                await over.wait()

        with concurrent.futures.ThreadPoolExecutor(1, "aiotrack collector") as thread:
            serving = thread.submit(asyncio.run, serve())
            stop = ready.result(timeout=10)
            try:
                yield self
            finally:
                stop()
                serving.result()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self._url = f"http://{host}:{port}/events"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for hanging in self._hanging:
            hanging.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        received = Received(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=request.headers.copy(),
            body=body,
            status=0,
        )
        reply = self._answer(received) if self._answer is not None else None
        if reply is None:
            reply = self._script.popleft() if self._script else self._default
        self.requests.append(attrs.evolve(received, status=0 if reply.hang else reply.status))
        if reply.lose and request.transport is not None:
            request.transport.abort()
        if reply.hang:
            hanging = asyncio.get_running_loop().create_future()
            self._hanging.append(hanging)
            await hanging
        return web.Response(status=reply.status, headers=reply.headers, body=reply.body)
