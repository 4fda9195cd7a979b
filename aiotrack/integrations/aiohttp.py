"""aiohttp.web: `setup(app, make_client, user=...)`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from aiohttp import web

from aiotrack.client import Client
from aiotrack.tracking.context import UserContext
from aiotrack.tracking.current import current_user

from .visitors import Answer, Visitors, check_factory, made_by

__all__ = ["CLIENT", "USER", "setup"]

CLIENT = web.AppKey("aiotrack_client", Client)
"""Where the client is while the application runs: `request.config_dict[CLIENT]`, in a sub-application, too."""

USER: Any = web.RequestKey("aiotrack_user", UserContext) if hasattr(web, "RequestKey") else "aiotrack_user"
"""Where the current user of a request is, too, a user context or None: `request[USER]`."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def setup(
    app: web.Application,
    make_client: Callable[[], Client],
    *,
    user: Callable[[web.Request], Answer] | None = None,
    trusted_proxies: Iterable[str] = (),
) -> web.Application:
    """Start a client with the application, close it with it, and set the current user of each request; return the app.

    `make_client` makes a client for each start. `user` is a function of the request, `async def` or not: it returns a
    user's id, a user context, or None for nobody; middleware that is in the application before this call runs before
    it is asked. `trusted_proxies` are the addresses and networks, or "unix", whose `X-Forwarded-For` counts. Raises
    ConfigError.
    """
    check_factory(make_client, Client)
    visitors = Visitors(user, trusted_proxies)

    async def with_client(app: web.Application) -> AsyncIterator[None]:
        async with made_by(make_client, Client) as client:
            app[CLIENT] = client
            yield

    @web.middleware
    async def set_current_user(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await visitors.ask(request)
        with visitors.use(request.config_dict.get(CLIENT), answer, _Visitor(request)):
            request[USER] = current_user()
            return await handler(request)

    app.cleanup_ctx.append(with_client)
    if user is not None:
        app.middlewares.append(set_current_user)
    return app


class _Visitor:
    """What a request tells."""

    def __init__(self, request: web.Request) -> None:
        self._request = request

    @property
    def user_agent(self) -> str | None:
        return self._request.headers.get("User-Agent")

    @property
    def peer(self) -> str | None:
        peer = None if self._request.transport is None else self._request.transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else None

    @property
    def forwarded_for(self) -> str:
        return ",".join(self._request.headers.getall("X-Forwarded-For", ()))
