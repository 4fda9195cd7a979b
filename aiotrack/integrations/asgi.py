"""ASGI: a lifespan that starts and closes a client with the application, and a middleware for the current user."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeVar, overload

from aiotrack.client import Client

from .visitors import Answer, Visitors, check_factory, made_by

__all__ = ["ASGIApp", "Lifespan", "Receive", "Scope", "Send", "TrackingMiddleware", "client_of", "lifespan"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

App = TypeVar("App")
State = TypeVar("State")
Lifespan = Callable[[App], contextlib.AbstractAsyncContextManager[State]]

_running: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[tuple[object, Client]]] = (
    weakref.WeakKeyDictionary()
)


@overload
def lifespan(make_client: Callable[[], Client]) -> Lifespan[Any, None]: ...
@overload
def lifespan(make_client: Callable[[], Client], app_lifespan: Lifespan[App, State]) -> Lifespan[App, State]: ...
def lifespan(make_client: Callable[[], Client], app_lifespan: Lifespan[Any, Any] | None = None) -> Lifespan[Any, Any]:
    """Return a lifespan in which a client is started before the application's own, and closed after it.

    `make_client` makes a client each time, since one never reopens. For `FastAPI(lifespan=...)`, `Starlette(...)` and
    whatever else takes a function of the application that returns an async context manager. `app_lifespan` is the
    application's own, or None; what it yields is yielded. Closing takes the client's `shutdown_timeout` at most. Raises
    ConfigError.
    """
    check_factory(make_client, Client)

    @contextlib.asynccontextmanager
    async def with_client(app: Any) -> AsyncGenerator[Any]:
        async with made_by(make_client, Client) as client:
            here = _running.setdefault(asyncio.get_running_loop(), [])
            here.append((app, client))
            try:
                if app_lifespan is None:
                    yield None
                else:
                    async with app_lifespan(app) as state:
                        yield state
            finally:
                here.remove((app, client))

    return with_client


def client_of(scope: Scope) -> Client | None:
    """Return the client of the application that a request is for, or the one of this event loop; None where none is."""
    here = _running.get(asyncio.get_running_loop()) or ()
    app = scope.get("app")
    return next((client for owner, client in here if owner is app), here[-1][1] if here else None)


class TrackingMiddleware:
    """A pure ASGI middleware: within a request or a WebSocket, `aiotrack.current_user()` is its user.

    `user` is a function of the scope, `async def` or not: it returns a user's id, or a pair of that and attributes, a
    user context, or None for nobody. User agent and address come from the request; `trusted_proxies` are the addresses
    and networks, or "unix", whose `X-Forwarded-For` counts. What `user` raises costs the request nothing: it is logged.
    Raises ConfigError.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        user: Callable[[Scope], Answer] | None = None,
        trusted_proxies: Iterable[str] = (),
    ) -> None:
        self.app = app
        self._visitors = Visitors(user, trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its user as the current one."""
        if scope["type"] not in {"http", "websocket"} or self._visitors.user is None:
            await self.app(scope, receive, send)
            return
        answer = await self._visitors.ask(scope)
        with self._visitors.use(client_of(scope), answer, ScopeVisitor(scope)):
            await self.app(scope, receive, send)


class ScopeVisitor:
    """What a scope tells of its request."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @property
    def user_agent(self) -> str | None:
        """Its `User-Agent`."""
        return self._header(b"user-agent") or None

    @property
    def peer(self) -> str | None:
        """The address that it came from."""
        client = self._scope.get("client")
        return str(client[0]) if client else None

    @property
    def forwarded_for(self) -> str:
        """Its `X-Forwarded-For`."""
        return self._header(b"x-forwarded-for")

    def _header(self, name: bytes) -> str:
        found = [value for header, value in self._scope.get("headers", ()) if header == name]
        return b",".join(found).decode("latin-1")
