"""The seam for test runs: somebody who sees every client of this process, and gives it other destinations and time."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .client import Client
    from .clock import Clock
    from .destination import Destination
    from .life import Life

__all__ = ["Observer", "is_loopback", "stays_here"]


class Observer(Protocol):
    """What `aiotrack.pytest_plugin` does to the clients of a test run."""

    network: bool
    """Whether events may leave for other machines."""

    def clock(self) -> Clock | None:
        """Return the clock of a client that was given none; None for the system's."""
        ...

    def starting(self, client: Client, life: Life, destinations: list[Destination]) -> list[Destination]:
        """See a client start; return the destinations that it is to send to."""
        ...


current: Observer | None = None


def stays_here(host: str | None) -> bool:
    """Tell whether nothing may be sent to a host: it is another machine, and this is a test run without network."""
    return current is not None and not current.network and not is_loopback(host)


def is_loopback(host: str | None) -> bool:
    """Tell whether a host is this machine, by its name alone."""
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"
