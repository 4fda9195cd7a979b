"""What users write in each framework, for mypy --strict and pyright: nothing is to be said of it. Never run."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Annotated, Any, assert_type

from aiohttp import web
from fastapi import Depends, FastAPI, Header
from flask import Flask
from flask import Request as FlaskRequest
from litestar import Litestar
from litestar.connection import ASGIConnection
from quart import Quart
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection

import aiotrack
import aiotrack.integrations.aiohttp
import aiotrack.integrations.fastapi
import aiotrack.integrations.flask
import aiotrack.integrations.quart
import aiotrack.integrations.starlette
from aiotrack.integrations.asgi import Scope, TrackingMiddleware, client_of, lifespan
from aiotrack.integrations.fastapi import tracked_user
from aiotrack.integrations.litestar import TrackingPlugin


def make_client() -> aiotrack.Client:
    """Make one."""
    return aiotrack.Client(aiotrack.LocalStore("events.db"))


def make_sync_client() -> aiotrack.SyncClient:
    """Make one for code without a loop."""
    return aiotrack.SyncClient(aiotrack.LocalStore("events.db"))


@contextlib.asynccontextmanager
async def own_lifespan(app: FastAPI) -> AsyncGenerator[dict[str, int]]:
    """Be the application's own."""
    yield {"database": 5}


def of_scope(scope: Scope) -> str | None:
    """Say whom a scope is of."""
    return str(scope["path"])


async def of_connection(request: HTTPConnection) -> aiotrack.UserContext | None:
    """Say whom a connection is of."""
    client = client_of(request.scope)
    return None if client is None else client.create_user_context(request.headers["X-User"])


def of_litestar(request: ASGIConnection[Any, Any, Any, Any]) -> int:
    """Say whom Litestar's is of."""
    return len(request.headers)


def of_aiohttp(request: web.Request) -> str | None:
    """Say whom aiohttp's is of."""
    return request.headers.get("X-User")


def of_flask(request: FlaskRequest) -> str | None:
    """Say whom Flask's is of."""
    return request.headers.get("X-User")


fast = FastAPI(lifespan=lifespan(make_client, own_lifespan))
fast.add_middleware(TrackingMiddleware, user=of_scope, trusted_proxies=["10.0.0.0/8"])
assert_type(aiotrack.integrations.fastapi.setup(FastAPI(), make_client, user=of_connection), FastAPI)
by_hand = Starlette(lifespan=lifespan(make_client), middleware=[Middleware(TrackingMiddleware, user=of_scope)])
assert_type(aiotrack.integrations.starlette.setup(Starlette(), make_client, user=of_connection), Starlette)
assert_type(aiotrack.integrations.quart.setup(Quart(__name__), make_client, user=of_scope), Quart)
assert_type(aiotrack.integrations.flask.setup(Flask(__name__), make_sync_client, user=of_flask), Flask)
lite = Litestar([], plugins=[TrackingPlugin(make_client, user=of_litestar)])
server = aiotrack.integrations.aiohttp.setup(web.Application(), make_client, user=of_aiohttp)


def get_user_id(authorization: Annotated[str, Header()]) -> str:
    """Be a dependency of the application's."""
    return authorization


@fast.post("/buy")
async def buy(user: Annotated[aiotrack.UserContext, Depends(tracked_user(get_user_id))]) -> dict[str, bool]:
    """Track as a user that a dependency knows."""
    result = await user.track_event("purchase", {"revenue": 4200})
    assert_type(result, aiotrack.TrackResult)
    return {"tracked": bool(result)}


async def handle(request: web.Request) -> web.Response:
    """Track as the current user, and with the client itself."""
    await aiotrack.track_event("seen")
    assert_type(request.config_dict[aiotrack.integrations.aiohttp.CLIENT], aiotrack.Client)
    return web.Response()


assert_type(aiotrack.integrations.flask.client_of(Flask(__name__)), aiotrack.SyncClient)
