"""An event's neutral form: what is stored of one that its destination can't encode yet."""

from __future__ import annotations

from typing import Any

import orjson

from .encoding import PLAIN, dumps, find_problems
from .event import NO_TAGS, Event

__all__ = ["NEUTRAL", "decode_neutral", "encode_neutral"]

NEUTRAL = b"aiotrack event 1"
"""The batch header of entries in this form. No destination has one like it."""


def encode_neutral(event: Event, *, told: bool) -> bytes:
    """Return all of an event as JSON; attributes that JSON can't carry are left out.

    `told`: whether the listeners of `aiotrack_event_tracked` have been told of it. Raises TypeError for tags that
    JSON can't carry; they have been checked before.
    """
    body: list[Any] = [
        told,
        event.key,
        event.user_id,
        event.attributes,
        None if event.tags is NO_TAGS else event.tags,
        event.reserved,
        event.event_id,
        event.timestamp,
        event.user_agent,
        event.ip_address,
        event.session_id,
    ]
    try:
        return orjson.dumps(body, option=PLAIN)
    except TypeError:
        body[3] = {
            key: value for key, value in event.attributes.items() if not find_problems({key: value}, "attributes")
        }
        return dumps(body)


def decode_neutral(entry: bytes) -> tuple[Event, bool]:
    """Return the event, and whether its listeners have been told. Raises ValueError for what is none."""
    told, key, user_id, attributes, tags, *others = orjson.loads(entry)
    return Event(key, user_id, attributes, NO_TAGS if tags is None else tags, *others), told
