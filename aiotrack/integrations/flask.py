"""Flask: `setup(app, make_client, user=...)`, with a client that needs no event loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from flask import Flask, Request, g, request

from aiotrack.sync.client import SyncClient

from .visitors import Answer, Visitors, made_by
from .wsgi import EnvironVisitor

__all__ = ["client_of", "setup"]

EXTENSION = "aiotrack"
OPEN = "_aiotrack_open"  # what is to be undone when the request ends


def setup(
    app: Flask,
    make_client: Callable[[], SyncClient],
    *,
    user: Callable[[Request], Answer] | None = None,
    trusted_proxies: Iterable[str] = (),
) -> Flask:
    """Give the application a client, and set the current user of each request; return the app.

    The client starts with the first event, in each worker, and is closed at the worker's end. `user` is a plain
    function of the request: it returns a user's id, a user context, or None for nobody; `before_request` functions that
    are there before this call run before it is asked. `trusted_proxies` are the addresses and networks, or "unix",
    whose `X-Forwarded-For` counts. Raises ConfigError.
    """
    client = app.extensions[EXTENSION] = made_by(make_client, SyncClient)
    visitors = Visitors(user, trusted_proxies)

    def set_current_user() -> None:
        stack = contextlib.ExitStack()
        stack.enter_context(visitors.use(client, visitors.ask_now(request), EnvironVisitor(request.environ)))
        setattr(g, OPEN, stack)

    def unset_current_user(_: BaseException | None) -> None:
        stack: contextlib.ExitStack | None = g.pop(OPEN, None)
        if stack is not None:
            stack.close()

    if user is not None:
        app.before_request(set_current_user)
        app.teardown_request(unset_current_user)
    return app


def client_of(app: Flask) -> SyncClient:
    """Return the client of an application. Raises KeyError where it was not set up."""
    client: SyncClient = app.extensions[EXTENSION]
    return client
