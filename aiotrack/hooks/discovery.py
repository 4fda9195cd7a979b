"""Plugins that are installed: entry points of the group `aiotrack`, loaded unless their name is blocked."""

from __future__ import annotations

from collections.abc import Container, Iterator
from importlib.metadata import EntryPoint, entry_points

import attrs

from .registration import validate

__all__ = ["GROUP", "Installed", "installed"]

GROUP = "aiotrack"


@attrs.frozen
class Installed:
    """One installed plugin: loaded, blocked, or failed with an error."""

    point: EntryPoint
    plugin: object = None
    blocked: bool = False
    error: Exception | None = None

    @property
    def name(self) -> str:
        """The entry point's name, by which it can be blocked."""
        return self.point.name


def installed(blocked: Container[str] = ()) -> Iterator[Installed]:
    """Load what is installed, by name; what is blocked is not even imported."""
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        if point.name in blocked:
            yield Installed(point, blocked=True)
            continue
        try:
            plugin = point.load()
            validate(point.name, plugin)
        except Exception as exc:  # noqa: BLE001 - importing runs foreign code
            yield Installed(point, error=exc)
        else:
            yield Installed(point, plugin)
