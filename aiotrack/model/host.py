"""The client as plugins and destinations see it; the class itself stands above all that they are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias, TypeVar

from .clock import Clock
from .stats import Stats

__all__ = ["Client", "Host"]

T = TypeVar("T")


class Host(Protocol):
    """What a plugin or a destination uses of the client that runs it."""

    @property
    def clock(self) -> Clock:
        """The clock to take the time from, and to wait by: a test may own it."""
        ...

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run a coroutine as a task that the client owns: named, logged if it fails, cancelled at close."""
        ...

    def on(self, hook_name: str, callback: Callable[..., object]) -> Callable[[], None]:
        """Add a listener; return a function that removes it. Raises PluginError for what is no listener hook."""
        ...

    def stats(self) -> Stats:
        """Return a snapshot of all counters."""
        ...


Client: TypeAlias = Any
"""The type of a hook's `client` argument: in your plugin it may be annotated `aiotrack.Client` or `Host`, and a type
checker takes both."""
