"""What a type checker must say about hooks: nothing of right ones, an error for each wrong one. Never run.

The ignores are the errors: one that is not needed is an error itself.
"""

from __future__ import annotations

import attrs

import aiotrack
from aiotrack import hookimpl


class Right:
    """Any class, with fewer arguments, defaults of its own, answers that are narrower."""

    @hookimpl
    def aiotrack_check_event(self, event: aiotrack.Event) -> tuple[aiotrack.Problem, ...] | None:
        """Check."""

    @hookimpl(trylast=True)
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


class Wrong:
    """Found without a base class: arguments and answers that no hook has."""

    @hookimpl  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
    def aiotrack_check_event(self, event: str) -> None:
        """Take another type."""

    @hookimpl  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
    def aiotrack_process_event(self, evnt: aiotrack.Event) -> aiotrack.Event | None:
        """Take another name."""

    @hookimpl  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
    def aiotrack_event_tracked(self, event: aiotrack.Event) -> int:
        """Answer something else."""
        return 5


class Strict(aiotrack.Plugin):
    """Found with the base class: a signature that another hook has, and the wrong colour."""

    @hookimpl
    def aiotrack_check_event(self, event: aiotrack.Event) -> str | None:
        """Fit."""

    @hookimpl
    def aiotrack_event_tracked(self, event: aiotrack.Event) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """Answer as a check does."""
        return ""

    @hookimpl
    async def aiotrack_process_event(self, event: aiotrack.Event) -> aiotrack.Event:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """Be of the wrong colour."""
        return event
