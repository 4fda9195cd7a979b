"""What a destination knows of its events: the revision of a datafile or settings document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

__all__ = ["Catalog", "Metric"]


@attrs.frozen(kw_only=True)
class Metric:
    """A number that an experiment is judged by, and the event that feeds it.

    `flag` is the key of the feature flag that it measures, None where it measures none. `revenue_prop` names the
    property that holds the amount; `primary` is None where the document does not say.
    """

    event: str
    id: int | float | str
    type: str
    flag: str | None = None
    primary: bool | None = None
    has_props: bool = False
    revenue_prop: str | None = None


@attrs.frozen
class Catalog:
    """The events that one revision of a destination's document knows, by key, and the metrics they feed."""

    revision: str
    events: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    metrics: tuple[Metric, ...] = attrs.field(default=(), repr=False)

    def metrics_of(self, event_key: str) -> tuple[Metric, ...]:
        """Return the metrics that an event feeds."""
        return tuple(metric for metric in self.metrics if metric.event == event_key)

    def events_of(self, flag_key: str) -> tuple[str, ...]:
        """Return the events that measure a feature flag."""
        return tuple(dict.fromkeys(metric.event for metric in self.metrics if metric.flag == flag_key))

    @classmethod
    def merged(cls, catalogs: Iterable[Catalog]) -> Catalog:
        """Return several as one; of two that know an event the first counts."""
        several = tuple(catalogs)
        events: dict[str, Any] = {}
        for catalog in several:
            events = {**catalog.events, **events}
        metrics = tuple(metric for catalog in several for metric in catalog.metrics)
        return cls("+".join(catalog.revision for catalog in several), events, metrics)
