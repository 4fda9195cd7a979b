"""What plugins make of an event: they process it, enrich it, and finalize it just before it is encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from aiotrack.hooks.answers import changed_event
from aiotrack.model.encoding import is_flat_json
from aiotrack.model.errors import EventRefused
from aiotrack.model.event import Event
from aiotrack.model.refusal import Reason, Refusal
from aiotrack.model.tasks import PLUGIN_ERRORS, OwnTask, run_with_timeout

if TYPE_CHECKING:
    from aiotrack.hooks.plugins import Plugins
    from aiotrack.model.values import JSONValues

    from .validation import Validation

__all__ = ["Changes"]


class Changes:
    """The plugins that may change an event. Every method raises EventRefused when one drops it."""

    def __init__(self, plugins: Plugins, validation: Validation, values: JSONValues, timeout: float) -> None:
        self._plugins = plugins
        self._validation = validation
        self._values = values
        self._timeout = timeout
        self._processes = plugins.calls["aiotrack_process_event"]
        self._enrichments = plugins.calls["aiotrack_enrich_event"]
        self._finalizers = plugins.calls["aiotrack_finalize_event"]
        self.any_hooks = bool(self._processes or self._enrichments or self._finalizers)
        self.any_async = bool(self._enrichments)

    def process(self, event: Event) -> Event:
        """Call the process hooks; one that raises leaves the event as it was."""
        for name, process in self._processes:
            try:
                changed = process(event)
                if changed is not event:
                    event = self._accepted(event, changed, name)
            except EventRefused:
                raise
            except PLUGIN_ERRORS as exc:
                self._plugins.failed(name, "aiotrack_process_event", exc)
        return event

    async def enrich(self, event: Event) -> Event:
        """Await the enrich hooks; one that raises, or does not answer in time, leaves the event as it was."""
        own = OwnTask()
        for name, enrich in self._enrichments:
            try:
                event = self._accepted(event, await run_with_timeout(self._timeout, enrich(event)), name)
            except EventRefused:
                raise
            except PLUGIN_ERRORS as exc:
                own.reraise(exc)
                self._plugins.failed(name, "aiotrack_enrich_event", exc)
        return event

    def check(self, event: Event, made: Event) -> None:
        """Check an event that plugins have changed as if a caller had brought it."""
        refusal = self._validation.check_changed(event) if event is not made else None
        if refusal is not None:
            raise EventRefused(refusal)

    def finalize(self, event: Event) -> Event:
        """Call the finalize hooks. They take away what must not leave, so one that raises drops the event."""
        before = event
        for name, finalize in self._finalizers:
            try:
                changed = finalize(event)
                if changed is not event:
                    event = self._accepted(event, changed, name)
            except EventRefused:
                raise
            except PLUGIN_ERRORS as exc:
                self._plugins.failed(name, "aiotrack_finalize_event", exc)
                message = f"plugin {name!r} raised {type(exc).__name__} in aiotrack_finalize_event"
                raise EventRefused(Refusal(Reason.DROPPED_BY_PLUGIN, message, plugin=name)) from exc
        refusal = self._validation.check_finalized(event) if event is not before else None
        if refusal is not None:
            raise EventRefused(refusal)
        return event

    async def apply_all(self, event: Event) -> Event:
        """Process, enrich and finalize an event of a destination's own; what plugins made of it is checked."""
        changed = await self.enrich(self.process(event))
        self.check(changed, event)
        return self.finalize(changed)

    def _accepted(self, before: Event, after: Event | None, name: str) -> Event:
        """Return what a plugin made of an event, with its reserved tags converted."""
        if after is None:
            self._plugins.dropped(name)
            raise EventRefused(Refusal(Reason.DROPPED_BY_PLUGIN, f"plugin {name!r} dropped it", plugin=name))
        after = changed_event(after, before)
        if after.tags is not before.tags:
            after = self._with_json_tags(after, name)
        if after.attributes is not before.attributes and not is_flat_json(after.attributes):
            attributes, _ = self._values.convert(after.attributes, "attributes")
            after = attrs.evolve(after, attributes=attributes)
        if after.tags is not before.tags and after.reserved is before.reserved:
            return attrs.evolve(after, reserved=self._validation.reserve(after.key, after.tags))
        return after

    def _with_json_tags(self, event: Event, name: str) -> Event:
        """Convert tags that a plugin has made."""
        if type(event.tags) is dict and is_flat_json(event.tags):
            return event
        tags, problems = self._values.convert(event.tags, "tags")
        if problems:
            raise EventRefused(Refusal.of(Reason.INVALID_TAG, problems, plugin=name))
        return event.replace(tags=tags)
