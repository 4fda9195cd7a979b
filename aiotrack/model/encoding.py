"""Values to JSON bytes, and the search for the value that can't be."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

import orjson

from .errors import EventRefused
from .event import FlatDict
from .refusal import Problem, Reason, Refusal

if TYPE_CHECKING:
    from .event import Event

__all__ = [
    "INTEGER",
    "INT_MAX",
    "INT_MIN",
    "MAX_DEPTH",
    "MAX_PROBLEMS",
    "PLAIN",
    "check_attributes",
    "dumps",
    "encode_event",
    "find_problems",
    "has_surrogate",
    "is_flat_json",
    "shown_key",
    "text_key",
]

INT_MIN, INT_MAX = -(2**63), 2**64 - 1
INTEGER = "an integer from -2**63 to 2**64-1"
# Values stand for JSON by now, or can't be sent. And orjson 3.13 crashes the process at a time zone that raises.
PLAIN = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
MAX_DEPTH = 200  # orjson stops at 254 levels, and an envelope needs some of them
MAX_PROBLEMS = 10


def is_flat_json(values: Mapping[Any, Any]) -> bool:
    """Tell at a glance whether all values are plain JSON scalars; False means: look closer."""
    for value in values.values():
        kind = type(value)
        if kind is str or kind is bool or value is None:
            continue
        if kind is int:
            if value.bit_length() < 64 or INT_MIN <= value <= INT_MAX:
                continue
        elif kind is float and value - value == 0.0:  # NaN and the infinities are not
            continue
        return False
    return True


def find_problems(value: object, path: str) -> tuple[Problem, ...]:
    """List what in `value` can't become JSON, each with its path below `path`; at most ten.

    JSON's own types pass at any depth up to 200: str, int of 64 bits, finite float, bool, None, list,
    tuple, and dict with keys that JSON can spell. Enums of str or int pass as their value.
    """
    problems: list[Problem] = []
    for problem in _problems(value, path, ()):
        problems.append(problem)
        if len(problems) == MAX_PROBLEMS:
            break
    return tuple(problems)


def _problems(value: object, path: str, above: tuple[int, ...]) -> Iterator[Problem]:
    if isinstance(value, str):
        if has_surrogate(value):
            yield Problem(path, "text that UTF-8 can carry", "a lone surrogate")
    elif value is None or isinstance(value, bool):
        return
    elif isinstance(value, int):
        if not _fits(value):
            yield Problem(path, INTEGER, "a larger one" if value > 0 else "a smaller one")
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield Problem(path, "a finite number", repr(float(value)))
    elif isinstance(value, dict | list | tuple):
        if id(value) in above:
            yield Problem(path, "a JSON value", "a cycle: it contains itself")
        elif len(above) >= MAX_DEPTH:
            yield Problem(path, f"at most {MAX_DEPTH} levels of nesting", "more")
        else:
            yield from _problems_inside(value, path, (*above, id(value)))
    else:
        yield Problem(path, "a JSON value (str, int, float, bool, None, list or dict)", type(value).__name__)


def _problems_inside(
    value: dict[Any, Any] | list[Any] | tuple[Any, ...], path: str, above: tuple[int, ...]
) -> Iterator[Problem]:
    if not isinstance(value, dict):
        for index, item in enumerate(value):
            yield from _problems(item, f"{path}[{index}]", above)
        return
    for key, item in value.items():
        if not (key is None or isinstance(key, str | int | float)):
            yield Problem(path, "keys that are str", f"a key of type {type(key).__name__}")
        elif isinstance(key, str) and has_surrogate(key):
            yield Problem(path, "keys that UTF-8 can carry", "a lone surrogate")
        else:
            yield from _problems(item, f"{path}.{shown_key(key)}", above)


def _fits(number: int) -> bool:
    return INT_MIN <= number <= INT_MAX


def shown_key(key: object) -> str:
    """Show a key in a path: short, and without what would break a log line."""
    text = str(key)
    return text if text.isprintable() and len(text) <= 64 else repr(text[:64])


def has_surrogate(text: str) -> bool:
    """Tell whether a text has half a character, which UTF-8 can't carry."""
    try:
        str.encode(text)
    except UnicodeEncodeError:
        return True
    return False


def dumps(value: object) -> bytes:
    """Return compact UTF-8 JSON; keys that are numbers, bool or None are spelled as `json` spells them.

    Raises TypeError for what JSON can't carry.
    """
    try:
        return orjson.dumps(value, None, PLAIN)
    except TypeError:
        return orjson.dumps(_withtext_keys(value), _json_base, PLAIN)


def _withtext_keys(value: Any) -> Any:
    """Spell keys as `json` does; of two that become the same the last counts."""
    if isinstance(value, dict):
        return {text_key(key): _withtext_keys(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_withtext_keys(item) for item in value]
    return value


def text_key(key: object) -> Any:
    """Spell a key as `json` does."""
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, int):
        return int.__repr__(key)
    if not isinstance(key, float):
        return key
    if math.isfinite(key):
        return float.__repr__(key)
    return "NaN" if math.isnan(key) else "Infinity" if key > 0 else "-Infinity"


def _json_base(value: object) -> object:
    """Give orjson the base value of a subclass that it does not take as it is."""
    if isinstance(value, float) and not isinstance(value, Enum):
        return float(value)
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(type(value).__name__)


def check_attributes(event: Event) -> None:
    """Raise EventRefused where the user's attributes are no JSON values; tags have been checked before."""
    attributes = event.attributes
    if type(attributes) is not FlatDict and not is_flat_json(attributes):
        problems = find_problems(attributes, "attributes")
        if problems:
            raise EventRefused(Refusal.of(Reason.INVALID_EVENT, problems))


def encode_event(event: Event) -> bytes:
    """Return the event as one JSON object, aiotrack's own wire and storage form.

    `event_id, event, user_id, timestamp` (Unix ms), `attributes, tags`, the reserved tags that are set
    (`revenue, value`), and `user_agent, ip_address, session_id` where known. Raises EventRefused for
    attributes that JSON can't carry; tags have been checked before.
    """
    attributes = event.attributes
    if type(attributes) is not FlatDict:
        check_attributes(event)
    body: dict[str, Any] = {
        "event_id": event.event_id,
        "event": event.key,
        "user_id": event.user_id,
        "timestamp": event.timestamp,
        "attributes": attributes,
        "tags": event.tags,
    }
    if event.reserved:
        body |= event.reserved
    if event.user_agent is not None:
        body["user_agent"] = event.user_agent
    if event.ip_address is not None:
        body["ip_address"] = event.ip_address
    if event.session_id is not None:
        body["session_id"] = event.session_id
    try:
        return orjson.dumps(body, None, PLAIN)
    except TypeError:
        return dumps(body)
