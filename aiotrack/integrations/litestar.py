"""Litestar: `Litestar(..., plugins=[TrackingPlugin(make_client, user=...)])`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.middleware import DefineMiddleware
from litestar.plugins import InitPlugin

from aiotrack.client import Client

from .asgi import TrackingMiddleware, client_of, lifespan
from .visitors import Answer, Visitors

__all__ = ["TrackingPlugin", "client_of"]


class TrackingPlugin(InitPlugin):
    """Starts a client with the application, closes it with it, and sets the current user of each request.

    `make_client` makes a client for each lifespan. `user` is a function of the connection, `async def` or not: it
    returns a user's id, a user context, or None for nobody; the application's own middleware, an authentication, say,
    runs before it is asked. `trusted_proxies`: see `TrackingMiddleware`. Raises ConfigError.
    """

    def __init__(
        self,
        make_client: Callable[[], Client],
        *,
        user: Callable[[ASGIConnection[Any, Any, Any, Any]], Answer] | None = None,
        trusted_proxies: Iterable[str] = (),
    ) -> None:
        self._lifespan = lifespan(make_client)
        self._trusted = tuple(trusted_proxies) if not isinstance(trusted_proxies, str) else trusted_proxies
        self._user = Visitors(user, self._trusted).user

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add lifespan and middleware."""
        ask: Any = self._user
        asked = None if ask is None else lambda scope: ask(ASGIConnection(scope))
        app_config.lifespan = [self._lifespan, *app_config.lifespan]
        make: Any = TrackingMiddleware
        middleware = DefineMiddleware(make, user=asked, trusted_proxies=self._trusted)
        app_config.middleware = [*app_config.middleware, middleware]
        return app_config
