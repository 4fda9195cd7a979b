"""Starlette: `setup(app, make_client, user=...)`; or `lifespan` and `TrackingMiddleware`, to be put in by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from aiotrack.client import Client

from .asgi import TrackingMiddleware, client_of, lifespan
from .visitors import Answer, Visitors

__all__ = ["TrackingMiddleware", "client_of", "lifespan", "setup"]

App = TypeVar("App", bound=Starlette)


def setup(
    app: App,
    make_client: Callable[[], Client],
    *,
    user: Callable[[HTTPConnection], Answer] | None = None,
    trusted_proxies: Iterable[str] = (),
) -> App:
    """Start a client with the application, close it with it, and set the current user of each request; return the app.

    To be called before the application starts. `make_client` makes a client for each lifespan. `user` is a function of
    the connection, `async def` or not: it returns a user's id, a user context, or None for nobody. Middleware that is
    added after this call runs before `user` is asked: an authentication, say. `trusted_proxies`: see
    `TrackingMiddleware`. Raises ConfigError.
    """
    proxies = tuple(trusted_proxies) if not isinstance(trusted_proxies, str) else trusted_proxies
    # Starlette makes the middleware, and would find what is wrong, with the first request.
    visitors = Visitors(user, proxies)
    own: Any = app.router.lifespan_context
    app.router.lifespan_context = lifespan(make_client, own)
    ask = visitors.user
    asked = None if ask is None else lambda scope: ask(HTTPConnection(scope))
    app.add_middleware(TrackingMiddleware, user=asked, trusted_proxies=proxies)
    return app
