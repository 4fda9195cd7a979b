"""Counters that reconcile: accepted = delivered + dead + dropped + pending, for every lane, at every moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import attrs

__all__ = ["LaneState", "LaneStats", "PluginStats", "Report", "Stats"]


class LaneState(StrEnum):
    """What a lane's sender is doing."""

    NEW = "new"
    """Not started yet."""
    UP = "up"
    """The last request was answered well, or none was needed."""
    RETRYING = "retrying"
    """The last request failed and will be sent again."""
    DOWN = "down"
    """Requests fail one after the other: a small batch is tried now and then, the others wait."""
    PAUSED = "paused"
    """The destination refuses everything (a wrong key, say); retried slowly."""
    CLOSED = "closed"
    """Closed for good."""


@attrs.frozen(kw_only=True)
class LaneStats:
    """The counters of one lane, in events, since the client was made."""

    accepted: int = 0
    """Taken into the lane's buffer, or found in it."""
    recovered: int = 0
    """Those of the accepted that an earlier process had left in a durable buffer."""
    delivered: int = 0
    """Confirmed by the destination."""
    dead: int = 0
    """Refused by the destination for good, or given up on: they became dead letters."""
    dropped: int = 0
    """Given up on without its answer: pushed out by newer ones, or left when a memory buffer closed."""
    pending: int = 0
    """In the buffer or on the way."""
    retries: int = 0
    """Requests that were sent again."""
    bytes_pending: int = 0
    """Encoded size of what is pending, in bytes."""
    state: LaneState | None = None
    """What the sender is doing; None in a total."""

    @classmethod
    def sum(cls, lanes: Iterable[LaneStats]) -> LaneStats:
        """Return the total of several lanes."""
        counters = [field.name for field in attrs.fields(cls) if field.name != "state"]
        listed = tuple(lanes)
        total: dict[str, Any] = {name: sum(getattr(lane, name) for lane in listed) for name in counters}
        return cls(**total)


@attrs.frozen(kw_only=True)
class PluginStats:
    """What a plugin did wrong, and what it dropped."""

    errors: int = 0
    """Calls that raised, or did not answer in time."""
    dropped: int = 0
    """Events that it dropped."""
    slow: int = 0
    """Calls that held the event loop up for longer than `plugin_budget`, or were not awaited past `plugin_timeout`."""


@attrs.frozen(kw_only=True)
class Stats:
    """A snapshot of all counters."""

    lanes: Mapping[str, LaneStats]
    """By the destination's name."""
    refused: Mapping[str, int]
    """Refusals by reason; an event refused by one of two destinations counts here and is accepted there."""
    plugins: Mapping[str, PluginStats]

    @property
    def total(self) -> LaneStats:
        """The sum over all lanes."""
        return LaneStats.sum(self.lanes.values())


@attrs.frozen(kw_only=True)
class Report:
    """Where all events stood when `flush` or `aclose` returned: totals over all lanes, since the start."""

    delivered: int = 0
    dead: int = 0
    dropped: int = 0
    pending: int = 0
    lanes: Mapping[str, LaneStats] = attrs.field(factory=dict, repr=False)

    @classmethod
    def of(cls, stats: Stats) -> Report:
        """Report a snapshot."""
        total = stats.total
        return cls(
            delivered=total.delivered,
            dead=total.dead,
            dropped=total.dropped,
            pending=total.pending,
            lanes=stats.lanes,
        )
