"""The language of a plan: JSON Schema in its own words and a few of ours, and everything that can be wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import jsonschema_rs
import orjson

__all__ = ["DIALECT", "Mode", "Unlisted", "compiled", "event_schema", "plain", "plan_errors"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
OWN = {"private"}
NOTES = {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "format"}
KEYWORDS = NOTES | {
    *"""
    $schema $id $anchor $ref $defs $dynamicRef $dynamicAnchor $vocabulary type enum const properties patternProperties
    additionalProperties propertyNames required minProperties maxProperties dependentRequired dependentSchemas items
    prefixItems contains minContains maxContains minItems maxItems uniqueItems minLength maxLength pattern minimum
    maximum exclusiveMinimum exclusiveMaximum multipleOf allOf anyOf oneOf not if then else unevaluatedItems
    unevaluatedProperties contentEncoding contentMediaType contentSchema
    """.split()  # noqa: SIM905 - as a list it would take forty lines
}
# Where a keyword's value is a schema, a list of them, or a mapping to them.
LISTED = {"allOf", "anyOf", "oneOf", "prefixItems"}
NAMED = {"properties", "patternProperties", "$defs", "dependentSchemas"}
ALONE = {"items", "contains", "not", "if", "then", "else", "additionalProperties", "propertyNames", "contentSchema"} | {
    "unevaluatedItems",
    "unevaluatedProperties",
}
TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}
FORMATS = {
    *(
        "date",
        "time",
        "date-time",
        "duration",
        "email",
        "idn-email",
        "hostname",
        "idn-hostname",
        "ipv4",
        "ipv6",
        "uuid",
    ),
    *("uri", "uri-reference", "uri-template", "iri", "iri-reference", "json-pointer", "relative-json-pointer", "regex"),
}
OPEN = {"patternProperties", "allOf", "anyOf", "oneOf", "$ref"}  # may bring properties from elsewhere


class Mode(StrEnum):
    """What becomes of an event that does not fit its schema."""

    REFUSE = "refuse"
    """It is refused, with the reasons."""
    WARN = "warn"
    """It goes on, and a warning is logged."""
    OFF = "off"
    """Nobody looks."""


class Unlisted(StrEnum):
    """What becomes of an event that the plan does not list."""

    ALLOW = "allow"
    WARN = "warn"
    REFUSE = "refuse"


def plain(value: Any) -> Any:
    """Return a schema in JSON Schema's own words: `required = true` of a property goes up to its object."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    schema = {key: plain(item) for key, item in value.items() if not (key == "required" and isinstance(item, bool))}
    properties = value.get("properties")
    if isinstance(properties, dict):
        needed = [name for name, one in properties.items() if isinstance(one, dict) and one.get("required") is True]
        listed = schema.get("required", [])
        if needed or listed:
            schema["required"] = list(dict.fromkeys([*listed, *needed]))
    return schema


def plan_errors(document: Mapping[str, Any]) -> Iterator[str]:
    """Name everything that is wrong with a plan, each with its path."""
    known = {"mode", "unlisted", "additionalProperties", "$defs", "events", "description", "$schema"}
    for key in document:
        if key not in known:
            yield f"{key}: no such key; {_near(str(key), known)}"
    yield from _word_errors(document, "mode", Mode, "")
    yield from _word_errors(document, "unlisted", Unlisted, "")
    if not isinstance(document.get("additionalProperties", False), bool):
        yield "additionalProperties: expected true or false"
    shared = document.get("$defs", {})
    if not isinstance(shared, dict):
        yield f"$defs: expected a table of schemas, got {_named(shared)}"
        return
    broken = [problem for name, schema in shared.items() for problem in _schema_errors(schema, f"$defs.{name}")]
    yield from broken
    closed = document.get("additionalProperties")
    events = document.get("events")
    if events is None and any("'events'" in _near(str(key), known) for key in document if key not in known):
        return  # that was the mistake
    if not isinstance(events, dict) or not events:
        yield f"events: expected a table of events, got {_named(events)}"
        return
    for key, given in events.items():
        path = f"events.{key}"
        if not isinstance(key, str) or not key:
            yield f"{path}: expected a text as the event's key, got {_named(key)}"
        elif not isinstance(given, dict):
            yield f"{path}: expected a table, got {_named(given)}"
        else:
            yield from _word_errors(given, "mode", Mode, f"{path}.")
            schema = event_schema(given, closed, {} if broken else shared)
            if schema.get("type", "object") != "object":
                yield f"{path}.type: expected 'object', since an event has tags, got {schema['type']!r}"
            else:
                own = {name: one for name, one in schema.items() if name != "$defs"}
                refers_to_broken = bool(broken) and any(name in shared for name in _referred_to(own))
                yield from _event_errors(own, None if refers_to_broken else schema, path)


def event_schema(given: Mapping[str, Any], closed: Any, shared: Mapping[str, Any]) -> dict[str, Any]:
    """Put an event's schema together: the plan's default for unknown properties, and what it refers to in `$defs`."""
    schema = {name: value for name, value in given.items() if name != "mode"}
    if isinstance(closed, bool):
        schema.setdefault("additionalProperties", closed)
    used: dict[str, Any] = {}
    waiting = [schema]
    while waiting:
        for name in _referred_to(waiting.pop()):
            if name in shared and name not in used:
                used[name] = shared[name]
                waiting.append(shared[name])
    return {**({"$defs": used} if used else {}), **schema}


