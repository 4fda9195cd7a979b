"""Which destinations a client has: what its plugins bring when it starts, each under a name of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from aiotrack.destinations.base import Destination
from aiotrack.model.errors import PluginError, StartError
from aiotrack.model.settings import CONSOLE
from aiotrack.model.tasks import PLUGIN_ERRORS, reraise_exit

if TYPE_CHECKING:
    from aiotrack.model.host import Client

    from .plugins import Call

__all__ = ["DEFAULT_STORE", "destinations_of"]

DEFAULT_STORE = "aiotrack.db"


def destinations_of(client: Client, calls: Iterable[Call], folder: str = "") -> list[Destination]:
    """Ask the plugins for the destinations of a client that starts; without any, there is a local store in a folder."""
    found: dict[str, Destination] = {}
    for plugin, function in calls:
        try:
            destination = function(client)
        except PLUGIN_ERRORS as exc:
            reraise_exit(exc)
            raise PluginError(f"plugin {plugin!r} raised {type(exc).__name__} in aiotrack_destination") from exc
        if destination is None:
            continue
        if not isinstance(destination, Destination):
            kind = type(destination).__name__
            raise PluginError(f"plugin {plugin!r}: aiotrack_destination must return a Destination, got {kind}")
        if hasattr(destination, "envelope"):
            raise PluginError(f"destination {destination.name!r} has `envelope`: it is called `batch_header` now")
        if destination.lane is not None:
            raise StartError(f"destination {destination.name!r} is in use by another client: make one for each")
        if destination.name in found:
            raise PluginError(f"two destinations are called {destination.name!r}: give one another name=")
        found[destination.name] = destination
    if not found:
        from aiotrack.destinations.local_store import LocalStore  # noqa: PLC0415 - only those who store locally pay for SQLite

        found["local"] = LocalStore(os.path.join(folder, DEFAULT_STORE))
    if os.environ.get(CONSOLE, "").lower() in {"1", "true", "yes"} and "console" not in found:
        from aiotrack.destinations.console import Console  # noqa: PLC0415 - for development only

        found["console"] = Console()
    return list(found.values())
