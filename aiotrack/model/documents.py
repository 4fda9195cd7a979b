"""Documents from outside, structured by cattrs: no silent conversions, and errors that name the key's path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
import cattrs
import orjson

from .converter import CHECKED, Checked, FromEnv, Wrong, make_converter
from .errors import DocumentError
from .log import printable
from .suggestions import near

__all__ = ["CHECKED", "Checked", "FromEnv", "json_object", "shown", "structure"]

T = TypeVar("T")

BOM = "\ufeff"

SECRET = re.compile(r"key|token|secret|password|auth|header|url", re.IGNORECASE)


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
        raise DocumentError(printable(str(_explain(exc, path)))) from None  # a key may hold anything


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


_OPEN, _CLOSED, _CONSUMING = make_converter(), make_converter(closed=True), make_converter(consume=True)


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
    if isinstance(exc, Wrong):
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
