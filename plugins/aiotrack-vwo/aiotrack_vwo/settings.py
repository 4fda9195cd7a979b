"""The settings document: checked as the vendor's own schema checks it, once, when it arrives."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import attrs

import aiotrack
from aiotrack.errors import DocumentError
from aiotrack.extension import CHECKED, Checked, json_object, structure

__all__ = ["Settings"]

Number = int | float
NumberOrText = int | float | str

_LONE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")


def _keys(pattern: str, check: Callable[[str, Any], None]) -> Callable[[Any, Any, Any], None]:
    """Check a mapping whose keys follow a pattern."""
    allowed = re.compile(pattern)

    def validate(_: object, field: Any, value: Mapping[str, Any]) -> None:
        for key, item in value.items():
            if not allowed.search(key):
                raise DocumentError(f"{field.name}.{key[:64]}: no such key, expected one of digits")
            check(f"{field.name}.{key}", item)

    return validate


def _number(path: str, value: Any) -> None:
    structure(value, Number, path)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def _group(path: str, value: Any) -> None:
    group = structure(value, _Group, path)
    if len(set(group.campaigns)) != len(group.campaigns):
        raise DocumentError(f"{path}.campaigns: expected each once, got one twice")
    for key, weight in group.wt.items():
        if re.search("^[0-9]+$", key):
            _number(f"{path}.wt.{key}", weight)


def _is_value(_: object, field: Any, value: Any) -> None:
    if value is None or isinstance(value, list):
        raise DocumentError(f"{field.name}: expected a number, text, true or false, or an object")


@attrs.frozen
class _Group:
    name: str = ""
    campaigns: tuple[str, ...] = ()
    et: Number = 0
    p: tuple[str, ...] = ()
    wt: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class _Metric:
    id: Number
    type: str
    identifier: str
    mca: Number = 0
    hasProps: bool = False  # noqa: N815 - the document's own names
    revenueProp: str = ""  # noqa: N815
    isPrimary: Any = None  # noqa: N815


@attrs.frozen
class _Rule:
    type: str
    ruleKey: str  # noqa: N815
    campaignId: Number  # noqa: N815
    variationId: Number = 0  # noqa: N815


@attrs.frozen
class _Variable:
    id: NumberOrText
    type: str
    key: str
    value: Any = attrs.field(validator=_is_value)


@attrs.frozen
class _Variation:
    id: NumberOrText
    name: str
    weight: NumberOrText
    segments: dict[str, Any] = attrs.field(factory=dict)
    variables: Checked[_Variable] = CHECKED
    startRangeVariation: Number = 0  # noqa: N815
    endRangeVariation: Number = 0  # noqa: N815


@attrs.frozen
class _Campaign:
    id: NumberOrText
    type: str
    key: str
    status: str
    variations: Checked[_Variation]
    segments: dict[str, Any]
    name: str
    percentTraffic: Number = 0  # noqa: N815
    isForcedVariationEnabled: bool = False  # noqa: N815
    isAlwaysCheckSegment: bool = False  # noqa: N815


@attrs.frozen
class _Feature:
    id: NumberOrText
    key: str
    status: str
    name: str
    type: str
    metrics: tuple[_Metric, ...]
    impactCampaign: dict[str, Any] = attrs.field(factory=dict)  # noqa: N815
    rules: Checked[_Rule] = CHECKED
    variables: Checked[_Variable] = CHECKED


@attrs.frozen
class _Holdout:
    metrics: tuple[_Metric, ...]
    segments: dict[str, Any]
    featureIds: Checked[Number]  # noqa: N815
    isGlobal: bool  # noqa: N815
    name: str
    id: NumberOrText
    percentTraffic: Number  # noqa: N815
    m: Any = None


@attrs.frozen
class _Document:
    version: NumberOrText
    accountId: NumberOrText  # noqa: N815
    campaigns: Checked[_Campaign]
    features: tuple[_Feature, ...]
    holdouts: tuple[_Holdout, ...] = ()
    campaignGroups: dict[str, Any] = attrs.field(  # noqa: N815
        factory=dict, validator=_keys("^[0-9_]+$", _number)
    )
    groups: dict[str, Any] = attrs.field(factory=dict, validator=_keys("^[0-9]+$", _group))
    collectionPrefix: Any = None  # noqa: N815
    pollInterval: Any = None  # noqa: N815
    isWebConnectivityEnabled: Any = True  # noqa: N815


@attrs.frozen
class Settings:
    """What tracking needs of one settings document.

    `prefix` is the data centre's part of the events' path, with its slash, or empty. `poll_interval` is in seconds,
    None where the document has none. `revenue_props` maps an event to the properties that its metrics read.
    """

    catalog: aiotrack.Catalog
    prefix: str
    poll_interval: float | None
    web_connectivity: bool
    revenue_props: Mapping[str, tuple[str, ...]] = attrs.field(repr=False)

    @classmethod
    def parse(cls, source: bytes | str | Mapping[str, Any]) -> Settings:
        """Read settings, JSON text or parsed. Raises DocumentError with the path of what is wrong."""
        parsed = json_object(source, "the settings are")
        digest = _digest(parsed)
        document = structure(_with_arrays(parsed), _Document, consume=not isinstance(source, Mapping))
        metrics = tuple(_metrics(document))
        events = {metric.event: metric.id for metric in metrics}
        interval = document.pollInterval
        return cls(
            catalog=aiotrack.Catalog(f"{document.version}-{digest}", events, metrics),
            prefix=_path_of(document.collectionPrefix),
            poll_interval=interval / 1000 if type(interval) is int and interval >= 1000 else None,
            web_connectivity=bool(document.isWebConnectivityEnabled),
            revenue_props=_revenue_props(metrics),
        )


def _path_of(prefix: object) -> str:
    """Return a data centre's prefix as the start of a path, as the vendor's SDK requests it."""
    if not isinstance(prefix, str) or not prefix.strip():
        return ""
    escaped = _LONE_PERCENT.sub("%25", prefix.lstrip("/"))  # what is encoded already stays as it is
    return "/" + quote(escaped, safe="/%:@!$&'()*+,;=~", errors="replace")


def _revenue_props(metrics: Iterable[aiotrack.Metric]) -> dict[str, tuple[str, ...]]:
    """Return by event the properties that its revenue metrics read."""
    found: dict[str, dict[str, None]] = {}
    for metric in metrics:
        if metric.revenue_prop:
            found.setdefault(metric.event, {})[metric.revenue_prop] = None
    return {event: tuple(names) for event, names in found.items()}


def _digest(document: Mapping[str, Any]) -> str:
    """Return what tells a document from others, in whatever order its keys are; some of it at a time."""
    digest = hashlib.sha256()
    try:
        for key in sorted(document):
            value = document[key]
            for part in (key, *value) if isinstance(value, list) else (key, value):
                digest.update(json.dumps(part, sort_keys=True).encode() + b"\n")  # it takes integers of any size
    except (TypeError, ValueError) as exc:
        raise DocumentError(f"the settings: {exc}") from None
    return digest.hexdigest()[:12]


def _with_arrays(document: dict[str, Any]) -> dict[str, Any]:
    """Put an array where the document has an empty object for one, as PHP's encoder writes it; return a copy then."""
    arrays: dict[str, list[Any]] = {}
    for key in ("campaigns", "features", "holdouts", "variations", "variables"):
        value = document.get(key)
        if value == {}:
            arrays[key] = []
        elif key != "variables" and isinstance(value, list):
            items = [_with_arrays(item) if isinstance(item, dict) else item for item in value]
            if any(new is not old for new, old in zip(items, value, strict=True)):
                arrays[key] = items
    return {**document, **arrays} if arrays else document


def _metrics(document: _Document) -> Iterator[aiotrack.Metric]:
    for feature in document.features:
        for metric in feature.metrics:
            yield _metric(metric, feature.key)
    for holdout in document.holdouts:
        for metric in _holdout_metrics(holdout):
            yield _metric(metric, None)


def _holdout_metrics(holdout: _Holdout) -> tuple[_Metric, ...]:
    """Return a holdout's metrics; the vendor's SDK prefers the short spelling where both are there."""
    if not holdout.m:
        return holdout.metrics
    return tuple(
        _Metric(item.get("id") or 0, item.get("type") or "", item["identifier"])
        for item in (holdout.m if isinstance(holdout.m, list) else ())
        if isinstance(item, Mapping) and isinstance(item.get("identifier"), str)
    )


def _metric(metric: _Metric, flag: str | None) -> aiotrack.Metric:
    return aiotrack.Metric(
        event=metric.identifier,
        id=metric.id,
        type=metric.type,
        flag=flag,
        primary=metric.isPrimary if isinstance(metric.isPrimary, bool) else None,
        has_props=metric.hasProps,
        revenue_prop=metric.revenueProp or None,
    )
