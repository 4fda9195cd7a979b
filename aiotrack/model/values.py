"""What Python programs hold, as JSON values: converted once, when an event is tracked or a user context is made."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import math
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from .encoding import (
    INT_MAX,
    INT_MIN,
    INTEGER,
    MAX_DEPTH,
    MAX_PROBLEMS,
    has_surrogate,
    is_flat_json,
    shown_key,
    text_key,
)
from .event import FlatDict, FrozenDict
from .refusal import Problem

__all__ = ["JSONValues", "UserId", "is_a", "kind_of", "text_of", "timestamp_of", "user_id_of"]

Default = Callable[[Any], Any]
Above = tuple[int, ...]
UserId = str | int | uuid.UUID

MOST_DIGITS = 20  # of an integer of 64 bits
EXPECTED = "a JSON value, or what stands for one"
NUMPY_TIMES = frozenset({"datetime64", "timedelta64"})  # they know no time zone, and `item()` may be a bare number
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
AWARE = "an aware datetime, such as datetime.now(UTC)"


class JSONValues:
    """Converts values; `default` converts what is not known here, and raises TypeError for what it does not know."""

    def __init__(self, default: Default | None = None) -> None:
        self._default = default

    def convert(self, values: Mapping[Any, Any], path: str) -> tuple[dict[str, Any], tuple[Problem, ...]]:
        """Return a mapping's JSON values, and at most ten problems, each with its path; what has one stays as it is.

        JSON's own types stay, at up to 200 levels. An aware datetime, a date or a time becomes ISO 8601; a Decimal an
        integer, or else a float; a UUID text; an Enum its value; a set a list, sorted where it can be; a tuple or
        deque a list; a dataclass, an attrs or pydantic object a dict of its fields; a numpy scalar its `item()`.
        """
        conversion = _Conversion(self._default)
        return conversion.mapping(values, path, ()), tuple(conversion.problems[:MAX_PROBLEMS])

    def frozen(self, values: Mapping[Any, Any]) -> FrozenDict:
        """Return attributes as JSON values, in a copy that many events can share; what can't be one stays as it is."""
        copy = FlatDict(values)
        if is_flat_json(copy):
            return copy
        converted, _ = self.convert(copy, "attributes")
        return FlatDict(converted) if is_flat_json(converted) else FrozenDict(converted)


