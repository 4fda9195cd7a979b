"""Quart: `setup(app, make_client, user=...)`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any, cast

from quart import Quart

from aiotrack.client import Client

from .asgi import ASGIApp, Scope, TrackingMiddleware, client_of, lifespan
from .visitors import Answer

__all__ = ["client_of", "setup"]


def setup(
    app: Quart,
    make_client: Callable[[], Client],
    *,
    user: Callable[[Scope], Answer] | None = None,
    trusted_proxies: Iterable[str] = (),
) -> Quart:
    """Start a client with the application, close it with it, and set the current user of each request; return the app.

    `make_client` makes a client for each start. `user` is a function of the ASGI scope, `async def` or not, since
    it is asked before Quart has its request: it returns a user's id, a user context, or None for nobody. In a handler,
    `aiotrack.use_user` sets whom only Quart's session knows. `trusted_proxies`: see `TrackingMiddleware`. Raises
    ConfigError.
    """
    with_client = lifespan(make_client)

    @app.while_serving
    async def serve_with_client() -> AsyncGenerator[None, None]:
        async with with_client(app):
            yield

    wrapped: Any = TrackingMiddleware(cast("ASGIApp", app.asgi_app), user=user, trusted_proxies=trusted_proxies)
    app.asgi_app = wrapped  # type: ignore[method-assign]
    return app
