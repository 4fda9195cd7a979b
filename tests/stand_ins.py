"""Python's values among generated input: what aiotrack is given, and the JSON that the other side is given for it."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import uuid
from decimal import Decimal
from typing import Any

import attrs
import numpy
import pandas
import pydantic
from hypothesis import strategies as st

__all__ = ["as_json", "as_python", "stand_ins"]


class _Colour(enum.Enum):
    RED = "red"


class _Size(enum.IntEnum):
    LARGE = 3


@dataclasses.dataclass
class _Item:
    sku: str
    price: Decimal


@attrs.frozen
class _Box:
    size: int


class _Model(pydantic.BaseModel):
    a: int = 1


@attrs.frozen
class StandIn:
    """A value, and the JSON value that it stands for."""

    python: Any
    json: Any


_MOMENT = datetime.datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))

stand_ins = st.sampled_from(
    [
        StandIn(Decimal("42.00"), 42),
        StandIn(Decimal("-0.5"), -0.5),
        StandIn(uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        StandIn(_MOMENT, "2024-01-02T03:04:05.678901+02:00"),
        StandIn(datetime.date(2024, 1, 2), "2024-01-02"),
        StandIn(_Colour.RED, "red"),
        StandIn(_Size.LARGE, 3),
        StandIn((1, ("a", None)), [1, ["a", None]]),
        StandIn({3, 1, 2}, [1, 2, 3]),
        StandIn(frozenset("b"), ["b"]),
        StandIn(_Item("s", Decimal("9.5")), {"sku": "s", "price": 9.5}),
        StandIn(_Box(5), {"size": 5}),
        StandIn(_Model(), {"a": 1}),
        StandIn(numpy.int64(5), 5),
        StandIn(numpy.float64(1.25), 1.25),
        StandIn(numpy.bool_(True), True),
        StandIn(numpy.str_("text"), "text"),
        StandIn(pandas.Timestamp("2024-01-02", tz="UTC"), "2024-01-02T00:00:00+00:00"),
    ]
)


def as_python(value: Any) -> Any:
    """Return generated input as aiotrack is given it."""
    return _replaced(value, "python")


def as_json(value: Any) -> Any:
    """Return the same input as JSON has it."""
    return _replaced(value, "json")


def _replaced(value: Any, side: str) -> Any:
    if isinstance(value, StandIn):
        return getattr(value, side)
    if type(value) is list:
        return [_replaced(item, side) for item in value]
    if type(value) is dict:
        return {key: _replaced(item, side) for key, item in value.items()}
    return value
