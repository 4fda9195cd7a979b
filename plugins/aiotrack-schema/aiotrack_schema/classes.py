"""The JSON Schema of a class."""

from __future__ import annotations

import enum
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from aiotrack.errors import ConfigError

from .fields import fields, is_class, options, split

__all__ = ["SCALARS", "schema_of"]

SCALARS = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
LISTS = {list, tuple, Sequence}
MAPPINGS = {dict, Mapping}


def schema_of(kind: type) -> dict[str, Any]:
    """Return the JSON Schema of an attrs class, a dataclass or a TypedDict.

    Raises ConfigError for a type that has none.
    """
    if not is_class(kind):
        raise ConfigError(f"{getattr(kind, '__name__', kind)}: expected an attrs class, a dataclass or a TypedDict")
    return _object(kind, ())


def _object(kind: type, above: tuple[type, ...]) -> dict[str, Any]:
    if kind in above:
        raise ConfigError(f"{kind.__name__}: contains itself")
    properties: dict[str, Any] = {}
    required: list[str] = []
    for field in fields(kind):
        wanted = field.kind
        if field.is_left_out and not field.notes.null:
            wanted = typing.Union[tuple(one for one in options(wanted) if one is not type(None))]  # noqa: UP007
        if field.notes.name is not None and typing.is_typeddict(kind):
            raise ConfigError(f"{kind.__name__}.{field.attribute}: a TypedDict's keys are its names")
        try:
            properties[field.name] = {**_schema(wanted, (*above, kind)), **field.notes.keywords()}
        except ConfigError as exc:
            raise ConfigError(f"{kind.__name__}.{field.attribute}: {exc}") from None
        if not field.optional:
            required.append(field.name)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    if not getattr(kind, "event_additional", False):
        schema["additionalProperties"] = False
    description = (vars(kind).get("__doc__") or "").strip().partition("\n")[0]
    if description and not description.startswith(f"{kind.__name__}("):  # a dataclass's own
        schema["description"] = description
    return schema | getattr(kind, "event_schema", {})


def _schema(hint: Any, above: tuple[type, ...]) -> dict[str, Any]:
    kind, notes = split(hint)
    if notes.name is not None:
        raise ConfigError(
            f"the name {notes.name!r} belongs to the whole property: Annotated[... | None, Property(name=...)]"
        )
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or kind is object:
        schema: dict[str, Any] = {}
    elif kind in SCALARS:
        schema = {"type": SCALARS[kind]}
    elif origin is Literal:
        if not all(isinstance(one, str | int | None) for one in arguments):
            raise ConfigError(f"a tag can't hold {arguments!r}")
        schema = {"enum": [one.value if isinstance(one, enum.Enum) else one for one in arguments]}
    elif len(options(kind)) > 1:
        schema = _union([_schema(one, above) for one in options(kind)])
    elif origin in LISTS or kind in LISTS:
        if origin is tuple and arguments[1:] != (...,):
            raise ConfigError("a tuple must be tuple[T, ...]")
        schema = {"type": "array", **({"items": _schema(arguments[0], above)} if arguments else {})}
    elif origin in MAPPINGS or kind in MAPPINGS:
        schema = {"type": "object", **({"additionalProperties": _schema(arguments[1], above)} if arguments else {})}
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        schema = {"enum": [member.value for member in kind]}
    elif is_class(kind):
        schema = _object(kind, above)
    else:
        raise ConfigError(f"a tag can't hold {getattr(kind, '__name__', kind)}")
    return {**schema, **notes.keywords()}


def _union(members: list[dict[str, Any]]) -> dict[str, Any]:
    """Join the schemas of a union: bare types to one list, anything else to anyOf."""
    if all(member.keys() == {"type"} for member in members):
        return {"type": [member["type"] for member in members]}
    return {"anyOf": members}
