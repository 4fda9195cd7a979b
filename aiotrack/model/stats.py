"""Counters that reconcile: accepted = delivered + dead + dropped + pending + handed_over, for every lane, always."""

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
    """Those of the accepted that another process had stored: an earlier or dead one, or one that shares an engine."""
    delivered: int = 0
    """Confirmed by the destination."""
    dead: int = 0
    """Refused by the destination for good, or given up on: they became dead letters."""
    dropped: int = 0
    """Given up on without its answer: pushed out by newer ones, or left when a memory buffer closed."""
    handed_over: int = 0
    """Safe in an engine that several processes share, and no longer this one's: another claimed them, or it closed."""
    pending: int = 0
    """In the buffer or on the way."""
    retries: int = 0
    """Requests that were sent again."""
    routed_elsewhere: int = 0
    """Events that were not for this destination, by its `only=` or by `to=`. They are none of the accepted."""
    bytes_pending: int = 0
    """Encoded size of what is pending, in bytes."""
    state: LaneState | None = None
    """What the sender is doing; None in a total."""
    oldest_age: float = 0.0
    """For how many seconds the oldest pending event has waited, to about a hundredth; in a total, the oldest of all."""
    last_delivered_at: float | None = None
    """When the destination last took a batch, in Unix seconds; in a total, when the last one did."""
    last_error: str | None = None
    """What last went wrong on the way; None in a total."""

    @classmethod
    def sum(cls, lanes: Iterable[LaneStats]) -> LaneStats:
        """Return the total of several lanes."""
        counters = [field.name for field in attrs.fields(cls) if field.type == "int"]
        listed = tuple(lanes)
        total: dict[str, Any] = {name: sum(getattr(lane, name) for lane in listed) for name in counters}
        delivered_at = (lane.last_delivered_at for lane in listed if lane.last_delivered_at is not None)
        oldest = max((lane.oldest_age for lane in listed), default=0.0)
        return cls(**total, oldest_age=oldest, last_delivered_at=max(delivered_at, default=None))


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

    lanes: Mapping[str, LaneStats] = attrs.field(factory=dict)
    """By the destination's name."""
    refused: Mapping[str, int] = attrs.field(factory=dict)
    """Refusals by reason; an event refused by one of two destinations counts here and is accepted there."""
    plugins: Mapping[str, PluginStats] = attrs.field(factory=dict)
    routed_nowhere: int = 0
    """Events that were for none of the destinations; neither accepted nor refused."""

    @property
    def total(self) -> LaneStats:
        """The sum over all lanes."""
        return LaneStats.sum(self.lanes.values())


@attrs.frozen(kw_only=True, repr=False)
class Report(Stats):
    """Where all events stood when `flush` or `aclose` returned: the counters of `stats()`, and their totals by name."""

    def __repr__(self) -> str:
        """Show the totals."""
        total = self.total
        handed_over = f", handed_over={total.handed_over}" if total.handed_over else ""
        return (
            f"Report(delivered={total.delivered}, dead={total.dead}, dropped={total.dropped}, "
            f"pending={total.pending}{handed_over})"
        )

    @property
    def delivered(self) -> int:
        """Events that their destination has confirmed."""
        return self.total.delivered

    @property
    def dead(self) -> int:
        """Events that became dead letters."""
        return self.total.dead

    @property
    def dropped(self) -> int:
        """Events that were given up on without an answer."""
        return self.total.dropped

    @property
    def pending(self) -> int:
        """Events in a buffer or on the way."""
        return self.total.pending
