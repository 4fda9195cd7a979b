"""One event's schema, compiled: tags in, problems out. A problem names the path, what was expected and what came."""

from __future__ import annotations

import difflib
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
        self._show_values = show_values
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
        return tuple(problem for error in self._validator.iter_errors(tags) for problem in self._problems(error, tags))

    def _problems(self, error: jsonschema_rs.ValidationError, tags: Mapping[str, Any]) -> Iterator[Problem]:
        *above, rule = error.evaluation_path or [""]
        value = cast("Any", error.instance)
        try:
            subschemas = list(self._way(above))
            place = list(_steps(tags, error.instance_path))
        except (LookupError, TypeError):  # the validator's paths leave out names that are empty
            yield Problem("tags", "what its schema asks for", "something else")
            return
        schema = subschemas[-1]
        hidden = any(one.get("private") is True for one in subschemas) or not self._private.isdisjoint(place)
        details: dict[str, Any] = error.kind.as_dict()
        if error.kind.name == "required":
            name = details["property"]
            yield Problem(_path([*place, name]), _property(schema, name), "nothing")
        elif "unexpected" in details:
            known = list(schema.get("properties", ()))
            for name in details["unexpected"]:
                close = difflib.get_close_matches(name, known, n=1)
                expected = f"no such property (did you mean {close[0]!r}?)" if close else "no such property"
                yield Problem(_path([*place, name]), expected, self._got(value[name], "", hidden))
        elif rule in EXPECTED and rule in schema:
            expected = EXPECTED[str(rule)](schema[rule])
            yield Problem(_path(place), expected, self._got(value, str(rule), hidden))
        else:
            asked = f"what {rule} asks for" if rule and schema.get(str(rule)) is not False else "none"
            yield Problem(_path(place), asked, self._got(value, "", hidden))

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


def _is_private(schema: Any, root: Mapping[str, Any], above: tuple[str, ...]) -> bool:
    """Tell whether a schema, or one that it is put together from, is marked private."""
    if not isinstance(schema, dict):
        return False
    parts = [one for key in ("allOf", "anyOf", "oneOf") for one in schema.get(key, ())]
    pointer = schema.get("$ref")
    if isinstance(pointer, str) and pointer not in above:
        parts.append(_target(root, pointer))
        above = (*above, pointer)
    return schema.get("private") is True or any(_is_private(one, root, above) for one in parts)


def _target(root: Mapping[str, Any], pointer: str) -> Any:
    """Follow a JSON Pointer, as a `$ref` holds it."""
    here: Any = root
    for part in pointer.removeprefix("#").removeprefix("/").split("/"):
        here = here[unquote(part).replace("~1", "/").replace("~0", "~")] if part else here
    return here


def _steps(tags: Any, steps: Iterable[str | int]) -> Iterator[str | int]:
    """Tell keys from indexes: the validator gives a key of digits as a number."""
    here = tags
    for step in steps:
        key = str(step) if isinstance(here, dict) else step
        yield key
        here = here[key]


def _path(steps: Iterable[str | int]) -> str:
    path = "tags"
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
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
