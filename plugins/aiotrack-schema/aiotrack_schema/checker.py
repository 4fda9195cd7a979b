"""One event's schema, compiled: tags in, problems out. A problem names the path, what was expected and what came."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import unquote

import jsonschema_rs
import orjson

import aiotrack
from aiotrack import Problem

from .grammar import compiled

__all__ = ["Checker"]

TYPES = {
    "integer": "an integer",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
MOST_OPTIONS = 10
MOST_TEXT = 60
MOST_PROBLEMS = 10

# What a rule of JSON Schema expects, from the value of its keyword.
EXPECTED: dict[str, Callable[[Any], str]] = {
    "type": lambda types: _either([TYPES.get(one, one) for one in ([types] if isinstance(types, str) else types)]),
    "enum": lambda options: f"one of {_options(options)}",
    "const": repr,
    "minimum": lambda limit: f"at least {limit}",
    "maximum": lambda limit: f"at most {limit}",
    "exclusiveMinimum": lambda limit: f"more than {limit}",
    "exclusiveMaximum": lambda limit: f"less than {limit}",
    "multipleOf": lambda number: f"a multiple of {number}",
    "minLength": lambda least: f"text of at least {least} characters",
    "maxLength": lambda most: f"text of at most {most} characters",
    "pattern": lambda pattern: f"text that matches {pattern!r}",
    "format": lambda name: f"text in the format {name!r}",
    "minItems": lambda least: f"a list of at least {least}",
    "maxItems": lambda most: f"a list of at most {most}",
    "uniqueItems": lambda _: "a list without repetitions",
    "minProperties": lambda least: f"at least {least} properties",
    "maxProperties": lambda most: f"at most {most} properties",
}
COMPARED = {
    "minimum": "less",
    "maximum": "more",
    "exclusiveMinimum": "that or less",
    "exclusiveMaximum": "that or more",
    "multipleOf": "none",
    "uniqueItems": "some",
}


class Checker:
    """What `aiotrack_event_schemas` brings for one event."""

    def __init__(self, schema: Mapping[str, Any], *, show_values: bool = False) -> None:
        self._schema = schema
        self._show_values = show_values and not _has_private_corners(schema)
        self._validator = compiled(schema)
        self._fits = self._validator.is_valid
        self._private = frozenset(_private_names(schema, schema))

    def check(self, tags: Mapping[str, Any], /) -> tuple[Problem, ...]:
        """Return what is wrong with an event's tags; nothing when they fit."""
        try:
            if self._fits(tags):
                return ()
        except ValueError:  # an enum's member, say: it will be sent as its value, so that is looked at
            tags = orjson.loads(aiotrack.dumps(tags))
        found: list[Problem] = []
        for error in self._validator.iter_errors(tags):
            try:
                found += itertools.islice(self._problems(error, tags), MOST_PROBLEMS)
            except Exception:  # noqa: BLE001 - what can't be explained does not fit, all the same
                found.append(Problem("tags", "what its schema asks for", "something else"))
            if len(found) >= MOST_PROBLEMS:
                break
        return tuple(found[:MOST_PROBLEMS])

    def _problems(self, error: jsonschema_rs.ValidationError, tags: Mapping[str, Any]) -> Iterator[Problem]:
        *above, rule = error.evaluation_path or [""]
        value = cast("Any", error.instance)
        subschemas = list(self._way(above))
        schema = subschemas[-1]
        place = list(_steps(tags, error.instance_path, value))
        hidden = any(one.get("private") is True for one in subschemas) or not self._private.isdisjoint(place)
        details: dict[str, Any] = error.kind.as_dict()
        if error.kind.name == "required":
            name = details["property"]
            yield Problem(_path([*place, name]), _property(schema, name), "nothing")
        elif "unexpected" in details:
            known = list(schema.get("properties", ()))
            for name in details["unexpected"]:
                close = difflib.get_close_matches(name, known, n=1) if len(name) <= MOST_TEXT else []
                expected = f"no such property (did you mean {close[0]!r}?)" if close else "no such property"
                yield Problem(_path([*place, name]), expected, self._got(value[name], "", True))
        elif rule in EXPECTED and rule in schema and (above or ["schema"])[-1] not in {"properties", "$defs"}:
            expected = EXPECTED[str(rule)](schema[rule])
            yield Problem(_path(place), expected, self._got(value, str(rule), hidden))
        else:
            asked = f"what {rule} asks for" if rule and schema.get(str(rule)) is not False else "none"
            yield Problem(_path(place), asked, self._got(value, "", True))

    def _way(self, steps: list[str | int]) -> Iterator[Mapping[str, Any]]:
        """Follow a path through the schema; yield every mapping on the way, a `$ref` followed."""
        here: Any = self._schema
        yield here
        for step in steps:
            if step == "$ref" and isinstance(here[step], str):
                here = _target(self._schema, here[step])
            else:
                here = here[str(step) if isinstance(here, dict) else step]
            if isinstance(here, dict):
                yield here

    def _got(self, value: object, rule: str, hidden: bool) -> str:
        """Describe what came; the value itself only where that is asked for, and never of what is private."""
        if self._show_values and not hidden and not isinstance(value, list | tuple | dict):
            text = repr(value)
            return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}..."
        if rule in COMPARED:
            return COMPARED[rule]
        match value:
            case None:
                return "null"
            case str():
                return f"text of {len(value)} characters"
            case list() | tuple():
                return f"a list of {len(value)}"
            case dict():
                return "a mapping"
            case int() if not isinstance(value, bool):
                return "an int"
            case _:
                return f"a {type(value).__name__}"


