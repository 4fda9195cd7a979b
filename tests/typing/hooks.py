"""What a type checker must say about hooks: nothing of right ones, an error for each wrong one. Never run.

The ignores are the errors: one that is not needed is an error itself.
"""

from __future__ import annotations

from typing import assert_type

import attrs

import aiotrack
from aiotrack import hookimpl
from aiotrack.extension import Host


class Right:
    """Any class, with fewer arguments, defaults of its own, answers that are narrower."""

    @hookimpl
    def aiotrack_check_event(self, event: aiotrack.Event) -> tuple[aiotrack.Problem, ...] | None:
        """Check."""

    @hookimpl(tryfirst=True)
    def aiotrack_process_event(self, event: aiotrack.Event, source: str = "web") -> aiotrack.Event:
        """Process."""
        return attrs.evolve(event, tags={"source": source})

    @hookimpl
    async def aiotrack_enrich_event(self, event: aiotrack.Event) -> aiotrack.Event | None:
        """Enrich."""
        return event

    @hookimpl
    def aiotrack_batch_delivered(self, batch: aiotrack.Batch) -> None:
        """Listen."""

    @hookimpl
    def aiotrack_destination(self) -> aiotrack.LocalStore:
        """Bring."""
        return aiotrack.LocalStore()


@hookimpl
def aiotrack_event_refused(event: aiotrack.Event, refusal: aiotrack.Refusal) -> None:
    """Listen, as a module."""


class Wrong(aiotrack.Plugin):
    """Found with the base class: another type, another name, the answer of another hook, and the wrong colour."""

    @hookimpl
    def aiotrack_check_event(self, event: str) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take another type."""

    @hookimpl
    def aiotrack_finalize_event(self, evnt: aiotrack.Event) -> aiotrack.Event | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take another name."""

    @hookimpl
    async def aiotrack_startup(self, client: aiotrack.Client) -> None:
        """Fit: the client may be annotated as what it is."""

    @hookimpl
    async def aiotrack_shutdown(self, client: Host) -> None:
        """Fit: or as what plugins use of it."""

    @hookimpl
    def aiotrack_event_tracked(self, event: aiotrack.Event) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """Answer as a check does."""
        return ""

    @hookimpl
    async def aiotrack_process_event(self, event: aiotrack.Event) -> aiotrack.Event:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """Be of the wrong colour."""
        return event


class Reads:
    """Revenue and value have their types."""

    @hookimpl
    def aiotrack_event_tracked(self, event: aiotrack.Event) -> None:
        """Read them."""
        assert_type(event.revenue, int | None)
        assert_type(event.value, float | None)
        event.revenue = 5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
