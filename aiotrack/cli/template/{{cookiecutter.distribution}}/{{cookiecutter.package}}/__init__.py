"""A plugin for aiotrack: replace these two hooks by yours, and keep the tests."""

from __future__ import annotations

import aiotrack

__all__ = ["{{cookiecutter.class_name}}", "plugin"]


class {{cookiecutter.class_name}}(aiotrack.Plugin):
    """Say what it does.

    `source` is added to every event as a tag.
    """

    name = "{{cookiecutter.name}}"

    def __init__(self, source: str = "{{cookiecutter.name}}") -> None:
        self.source = source

    @aiotrack.hookimpl
    def aiotrack_check_event(self, event: aiotrack.Event) -> aiotrack.Problem | None:
        """Refuse what can't be right."""
        if event.reserved.get("revenue", 0) < 0:
            return aiotrack.Problem("tags.revenue", "an amount of 0 or more", "a negative one")
        return None

    @aiotrack.hookimpl
    def aiotrack_process_event(self, event: aiotrack.Event) -> aiotrack.Event:
        """Add the source."""
        return event.replace(tags={**event.tags, "source": self.source})


plugin = {{cookiecutter.class_name}}()
