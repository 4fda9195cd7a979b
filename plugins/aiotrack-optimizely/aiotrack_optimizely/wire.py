"""The wire format: one visitor with one conversion, byte for byte in the order of the vendor's Python SDK (5.7.0)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiotrack.extension import dumps, is_flat_json

__all__ = ["encode_visitor"]

CLEANED = frozenset({"revenue", "value", "tags", "decisions"})  # None under these keys is left out, at any depth


def encode_visitor(
    entity_id: str,
    event_id: str,
    key: str,
    timestamp: int,
    reserved: Mapping[str, Any],
    tags: Mapping[Any, Any] | None,
    attributes: list[dict[str, Any]],
    user_id: str,
) -> bytes:
    """Return a visitor object with one conversion, its keys in the order of the vendor's SDK."""
    event: dict[str, Any] = {"entity_id": entity_id, "uuid": event_id, "key": key, "timestamp": timestamp}
    if reserved:
        if "revenue" in reserved:
            event["revenue"] = reserved["revenue"]
        if "value" in reserved:
            event["value"] = reserved["value"]
    if tags is not None:
        event["tags"] = _cleaned_tags(tags)
    return dumps({"snapshots": [{"events": [event]}], "attributes": attributes, "visitor_id": user_id})


def _cleaned_tags(tags: Mapping[Any, Any]) -> Any:
    """Leave out None under certain keys, at any depth, as the vendor's SDK does with the whole body."""
    if is_flat_json(tags):
        if None not in tags.values():
            return tags
        return {key: value for key, value in tags.items() if value is not None or key not in CLEANED}
    return _cleaned(tags)


def _cleaned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _cleaned(v) for k, v in value.items() if v is not None or k not in CLEANED}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value
