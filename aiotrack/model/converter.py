"""The cattrs converters that documents are structured with: no silent conversions."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import attrs
import cattrs
import orjson

__all__ = ["CHECKED", "Checked", "FromEnv", "Wrong", "make_converter"]

T = TypeVar("T")


class FromEnv(str):
    """Text from an environment variable, to be read as the type that its setting has."""

    __slots__ = ("variable",)
    variable: str


class Checked(Generic[T]):
    """The type of an array of `T` that is checked and not kept."""


CHECKED: Checked[Any] = Checked()


class Wrong(Exception):
    """A value of the wrong type, before its path is known."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.value = value


def _scalar(expected: str, kinds: tuple[type, ...], parse: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if isinstance(value, FromEnv):
            try:
                return parse(value)
            except (KeyError, ValueError):
                raise Wrong(expected, value) from None
        if type(value) not in kinds:
            raise Wrong(expected, value)
        return value

    return hook


SCALARS: dict[Any, str] = {int: "a number", float: "a number", str: "text", bool: "true or false"}
UNIONS = {types.UnionType, typing.Union}


def _is_scalar_union(kind: Any) -> bool:
    arguments = set(typing.get_args(kind)) - {type(None)}
    return typing.get_origin(kind) in UNIONS and arguments <= SCALARS.keys()


def _scalar_union(converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    def hook(value: Any, kind: Any) -> Any:
        kinds = typing.get_args(kind)
        if isinstance(value, FromEnv) and type(None) in kinds and value.lower() in {"", "none"}:
            return None
        if isinstance(value, FromEnv):  # the first that can read it; text can read everything
            for one in sorted((one for one in kinds if one is not type(None)), key=lambda one: one is str):
                try:
                    return converter.structure(value, one)
                except Wrong:
                    continue
        fits = type(value) in kinds or (type(value) is int and float in kinds)
        if isinstance(value, FromEnv) or not fits:
            names = dict.fromkeys(SCALARS[one] for one in kinds if one is not type(None))
            raise Wrong(" or ".join(names), value)
        return value

    return hook


ARRAYS = {list, tuple, Iterable, Sequence}
TABLES = {dict, Mapping}


def _family(kind: Any) -> str | None:
    """Say how a document spells values of a type; None where it can't."""
    origin = typing.get_origin(kind) or kind
    if origin in ARRAYS:
        return "an array"
    if origin in TABLES or typing.is_typeddict(kind):
        return "a table"
    if origin is Literal or origin in {os.PathLike, Path}:
        return "text"
    return SCALARS.get(kind)


def _union(converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    """Structure what may be of several types, by the first that a document can spell so."""

    def hook(value: Any, kind: Any) -> Any:
        kinds = typing.get_args(kind)
        if value is None and type(None) in kinds:
            return None
        families: dict[str, Any] = {}
        for one in kinds:
            if (family := _family(one)) is not None:
                families.setdefault(family, one)
        if not families:
            raise cattrs.StructureHandlerNotFoundError("", kind)
        family = _spelt(value, families)
        if family not in families:
            raise Wrong(" or ".join(families), value)
        return converter.structure(value, families[family])

    return hook


def _spelt(value: Any, families: Mapping[str, Any]) -> str:
    """Say which of several families a value is of."""
    if isinstance(value, FromEnv):
        if "a table" in families and value.lstrip().startswith("{"):
            return "a table"
        return "text" if "text" in families else next(iter(families))
    if isinstance(value, Mapping):
        return "a table"
    return "an array" if isinstance(value, list | tuple) else SCALARS.get(type(value), "")


def _table(converter: cattrs.Converter, value: Any, kind: Any) -> dict[str, Any]:
    if isinstance(value, FromEnv):
        try:
            value = orjson.loads(str.__str__(value))
        except orjson.JSONDecodeError:
            raise Wrong("a table, as JSON", value) from None
    if not isinstance(value, Mapping):
        raise Wrong("a table", value)
    item_kind = (*typing.get_args(kind), Any, Any)[1]
    table: dict[str, Any] = {}
    for key, item in value.items():
        try:
            table[key] = _plain(item) if item_kind is Any else converter.structure(item, item_kind)
        except Exception as exc:  # noqa: BLE001 - as in `structure`
            exc.__notes__ = [cattrs.AttributeValidationNote("", key, item_kind)]
            raise cattrs.ClassValidationError("", [exc], dict) from None  # pyright: ignore[reportCallIssue]
    return table


def _plain(value: Any) -> Any:
    """Return a value of any type as it is, and what the environment brought as text."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return str.__str__(value) if isinstance(value, FromEnv) else value


def _items(converter: cattrs.Converter, value: Any, kind: Any, *, consume: bool) -> Iterator[Any]:
    """Structure the items of an array one by one."""
    if isinstance(value, FromEnv):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple):
        raise Wrong("an array", value)
    item_kind = typing.get_args(kind)[0]
    for index, item in enumerate(value):
        try:
            yield converter.structure(item, item_kind)
        except Exception as exc:  # noqa: BLE001 - as in `structure`
            exc.__notes__ = [cattrs.IterableValidationNote("", index, item_kind)]
            raise cattrs.IterableValidationError("", [exc], kind) from None  # pyright: ignore[reportCallIssue]
        if consume and isinstance(value, list):
            value[index] = None


def _checked(items: Iterator[Any]) -> Checked[Any]:
    for _ in items:
        pass
    return CHECKED


def _object(converter: cattrs.Converter) -> Callable[[Any], Callable[[Any, Any], Any]]:
    def factory(kind: Any) -> Callable[[Any, Any], Any]:
        from_mapping = converter.gen_structure_attrs_fromdict(kind)

        def hook(value: Any, _: Any) -> Any:
            if not isinstance(value, Mapping):
                raise Wrong("an object", value)
            return from_mapping(value, kind)

        return hook

    return factory


def make_converter(*, closed: bool = False, consume: bool = False) -> cattrs.Converter:
    """Return a converter that converts nothing but what the environment brings, and raises `Wrong` for the rest."""
    converter = cattrs.Converter(forbid_extra_keys=closed)
    text = _scalar("text", (str,), str)
    flags = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    converter.register_structure_hook(int, _scalar("an integer", (int,), int))
    converter.register_structure_hook(float, _scalar("a number", (int, float), float))
    converter.register_structure_hook(bool, _scalar("true or false", (bool,), lambda word: flags[word.lower()]))
    converter.register_structure_hook(str, text)
    converter.register_structure_hook_factory(attrs.has, _object(converter))
    by_kind: list[tuple[Callable[[Any], bool], Callable[[Any, Any], Any]]] = [
        (_is_array, lambda value, kind: tuple(_items(converter, value, kind, consume=consume))),
        (_is_checked, lambda value, kind: _checked(_items(converter, value, kind, consume=consume))),
        (lambda kind: typing.get_origin(kind) in UNIONS, _union(converter)),
        (_is_scalar_union, _scalar_union(converter)),
        (lambda kind: _family(kind) == "text" and kind is not str, text),
        (lambda kind: _family(kind) == "a table", lambda value, kind: _table(converter, value, kind)),
    ]
    for test, hook in by_kind:
        converter.register_structure_hook_func(test, hook)
    return converter


def _is_array(kind: Any) -> bool:
    arguments = typing.get_args(kind)
    origin = typing.get_origin(kind)
    return origin in ARRAYS - {tuple} or (origin is tuple and len(arguments) == 2 and arguments[1] is ...)


def _is_checked(kind: Any) -> bool:
    return typing.get_origin(kind) is Checked