def _referred_to(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        pointer = value.get("$ref")
        if isinstance(pointer, str) and pointer.startswith("#/$defs/"):
            yield pointer.split("/")[2].replace("~1", "/").replace("~0", "~")
        value = list(value.values())
    for one in value if isinstance(value, list) else ():
        yield from _referred_to(one)


def _event_errors(schema: dict[str, Any], whole: dict[str, Any] | None, path: str) -> Iterator[str]:
    """Check an event's schema; and where what it refers to is right, as a whole."""
    found = False
    for problem in _schema_errors(schema, path):
        found = True
        yield problem
    if not found and whole is not None:
        try:
            compiled({"$schema": DIALECT, **plain(whole)})
        except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as exc:
            yield f"{path}: {str(exc).splitlines()[0]}"


def _word_errors(table: Mapping[str, Any], key: str, kind: type[StrEnum], path: str) -> Iterator[str]:
    words = [str(word) for word in kind]
    if key in table and table[key] not in words:
        yield f"{path}{key}: expected one of {', '.join(words)}, got {_named(table[key])}"


def _schema_errors(schema: Any, path: str) -> Iterator[str]:
    """Check one schema against the standard's own, and look for words that the standard would pass over."""
    try:
        standard = plain(schema)
        orjson.dumps(standard)
        jsonschema_rs.meta.validate({**standard, "$schema": DIALECT} if isinstance(standard, dict) else standard)
    except jsonschema_rs.ValidationError as exc:
        at = ".".join([path, *map(str, exc.instance_path)])
        yield f"{at}: {_unknown_type(exc)}"
        return
    except TypeError:
        yield f"{path}: expected JSON's values alone, with texts as keys (a date must be a text, say)"
        return
    yield from _misspelt(standard, path)
    yield from _stray(schema, path)


def _unknown_type(exc: jsonschema_rs.ValidationError) -> str:
    """Say what is wrong with a schema; of a type that is none, which there are."""
    if list(exc.instance_path)[-1:] == ["type"] and isinstance(exc.instance, str):
        return f"{exc.instance!r} is no type; {_near(exc.instance, TYPES)}"
    return exc.message


def _stray(value: Any, path: str, *, is_property: bool = False) -> Iterator[str]:
    """Look for `required = true` where there is no property."""
    if isinstance(value, dict):
        if isinstance(value.get("required"), bool) and not is_property:
            yield f"{path}.required: only a property can be required = {str(value['required']).lower()}"
        for key, one in value.items():
            if key in NAMED and isinstance(one, dict):
                for name, inner in one.items():
                    yield from _stray(inner, f"{path}.{key}.{name}", is_property=key == "properties")
            elif key not in {"enum", "const", "default", "examples"}:
                yield from _stray(one, f"{path}.{key}")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _stray(one, f"{path}[{index}]")


def _misspelt(schema: Any, path: str) -> Iterator[str]:
    """Look for words that are in no standard, and for required properties that can't be given."""
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        if key not in KEYWORDS | OWN and not str(key).startswith("x-"):
            near = _near(str(key), KEYWORDS | OWN)
            yield f"{path}.{key}: JSON Schema has no such word; {near} Words of your own begin with x-"
        elif key == "properties" and "" in value:
            yield f"{path}.{key}: a property needs a name, got an empty one"
        elif key == "pattern" and not _is_regex(value):
            yield f"{path}.{key}: expected a regular expression, got {_named(value)}"
        elif key == "format" and value not in FORMATS:
            yield f"{path}.{key}: {value!r} is no format; {_near(str(value), FORMATS)}"
        elif key == "private" and not isinstance(value, bool):
            yield f"{path}.{key}: expected true or false, got {_named(value)}"
    for at, inner in _inside(schema, path):
        yield from _misspelt(inner, at)
    if schema.get("additionalProperties") is False and not schema.keys() & OPEN:
        for name in schema.get("required", ()):
            if name not in schema.get("properties", {}):
                yield f"{path}.required: {name!r} is no property of it"


def _is_regex(pattern: Any) -> bool:
    try:
        compiled({"pattern": pattern})
    except jsonschema_rs.ValidationError:
        return False
    return True


def _inside(schema: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Give the schemas that are part of one, each with its path."""
    for key, value in schema.items():
        at = f"{path}.{key}"
        if key in ALONE:
            yield at, value
        elif key in LISTED:
            yield from ((f"{at}[{index}]", one) for index, one in enumerate(value))
        elif key in NAMED:
            yield from ((f"{at}.{name}", one) for name, one in value.items())


def compiled(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    """Return a schema's validator. Raises ValueError; nothing is ever fetched for a `$ref`."""
    return jsonschema_rs.Draft202012Validator(dict(schema), validate_formats=True, retriever=_elsewhere)


def _elsewhere(uri: str) -> Any:
    raise ValueError(f"$ref to {uri}: only references within the plan are followed")


def _near(word: str, known: set[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"


def _named(value: object) -> str:
    if value is None:
        return "nothing"
    return f"{type(value).__name__} {value!r}" if isinstance(value, str | int | float) else type(value).__name__
