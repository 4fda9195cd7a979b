"""What Flask and Django tell of a request under WSGI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["EnvironVisitor"]


class EnvironVisitor:
    """What a WSGI environment, or Django's `request.META`, tells of its request."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ

    @property
    def user_agent(self) -> str | None:
        """The `User-Agent`."""
        return self._environ.get("HTTP_USER_AGENT") or None

    @property
    def peer(self) -> str | None:
        """The address that the request came from."""
        return self._environ.get("REMOTE_ADDR") or None

    @property
    def forwarded_for(self) -> str:
        """Its `X-Forwarded-For`."""
        return str(self._environ.get("HTTP_X_FORWARDED_FOR", ""))
