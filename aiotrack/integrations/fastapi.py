"""FastAPI: `setup(app, make_client, user=...)`; and `tracked_user`, for users that a dependency of yours knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from aiotrack.tracking.context import UserContext
from aiotrack.tracking.current import current_user

from .asgi import ScopeVisitor, TrackingMiddleware, client_of, lifespan
from .starlette import setup
from .visitors import Answer, Visitors

__all__ = ["TrackingMiddleware", "client_of", "lifespan", "setup", "tracked_user"]


def tracked_user(
    identify: Callable[..., Answer], *, trusted_proxies: Iterable[str] = ()
) -> Callable[..., AsyncIterator[UserContext | None]]:
    """Return a dependency that makes whom another one knows the current user of a request, and gives the user context.

    `identify` is a dependency, such as the one that reads your session or token: it returns a user's id, a user
    context, or None for nobody. `Annotated[UserContext, Depends(tracked_user(get_user_id))]` is a parameter;
    `FastAPI(dependencies=[...])` has it for all. What `identify` raises, an HTTPException, say, goes its way.
    `trusted_proxies`: see `TrackingMiddleware`. Raises ConfigError.
    """
    visitors = Visitors(identify, trusted_proxies)

    async def use_tracked_user(
        connection: HTTPConnection,
        answer: Any = Depends(identify),  # noqa: B008 - FastAPI can't read the annotation of a closure
    ) -> AsyncIterator[UserContext | None]:
        with visitors.use(client_of(connection.scope), answer, ScopeVisitor(connection.scope)):
            yield current_user()

    return use_tracked_user