def _private_names(schema: Any, root: Mapping[str, Any]) -> Iterator[str]:
    """Name the properties that are marked private, anywhere in a schema."""
    if isinstance(schema, list):
        for one in schema:
            yield from _private_names(one, root)
    elif isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from (name for name, one in properties.items() if _is_private(one, root, ()))
        for one in schema.values():
            yield from _private_names(one, root)


def _has_private_corners(schema: Any, under: str = "properties") -> bool:
    """Tell whether something is marked private that is no property with a name of its own."""
    if isinstance(schema, list):
        return any(_has_private_corners(one, under) for one in schema)
    if not isinstance(schema, dict):
        return False
    if schema.get("private") is True and under not in {"properties", "$defs"}:
        return True
    return any(
        any(_has_private_corners(one, key) for one in inner.values())
        if key in {"properties", "$defs", "patternProperties", "dependentSchemas"} and isinstance(inner, dict)
        else _has_private_corners(inner, key)
        for key, inner in schema.items()
    )


def _is_private(schema: Any, root: Mapping[str, Any], above: tuple[str, ...]) -> bool:
    """Tell whether a schema, or one that it is put together from, is marked private."""
    if not isinstance(schema, dict):
        return False
    parts = [one for key in ("allOf", "anyOf", "oneOf") for one in schema.get(key, ())]
    pointer = schema.get("$ref")
    if isinstance(pointer, str) and pointer not in above:
        try:
            parts.append(_target(root, pointer))
        except LookupError:  # an anchor, say
            return True
        above = (*above, pointer)
    return schema.get("private") is True or any(_is_private(one, root, above) for one in parts)


def _target(root: Mapping[str, Any], pointer: str) -> Any:
    """Follow a JSON Pointer, as a `$ref` holds it."""
    here: Any = root
    for part in pointer.removeprefix("#").removeprefix("/").split("/"):
        step = unquote(part).replace("~1", "/").replace("~0", "~")
        here = here[int(step) if isinstance(here, list) else step] if part else here
    return here


def _steps(tags: Any, steps: Iterable[str | int], value: Any) -> Iterator[str | int]:
    """Tell keys from indexes: the validator gives a key of digits as a number. It leaves out keys that are empty."""
    here = tags
    for step in steps:
        key = str(step) if isinstance(here, dict) else step
        yield key
        here = here[key]
    if here != value:
        raise LookupError("the path leads elsewhere")


def _path(steps: Iterable[str | int]) -> str:
    path = "tags"
    for step in steps:
        shown = (
            step if isinstance(step, str) and step.isprintable() and len(step) <= MOST_TEXT else repr(step)[:MOST_TEXT]
        )
        path += f"[{step}]" if isinstance(step, int) else f".{shown}"
    return path


def _property(schema: Mapping[str, Any], name: str) -> str:
    """Say what a missing property should be."""
    one = schema.get("properties", {}).get(name, {})
    for rule in ("enum", "const", "type"):
        if isinstance(one, dict) and rule in one:
            return EXPECTED[rule](one[rule])
    return "a value"


def _either(words: list[str]) -> str:
    return " or ".join(words)


def _options(options: list[Any]) -> str:
    shown = ", ".join(repr(option) for option in options[:MOST_OPTIONS])
    return f"{shown} and {len(options) - MOST_OPTIONS} more" if len(options) > MOST_OPTIONS else shown
