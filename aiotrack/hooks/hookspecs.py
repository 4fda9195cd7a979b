"""The hooks a plugin can implement. A plugin is any object with functions marked `@aiotrack.hookimpl`.

Each hook has one colour: `async def` hooks are awaited, the others are called. Plugins are called in
the order in which they were given to the client; pluggy's `tryfirst` and `trylast` change that. A
function may take fewer arguments than its hook offers. One that raises is named in the log and counted
in `Client.stats().plugins`, and stops nothing, but for `aiotrack_destination`, without which the client does not
start, and `aiotrack_finalize_event`, which drops the event. With `strict=True` it raises wherever a caller is waiting.
"""

# ruff: noqa: D401 - a spec has no body, and says when it is called
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from aiotrack.model.markers import hookspec

if TYPE_CHECKING:
    from aiotrack.buffers.dead_letters import DeadLetter
    from aiotrack.destinations.base import Destination
    from aiotrack.model.batch import Answer, Batch
    from aiotrack.model.catalog import Catalog
    from aiotrack.model.event import Event
    from aiotrack.model.host import Client
    from aiotrack.model.refusal import Problem, Refusal

    from .reserved_tags import EventSchema, ReservedTag

__all__ = ["HOOKS", "Plugin"]


class Plugin:
    """A base class for type checkers: mypy and pyright report a hook with a wrong signature or colour.

    No plugin needs it. A subclass has the hooks that it defines and marks with `@aiotrack.hookimpl`, and no others;
    one that subclasses it takes all of a hook's arguments.
    """

    name: str
    """The plugin's name; where it is not set, the class's."""

    @hookspec
    def aiotrack_destination(self, client: Client) -> Destination | None:
        """At start: a destination for the client to send to, or None."""

    @hookspec
    def aiotrack_reserved_tags(self) -> Mapping[str, ReservedTag]:
        """When the client is made: tags with a meaning of their own, by key. The first plugin to name one has it."""
        return {}

    @hookspec
    def aiotrack_event_schemas(self) -> Mapping[str, EventSchema]:
        """When the client is made: property schemas by event key. Their problems refuse the event."""
        return {}

    @hookspec
    def aiotrack_check_event(self, event: Event) -> Problem | str | Iterable[Problem | str] | None:
        """Per event: None, or what is wrong with it. Any problem refuses the event everywhere."""

    @hookspec
    def aiotrack_process_event(self, event: Event) -> Event | None:
        """Per event: the event to go on with (`event.replace(...)`), or None to drop it."""

    @hookspec
    async def aiotrack_enrich_event(self, event: Event) -> Event | None:
        """Per event, after process: the same for plugins that must await."""

    @hookspec
    def aiotrack_finalize_event(self, event: Event) -> Event | None:
        """Per event, after enrich: the last step before encoding. None, or a raise, drops the event."""

    @hookspec
    def aiotrack_event_tracked(self, event: Event) -> None:
        """Per event, once at least one destination has accepted it."""

    @hookspec
    def aiotrack_event_refused(self, event: Event, refusal: Refusal) -> None:
        """Per refusal of a call.

        An event that the caller brought may have fields of the wrong type; one that a plugin dropped is shown by key,
        id and time only.
        """

    @hookspec
    def aiotrack_event_lost(self, destination: Destination, lost: DeadLetter | int, reason: str) -> None:
        """Per accepted event that won't be delivered to a destination: its dead letter; or the number of several.

        `reason` is that of the dead letter, or why they were dropped. The letter shows what was stored; to send that
        again, ask `client.dead_letters()` for it.
        """

    @hookspec
    def aiotrack_batch_sending(self, batch: Batch) -> None:
        """Per request, just before it is sent. The batch can't be changed."""

    @hookspec
    def aiotrack_batch_delivered(self, batch: Batch, answer: Answer) -> None:
        """Per request that the destination took."""

    @hookspec
    def aiotrack_batch_failed(self, batch: Batch, answer: Answer) -> None:
        """Per request that failed, whether it will be tried again or not."""

    @hookspec
    def aiotrack_catalog_updated(self, destination: Destination, catalog: Catalog) -> None:
        """A destination has accepted a new revision of its datafile or settings."""

    @hookspec
    async def aiotrack_startup(self, client: Client) -> None:
        """At start, before the first event. Background tasks come from `client.spawn(coro, name=...)`."""

    @hookspec
    async def aiotrack_shutdown(self, client: Client) -> None:
        """At close, before the last flush; events may still be tracked."""


HOOKS: dict[str, Callable[..., Any]] = {
    name: getattr(Plugin(), name) for name in vars(Plugin) if name.startswith("aiotrack_")
}
"""Every hook by name, in the order of an event's way; also names of this module: `hookspecs.aiotrack_check_event`."""

globals().update(HOOKS)

if TYPE_CHECKING:

    def __getattr__(name: str) -> Callable[..., Any]: ...
