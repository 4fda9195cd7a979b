"""What a destination knows of its events: the revision of a datafile or settings document."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs

__all__ = ["Catalog", "Metric"]

LONGEST_KEY = 64
MOST_DIFFERENT = 3  # characters of length
MOST_COMPARED = 100
MOST_KNOWN = 5000
MOST_SUGGESTIONS = 256  # remembered: keys may come from outside


def _suggestion(key: str, known: Collection[str]) -> str:
    """Return ": did you mean ...?" where one of those that are known is close to a key; or "".

    It takes some milliseconds at most: only those of about the same length and beginning or end are compared, and none
    where very many are known.
    """
    if len(key) > LONGEST_KEY or len(known) > MOST_KNOWN:
        return ""
    plain = _plain(key)
    close: list[str] = []
    for other in known:
        if abs(len(other) - len(key)) <= MOST_DIFFERENT and len(close) < MOST_COMPARED:
            other_plain = _plain(other)
            if other_plain == plain:
                return f": did you mean {other!r}?"
            if other_plain[:2] == plain[:2] or other_plain[-2:] == plain[-2:]:
                close.append(other)
    best = difflib.get_close_matches(key, close, n=1, cutoff=0.7)
    return f": did you mean {best[0]!r}?" if best else ""


def _plain(key: str) -> str:
    """Leave out what people mix up: capitals, dashes, dots and spaces."""
    return "".join(one for one in key.casefold() if one.isalnum())


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
    _suggested: dict[str, str] = attrs.field(factory=dict, init=False, repr=False, eq=False)

    def suggestion(self, event_key: str) -> str:
        """Return ": did you mean 'purchase'?" for an event that is unknown and close to one that is not; or ""."""
        found = self._suggested.get(event_key, "")
        if not found and event_key not in self._suggested and len(self._suggested) < MOST_SUGGESTIONS:
            found = self._suggested[event_key] = _suggestion(event_key, self.events)
        return found

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
