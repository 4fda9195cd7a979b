"""Documents from outside, structured by cattrs: no silent conversions, and errors that name the key's path."""

from __future__ import annotations

import os
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Literal, TypeVar

import attrs
import cattrs
import orjson

from .errors import DocumentError
from .routing import Only
from .suggestions import near

__all__ = ["CHECKED", "Checked", "FromEnv", "json_object", "shown", "structure"]

T = TypeVar("T")

BOM = "\ufeff"

SECRET = re.compile(r"key|token|secret|password|auth|header|url", re.IGNORECASE)


class FromEnv(str):
    """Text from an environment variable, to be read as the type that its setting has."""

    __slots__ = ("variable",)
    variable: str


class Checked(Generic[T]):
    """The type of an array of `T` that is checked and not kept."""


CHECKED: Checked[Any] = Checked()


class _Wrong(Exception):
    """A value of the wrong type, before its path is known."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.value = value


def structure(value: Any, kind: type[T], path: str = "", *, closed: bool = False, consume: bool = False) -> T:
    """Structure plain data as `kind`, an attrs class or any type that cattrs knows.

    A `closed` document may hold no keys but those of its class. With `consume` the items of arrays are let go of one
    by one: a large document that is freed in one go, or that the garbage collector finds beside what was made of it,
    stops all other threads for that long. Raises DocumentError with the path of the first value that is wrong, below
    `path`.
    """
    try:
        return (_CLOSED if closed else _CONSUMING if consume else _OPEN).structure(value, kind)
    except Exception as exc:  # noqa: BLE001 - cattrs lets through whatever a type raises
        raise _explain(exc, path) from None


def json_object(source: object, what: str) -> dict[str, Any]:
    """Return a document that is JSON text or a mapping already; `what` names it in a DocumentError."""
    if isinstance(source, bytes | str):
        # A byte order mark, that some editors and servers put before it, is skipped; text may be from the environment.
        source = (
            source.removeprefix(BOM.encode()) if isinstance(source, bytes) else str.__str__(source).removeprefix(BOM)
        )
        try:
            source = orjson.loads(source)
        except orjson.JSONDecodeError as exc:
            raise DocumentError(f"{what} not JSON: {exc.msg}") from None
    if not isinstance(source, Mapping):
        raise DocumentError(f"{what} no object, but {type(source).__name__}")
    return dict(source)


def _scalar(expected: str, kinds: tuple[type, ...], parse: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if isinstance(value, FromEnv):
            try:
                return parse(value)
            except (KeyError, ValueError):
                raise _Wrong(expected, value) from None
        if type(value) not in kinds:
            raise _Wrong(expected, value)
        return value

    return hook


SCALARS: dict[Any, str] = {int: "a number", float: "a number", str: "text", bool: "true or false"}


def _is_scalar_union(kind: Any) -> bool:
    arguments = set(typing.get_args(kind)) - {type(None)}
    return typing.get_origin(kind) in {types.UnionType, typing.Union} and arguments <= SCALARS.keys()


def _scalar_union(converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    def hook(value: Any, kind: Any) -> Any:
        kinds = typing.get_args(kind)
        if isinstance(value, FromEnv):  # the first that can read it; text can read everything
            for one in sorted((one for one in kinds if one is not type(None)), key=lambda one: one is str):
                try:
                    return converter.structure(value, one)
                except _Wrong:
                    continue
        if isinstance(value, FromEnv) or type(value) not in kinds:
            names = dict.fromkeys(SCALARS[one] for one in kinds if one is not type(None))
            raise _Wrong(" or ".join(names), value)
        return value

    return hook


def _table(value: Any, _: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _Wrong("a table", value)
    return dict(value)


def _tables(value: Any, _: Any) -> dict[str, dict[str, Any]]:
    tables = _table(value, None)
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            raise DocumentError(f"{name}: expected a table, got {shown(name, table)}")
    return tables


def _items(converter: cattrs.Converter, value: Any, kind: Any, *, consume: bool) -> Iterator[Any]:
    """Structure the items of an array one by one."""
    if isinstance(value, FromEnv):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple):
        raise _Wrong("an array", value)
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
                raise _Wrong("an object", value)
            return from_mapping(value, kind)

        return hook

    return factory


def _converter(*, closed: bool = False, consume: bool = False) -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=closed)
    text = _scalar("text", (str,), str)
    flags = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    converter.register_structure_hook(int, _scalar("an integer", (int,), int))
    converter.register_structure_hook(float, _scalar("a number", (int, float), float))
    converter.register_structure_hook(bool, _scalar("true or false", (bool,), lambda word: flags[word.lower()]))
    converter.register_structure_hook(str, text)
    converter.register_structure_hook_factory(attrs.has, _object(converter))
    by_kind: list[tuple[Callable[[Any], bool], Callable[[Any, Any], Any]]] = [
        (_is_array, lambda value, kind: tuple(_items(converter, value, kind, consume=consume))),
        (_is_checked, lambda value, kind: _checked(_items(converter, value, kind, consume=consume))),
        (_is_scalar_union, _scalar_union(converter)),
        (lambda kind: kind == Only | None, lambda value, _: converter.structure(value, tuple[str, ...])),
        (lambda kind: kind == str | os.PathLike[str], text),
        (lambda kind: typing.get_origin(kind) == Literal, text),
        (lambda kind: kind == dict[str, dict[str, Any]], _tables),
        (lambda kind: kind == dict[str, Any], _table),
    ]
    for test, hook in by_kind:
        converter.register_structure_hook_func(test, hook)
    return converter


def _is_array(kind: Any) -> bool:
    arguments = typing.get_args(kind)
    return typing.get_origin(kind) is tuple and len(arguments) == 2 and arguments[1] is ...


def _is_checked(kind: Any) -> bool:
    return typing.get_origin(kind) is Checked


_OPEN, _CLOSED, _CONSUMING = _converter(), _converter(closed=True), _converter(consume=True)


def _explain(exc: BaseException, path: str) -> DocumentError:
    """Turn cattrs' tree of errors into one sentence about the first of them, with its path."""
    if isinstance(exc, cattrs.ForbiddenExtraKeysError):
        key = min(exc.extra_fields)
        fields = [field.name for field in attrs.fields(exc.cl)]
        return DocumentError(f"{_join(path, key)}: no such setting; {near(key, fields)}")
    if isinstance(exc, cattrs.BaseValidationError):
        inner = exc.exceptions[0]
        for note in getattr(inner, "__notes__", ()):
            name = getattr(note, "name", None)
            if name is not None:
                missing = isinstance(inner, KeyError) and inner.args == (name,)
                return DocumentError(f"{_join(path, name)}: missing") if missing else _explain(inner, _join(path, name))
            if hasattr(note, "index"):
                return _explain(inner, f"{path}[{note.index}]")
        return _explain(inner, path)
    if isinstance(exc, _Wrong):
        return DocumentError(f"{path or 'the document'}: expected {exc.expected}, got {shown(path, exc.value)}")
    if isinstance(exc, DocumentError):
        return DocumentError(f"{path}.{exc}") if path else exc
    if isinstance(exc, cattrs.StructureHandlerNotFoundError):
        return DocumentError(f"{path}: can't be set in a config; give it in code")
    return DocumentError(f"{path or 'the document'}: {exc}")


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def shown(path: str, value: object) -> str:
    """Describe a value that came, without showing what may be a secret."""
    origin = f" from {value.variable}" if isinstance(value, FromEnv) else ""
    kind = "str" if isinstance(value, FromEnv) else type(value).__name__
    if value is None:
        return "nothing"
    if SECRET.search(path) or not isinstance(value, str | int | float):
        return f"{kind}{origin}"
    text = repr(value[:40] if isinstance(value, str) else value)
    return f"{kind} {text[:42]}{'' if len(str(value)) <= 40 else '...'}{origin}"
