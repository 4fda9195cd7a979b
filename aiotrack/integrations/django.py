"""Django: a middleware for sync and async views, and an ASGI application that closes the client with the server.

`MIDDLEWARE = [..., "aiotrack.integrations.django.TrackingMiddleware"]`, and, where the environment does not say all,

    AIOTRACK = {
        "CLIENT": {...},          # as `SyncClient.from_config` takes it, or a function that returns a SyncClient
        "USER": "shop.tracking.user_of",  # a function of the request (default: the authenticated user's primary key)
        "TRUSTED_PROXIES": [...],  # addresses and networks, or "unix", whose X-Forwarded-For counts
    }

A function is given by itself or by its dotted path. There is one client a process, a `SyncClient`: it starts with the
first event, in each worker, and is closed at the worker's end. In an async view the current user's calls are awaited.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.asgi import get_asgi_application as get_djangos
from django.http import HttpRequest
from django.utils.module_loading import import_string

from aiotrack.model.errors import AiotrackError, ConfigError
from aiotrack.model.log import EpisodeLog
from aiotrack.model.suggestions import near
from aiotrack.sync.client import SyncClient

from .asgi import ASGIApp, Receive, Scope, Send
from .visitors import Answer, Maker, Visitors, made_by
from .wsgi import EnvironVisitor

__all__ = ["TrackingMiddleware", "get_asgi_application", "get_client"]

SETTING = "AIOTRACK"
KEYS = ("CLIENT", "TRUSTED_PROXIES", "USER")

NO_LIFESPAN = (
    "asgi.py has Django's get_asgi_application: a server that ends by a signal loses what is pending then; "
    "aiotrack.integrations.django has one that closes the client first"
)
_applications: list[object] = []  # that close the client with the server
_log = EpisodeLog(time.monotonic)

GetResponse = Callable[[HttpRequest], Any]


@functools.cache
def get_client() -> SyncClient:
    """Return the client of this process; it starts with the first event. Raises ConfigError."""
    client: Any = _options().get("CLIENT")
    if isinstance(client, str):
        client = import_string(client)
    if not callable(client):
        return SyncClient.from_config(client)
    make: Any = client
    return made_by(make, SyncClient)


def _options() -> Mapping[str, Any]:
    options = getattr(settings, SETTING, {})
    if not isinstance(options, Mapping):
        raise ConfigError(f"{SETTING}: expected a dict, got {type(options).__name__}")
    for key in options:
        if key not in KEYS:
            raise ConfigError(f"{SETTING}[{key!r}]: no such setting; {near(str(key), KEYS)}")
    return options


def _visitors() -> Visitors[HttpRequest]:
    options = _options()
    user = options.get("USER", authenticated_user)
    if isinstance(user, str):
        user = import_string(user)
    return Visitors(user, options.get("TRUSTED_PROXIES", ()))


def authenticated_user(request: HttpRequest) -> Answer:
    """Return the primary key of who is logged in; a request without a session's cookie costs no query."""
    if settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return None
    return _primary_key(getattr(request, "user", None))


async def _authenticated_user(request: HttpRequest) -> Answer:
    ask: Any = getattr(request, "auser", None)  # of Django's authentication middleware
    if ask is None or settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return None
    return _primary_key(await ask())


def _primary_key(user: Any) -> str | None:
    return str(user.pk) if user is not None and user.is_authenticated else None


class TrackingMiddleware:
    """Within a view, sync or async, `aiotrack.current_user()` is the request's user. It goes below authentication."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response
        self._visitors = _visitors()
        self._client = get_client()
        # Not inspect's, which does not know the mark of `markcoroutinefunction` before Python 3.12.
        self._is_async = iscoroutinefunction(get_response)  # pyright: ignore[reportDeprecated]
        if self._is_async:
            markcoroutinefunction(self)
            if self._visitors.user is authenticated_user:
                self._visitors.user = _authenticated_user

    def __call__(self, request: HttpRequest) -> Any:
        """Pass a request on, with its user as the current one."""
        if self._is_async:
            return self._respond(request)
        answer = self._visitors.ask_now(request)
        with self._visitors.use(self._client, answer, EnvironVisitor(request.META)):
            return self._get_response(request)

    async def _respond(self, request: HttpRequest) -> Any:
        if hasattr(request, "scope") and not _applications:
            _log.once(logging.WARNING, "lifespan", NO_LIFESPAN, until_over=True)
        answer = await self._visitors.ask(request)
        client = None if answer is None else await self._awaitable_client()
        with self._visitors.use(client, answer, EnvironVisitor(request.META)):
            return await self._get_response(request)

    async def _awaitable_client(self) -> Maker:
        """Return the client whose users' calls are awaited; the sync one, which refuses events, if it can't start."""
        try:
            return await asyncio.to_thread(self._client.async_client)
        except AiotrackError:  # the client has said why
            return self._client


def get_asgi_application() -> ASGIApp:
    """Return Django's ASGI application, which closes the client when the server ends; in place of Django's function.

    Django itself does not answer the server's lifespan, and some servers end a process without Python's own end.
    """
    djangos = get_djangos()
    _applications.append(djangos)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            await djangos(scope, receive, send)

    return application


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await asyncio.to_thread(get_client().close)
            await send({"type": "lifespan.shutdown.complete"})
            return