class _Conversion:
    def __init__(self, default: Default | None) -> None:
        self.problems: list[Problem] = []
        self._default = default

    def value(self, value: Any, path: str, above: Above) -> Any:
        """Return what stands for a value, or note a problem and return the value itself."""
        if len(self.problems) >= MAX_PROBLEMS:
            return value
        try:
            return self._value(value, path, above)
        except Exception as exc:  # noqa: BLE001 - a foreign class may raise from anything
            return self._problem(value, path, EXPECTED, f"{kind_of(value)}, which raised {type(exc).__name__}")

    def _problem(self, value: Any, path: str, expected: str, got: str) -> Any:
        self.problems.append(Problem(path, expected, got))
        return value

    def _value(self, value: Any, path: str, above: Above) -> Any:
        if value is None or value is True or value is False:
            return value
        if is_a(value, Enum):
            return self.value(value.value, path, above)
        if is_a(value, str):
            if has_surrogate(value):
                return self._problem(value, path, "text that UTF-8 can carry", "a lone surrogate")
            return str.__str__(value)
        if is_a(value, int | float | decimal.Decimal):
            return self._number(value, path)
        if is_a(value, dict | list | tuple | set | frozenset | deque | Mapping):
            return self._nested(value, path, above)
        return self._known_class(value, path, above)

    def _number(self, value: Any, path: str) -> Any:
        if is_a(value, int):
            if INT_MIN <= value <= INT_MAX:
                return int.__pos__(value)
            got = "a larger one" if value > 0 else "a smaller one"
            return self._problem(value, path, INTEGER, got)
        if is_a(value, decimal.Decimal) and value.is_finite():
            if value.adjusted() > MOST_DIGITS:  # as an integer it may take longer than anybody waits
                return self._problem(value, path, INTEGER, "a smaller one" if value.is_signed() else "a larger one")
            if value == value.to_integral_value():
                return self._number(int(value), path)
        number = float.__pos__(value) if is_a(value, float) else float(value)
        if math.isfinite(number):
            return number
        return self._problem(
            value, path, "a finite number", str(value) if is_a(value, decimal.Decimal) else repr(number)
        )

    def _nested(self, value: Any, path: str, above: Above) -> Any:
        if id(value) in above:
            return self._problem(value, path, "a JSON value", "a cycle: it contains itself")
        if len(above) >= MAX_DEPTH:
            return self._problem(value, path, f"at most {MAX_DEPTH} levels of nesting", "more")
        above = (*above, id(value))
        if is_a(value, Mapping):
            return self.mapping(value, path, above)
        if not is_a(value, set | frozenset):
            items = list.__iter__(value) if is_a(value, list) else iter(value)
            return [self.value(item, f"{path}[{index}]", above) for index, item in enumerate(items)]
        listed = [self.value(item, f"{path}[]", above) for item in value]
        try:
            listed.sort()
        except TypeError:
            listed.sort(key=repr)
        return listed

    def mapping(self, values: Any, path: str, above: Above) -> dict[str, Any]:
        """Return a mapping with keys of text and values of JSON."""
        items: Iterable[tuple[Any, Any]] = dict.items(values) if is_a(values, dict) else values.items()
        converted: dict[Any, Any] = {}
        for given, item in items:
            key: Any = given.value if is_a(given, Enum) and is_a(given.value, str) else given
            if not (key is None or is_a(key, str | int | float)):
                converted[key] = self._problem(item, path, "keys that are str", f"a key of type {kind_of(key)}")
            elif key is not None and is_a(key, str) and has_surrogate(key):
                converted[key] = self._problem(item, path, "keys that UTF-8 can carry", "a lone surrogate")
            else:
                text = text_key(key)
                converted[text] = self.value(item, f"{path}.{shown_key(text)}", above)
        return converted

    def _known_class(self, value: Any, path: str, above: Above) -> Any:
        """Return what stands for an object of a class that is no container."""
        kind = type(value)
        if is_a(value, datetime.datetime):
            return self._time(value, path)
        if is_a(value, datetime.date | datetime.time):
            return value.isoformat()
        if is_a(value, uuid.UUID):
            return str(value)
        if _is_numpy_scalar(kind):
            plain = value if kind.__name__ in NUMPY_TIMES else value.item()
            if type(plain) is not kind:
                return self.value(plain, path, above)
        elif (fields := _fields(kind)) is not None:
            return self._nested({name: getattr(value, name) for name in fields}, path, (*above, id(value)))
        elif callable(getattr(kind, "model_dump", None)):
            return self.value(value.model_dump(mode="json"), path, (*above, id(value)))
        elif self._default is not None and not is_a(value, type):
            return self._by_default(self._default, value, path, above)
        return self._problem(value, path, EXPECTED, kind_of(value))

    def _time(self, value: datetime.datetime, path: str) -> Any:
        if value != value:  # noqa: PLR0124 - pandas' "not a time"
            return self._problem(value, path, AWARE, "NaT")
        if value.utcoffset() is None:
            return self._problem(value, path, AWARE, "a naive one, of an unknown time zone")
        return value.isoformat()

    def _by_default(self, default: Default, value: Any, path: str, above: Above) -> Any:
        if id(value) in above or len(above) >= MAX_DEPTH:
            return self._problem(value, path, EXPECTED, f"{kind_of(value)}, which the default returns again")
        try:
            plain = default(value)
        except TypeError:
            return self._problem(value, path, EXPECTED, kind_of(value))
        return self.value(plain, path, (*above, id(value)))


def _fields(kind: type[Any]) -> list[str] | None:
    """Return the names of the fields of a dataclass or an attrs class; None of any other."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    defined = getattr(kind, "__attrs_attrs__", None)
    return None if defined is None else [field.name for field in defined]


def _is_numpy_scalar(kind: type[Any]) -> bool:
    return any(base.__module__ == "numpy" and base.__name__ == "generic" for base in kind.__mro__)


def is_a(value: object, kinds: Any) -> bool:
    """Tell whether a value's own type is one of these: what a proxy claims to be may raise, or not be so."""
    return issubclass(type(value), kinds)


def text_of(given: Any) -> Any:
    """Return a UUID, and text of another class, as plain text; anything else as it is."""
    return str.__str__(given) if is_a(given, str) else str(given) if is_a(given, uuid.UUID) else given


def kind_of(value: object) -> str:
    """Name a value's type; with its module, unless that is Python's own, and without what a package keeps private."""
    kind = type(value)
    public = [part for part in kind.__module__.split(".") if part != "builtins" and not part.startswith("_")]
    return ".".join((*public, kind.__qualname__))


def user_id_of(given: Any) -> Any:
    """Return a user id as text, where it is text, an integer (no bool) or a UUID; anything else as it is."""
    if is_a(given, Enum):
        return user_id_of(given.value)
    if not _is_integer(given):
        return text_of(given)
    try:
        return str(_integer(given))
    except ValueError:  # Python writes no more than some thousand digits
        return given


def timestamp_of(given: Any) -> Any:
    """Return an aware datetime as Unix milliseconds, an integer of another class as an int, anything else as it is."""
    if is_a(given, datetime.datetime):
        with contextlib.suppress(Exception):  # a time zone of the caller's own making; a naive time; no time
            return round((given - EPOCH) / datetime.timedelta(milliseconds=1))
    return _integer(given) if _is_integer(given) else given


def _integer(given: Any) -> int:
    """Return an integer as a plain one, whatever its class makes of it."""
    return int.__pos__(given) if is_a(given, int) else int(given)


def _is_integer(given: object) -> bool:
    kind = type(given)
    return (issubclass(kind, int) and kind is not bool) or (_is_numpy_scalar(kind) and "int" in kind.__name__)
