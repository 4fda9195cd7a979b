"""The hooks a plugin can implement. A plugin is any object with functions marked `@aiotrack.hookimpl`.

Each hook has one colour: `async def` hooks are awaited, the others are called. Plugins are called in
the order in which they were given to the client; pluggy's `tryfirst` and `trylast` change that. A
function may take fewer arguments than its hook offers. One that raises is named in the log and counted
in `Client.stats().plugins`, and stops nothing; with `strict=True` it raises.
"""

# ruff: noqa: D401 - a spec has no body, and says when it is called
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .markers import hookspec

if TYPE_CHECKING:
    from .batch import Answer, Batch
    from .catalog import Catalog
    from .client import Client
    from .destination import Destination
    from .event import Event, Problem, Refusal
    from .tags import EventSchema, ReservedTag


@hookspec
def aiotrack_destination(client: Client) -> Destination | None:
    """At start: a destination for the client to send to, or None."""


@hookspec
def aiotrack_reserved_tags() -> Mapping[str, ReservedTag]:
    """At start: tags with a meaning of their own, by tag key. The first plugin to name a key has it."""
    return {}


@hookspec
def aiotrack_event_schemas() -> Mapping[str, EventSchema]:
    """At start: property schemas by event key. Their problems refuse the event."""
    return {}


@hookspec
def aiotrack_check_event(event: Event) -> Problem | str | Iterable[Problem | str] | None:
    """Per event: None, or what is wrong with it. Any problem refuses the event everywhere."""


@hookspec
def aiotrack_process_event(event: Event) -> Event | None:
    """Per event: the event to go on with (`attrs.evolve(event, ...)`), or None to drop it."""


@hookspec
async def aiotrack_enrich_event(event: Event) -> Event | None:
    """Per event, after process: the same for plugins that must await."""


@hookspec
def aiotrack_event_tracked(event: Event) -> None:
    """Per event, once at least one destination has accepted it."""


@hookspec
def aiotrack_event_refused(event: Event, refusal: Refusal) -> None:
    """Per refusal. The event holds what the caller gave, so its fields may be of the wrong type."""


@hookspec
def aiotrack_batch_sending(batch: Batch) -> None:
    """Per request, just before it is sent. The batch can't be changed."""


@hookspec
def aiotrack_batch_delivered(batch: Batch, answer: Answer) -> None:
    """Per request that the destination took."""


@hookspec
def aiotrack_batch_failed(batch: Batch, answer: Answer) -> None:
    """Per request that failed, whether it will be tried again or not."""


@hookspec
def aiotrack_catalog_updated(destination: Destination, catalog: Catalog) -> None:
    """A destination has accepted a new revision of its datafile or settings."""


@hookspec
async def aiotrack_startup(client: Client) -> None:
    """At start, before the first event. Background tasks come from `client.spawn(coro, name=...)`."""


@hookspec
async def aiotrack_shutdown(client: Client) -> None:
    """At close, before the last flush; events may still be tracked."""
