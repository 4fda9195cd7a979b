"""What Python programs hold, as JSON values: converted once, or refused with the path."""

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import io
import types
import typing
import uuid
from fractions import Fraction
from pathlib import Path

import attrs
import numpy as np
import orjson
import pandas as pd
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import Recorder

import aiotrack
from aiotrack import errors
from aiotrack.model.encoding import INT_MAX, INT_MIN
from aiotrack.model.values import JSONValues, timestamp_of, user_id_of

UTC = datetime.UTC
AWARE = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


class Colour(enum.Enum):
    RED = "red"
    BOTH = (1, "two")


class Size(enum.IntEnum):
    BIG = 3


class Level(enum.StrEnum):
    HIGH = "high"


@dataclasses.dataclass
class Item:
    sku: str
    price: decimal.Decimal


@attrs.frozen
class Box:
    items: tuple
    colour: Colour = Colour.RED


class Model(pydantic.BaseModel):
    a: int = 1
    when: datetime.datetime = AWARE


class Text(str):
    __slots__ = ()


class Mine:
    pass


class Point(typing.NamedTuple):
    x: int
    y: int


SENT = [
    (AWARE, "2024-01-02T03:04:05+00:00"),
    (datetime.date(2024, 1, 2), "2024-01-02"),
    (datetime.time(3, 4), "03:04:00"),
    (decimal.Decimal(42), 42),
    (decimal.Decimal("42.00"), 42),
    (decimal.Decimal("42.10"), 42.1),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Colour.RED, "red"),
    (Colour.BOTH, [1, "two"]),
    (Size.BIG, 3),
    (Level.HIGH, "high"),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"b", "a"}), ["a", "b"]),
    ({1, "a"}, ["a", 1]),
    ((1, (2,)), [1, [2]]),
    (Point(1, 2), [1, 2]),
    (collections.deque([1, 2]), [1, 2]),
    (collections.OrderedDict(a=1), {"a": 1}),
    (types.MappingProxyType({"a": AWARE}), {"a": "2024-01-02T03:04:05+00:00"}),
    (Item("s", decimal.Decimal("1.5")), {"sku": "s", "price": 1.5}),
    (Box((Item("s", decimal.Decimal(1)),)), {"items": [{"sku": "s", "price": 1}], "colour": "red"}),
    (Model(), {"a": 1, "when": "2024-01-02T03:04:05Z"}),
    (Text("x"), "x"),
    (np.int64(5), 5),
    (np.uint8(5), 5),
    (np.float32(1.5), 1.5),
    (np.float64(1.5), 1.5),
    (np.bool_(True), True),
    (np.str_("x"), "x"),
    (pd.Timestamp("2024-01-02", tz="UTC"), "2024-01-02T00:00:00+00:00"),
    ({2: 2, None: 3, True: 4, 1.5: 5}, {"2": 2, "null": 3, "true": 4, "1.5": 5}),
    ({float("nan"): 1, float("inf"): 2, -float("inf"): 3}, {"NaN": 1, "Infinity": 2, "-Infinity": 3}),
    ({Level.HIGH: 1}, {"high": 1}),
    (-0.0, -0.0),
    (2**64 - 1, 2**64 - 1),
]
ANY = "a JSON value, or what stands for one"
REFUSED = [
    (
        AWARE.replace(tzinfo=None),
        "an aware datetime, such as datetime.now(UTC)",
        "a naive one, of an unknown time zone",
    ),
    (pd.NaT, "an aware datetime, such as datetime.now(UTC)", "NaT"),
    (datetime.timedelta(1), ANY, "datetime.timedelta"),
    (Fraction(1, 3), ANY, "fractions.Fraction"),
    (decimal.Decimal("NaN"), "a finite number", "NaN"),
    (float("nan"), "a finite number", "nan"),
    (np.float64("inf"), "a finite number", "inf"),
    (2**64, "an integer from -2**63 to 2**64-1", "a larger one"),
    (-(2**63) - 1, "an integer from -2**63 to 2**64-1", "a smaller one"),
    (decimal.Decimal(10**30), "an integer from -2**63 to 2**64-1", "a larger one"),
    (b"x", ANY, "bytes"),
    (bytearray(b"x"), ANY, "bytearray"),
    (memoryview(b"x"), ANY, "memoryview"),
    (array.array("i", [1]), ANY, "array.array"),
    (np.array([1]), ANY, "numpy.ndarray"),
    (np.array(1), ANY, "numpy.ndarray"),
    (np.datetime64("2024-01-01"), ANY, "numpy.datetime64"),
    (np.datetime64("2024-01-01T00:00:00.000000000"), ANY, "numpy.datetime64"),
    (np.longdouble(1), ANY, "numpy.longdouble"),
    (1j, ANY, "complex"),
    (pd.NA, ANY, f"{type(pd.NA).__module__}.NAType"),
    (pd.Series([1]), ANY, "pandas.Series"),
    (io.BytesIO(), ANY, "BytesIO"),
    (Path("/x"), ANY, "pathlib.PosixPath"),
    (object(), ANY, "object"),
    (Item, ANY, "type"),
    ((item for item in "ab"), ANY, "generator"),
    ("\ud800", "text that UTF-8 can carry", "a lone surrogate"),
    ({(1, 2): 3}, "keys that are str", "a key of type tuple"),
    ({"\ud800": 3}, "keys that UTF-8 can carry", "a lone surrogate"),
]


@pytest.mark.parametrize(("value", "sent"), SENT, ids=lambda value: type(value).__name__)
def test_what_stands_for_a_json_value_becomes_one(value, sent):
    converted, problems = JSONValues().convert({"a": value, "b": [{"c": value}]}, "tags")
    assert problems == ()
    assert converted == {"a": sent, "b": [{"c": sent}]}
    assert (
        orjson.loads(orjson.dumps(converted, option=orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS))
        == converted
    )


@pytest.mark.parametrize(("value", "expected", "got"), REFUSED, ids=lambda value: type(value).__name__)
def test_what_does_not_is_refused_with_its_path(value, expected, got):
    converted, problems = JSONValues().convert({"good": 1, "a": [0, value]}, "tags")
    assert [(problem.path, problem.expected, problem.got) for problem in problems] == [("tags.a[1]", expected, got)]
    assert converted["good"] == 1


def test_what_contains_itself_or_is_too_deep_is_refused():
    cycle = {}
    cycle["a"] = [cycle]
    _, (problem,) = JSONValues().convert(cycle, "tags")
    assert problem.got == "a cycle: it contains itself"
    deep = {}
    for _ in range(300):
        deep = {"a": deep}
    _, (problem,) = JSONValues().convert(deep, "tags")
    assert problem.expected == "at most 200 levels of nesting"
    _, problems = JSONValues().convert({str(number): b"" for number in range(1000)}, "tags")
    assert len(problems) == 10


class Hostile:
    def __eq__(self, other):
        raise RuntimeError("eq")

    def __bool__(self):
        raise RuntimeError("bool")

    __hash__ = None

    @property
    def __class__(self):
        raise RuntimeError("class")


class HostileText(str):
    def __str__(self):
        raise RuntimeError("str")

    __bool__ = __len__ = isprintable = encode = __str__


class HostileDict(dict):
    def items(self):
        raise RuntimeError("items")

    __iter__ = __len__ = __getitem__ = keys = items


@pytest.mark.parametrize("hostile", ["object", "text", "dict", "key"])
@pytest.mark.parametrize(
    "place", ["tags", "attributes", "a tag", "an attribute", "key", "user_id", "event_id", "timestamp", "session_id"]
)
async def test_nothing_that_a_caller_hands_in_raises(hostile, place):
    value = {
        "object": Hostile,
        "text": lambda: HostileText("x"),
        "dict": lambda: HostileDict(a=1),
        "key": lambda: {HostileText("x"): 1, Colour.RED: [Hostile()]},
    }[hostile]()
    async with aiotrack.Client(Recorder()) as client:
        attributes = value if place == "attributes" else {"a": value} if place == "an attribute" else None
        user = client.create_user_context(
            value if place == "user_id" else "u", attributes, session_id=value if place == "session_id" else None
        )
        tags = value if place == "tags" else {"a": value} if place == "a tag" else None
        await user.track_event(
            value if place == "key" else "k",
            tags,
            event_id=value if place == "event_id" else None,
            timestamp=value if place == "timestamp" else None,
        )
        assert await client.create_user_context("u").track_event("neighbour")


@pytest.mark.parametrize(
    "value",
    [np.array([1, 2]), np.array([]), pd.Series({"a": 1}), pd.DataFrame({"a": [1, 2]})],
    ids=lambda value: str(type(value)),
)
async def test_arrays_and_rows_are_refused_wherever_they_are(value):
    async with aiotrack.Client(Recorder()) as client:
        user = client.create_user_context("u")
        for result in (
            await user.track_event("k", value),
            await user.track_event("k", {"a": value}),
            await user.track_event(value),
            await user.track_event("k", event_id=value),
            await user.track_event("k", timestamp=value),
            await client.create_user_context("u", value).track_event("k"),
            await client.create_user_context(value).track_event("k"),
            await client.create_user_context("u", session_id=value).track_event("k"),
            await client.create_user_context("u", {"a": value}).track_event("k"),
        ):
            assert not result
            assert result.refused["recorder"].path


async def test_plugins_and_destinations_see_json_values():
    seen = []

    class Sets:
        @aiotrack.hookimpl
        def aiotrack_process_event(self, event):
            seen.append((event.tags, event.attributes))
            return attrs.evolve(
                event, tags={**event.tags, "at": AWARE}, attributes={**event.attributes, "id": uuid.UUID(int=2)}
            )

    recorder = Recorder()
    async with aiotrack.Client(recorder, Sets()) as client:
        user = client.create_user_context(uuid.UUID(int=1), {"plan": Colour.RED, "n": np.int64(5)})
        user.set_attribute("since", datetime.date(2024, 1, 2))
        assert await user.track_event("k", {"revenue": decimal.Decimal(4200), "value": np.float32(1.5), "items": {1}})
    assert seen == [({"revenue": 4200, "value": 1.5, "items": [1]}, {"plan": "red", "n": 5, "since": "2024-01-02"})]
    event = orjson.loads(recorder.events[0])
    assert (event["user_id"], event["revenue"], event["value"]) == (str(uuid.UUID(int=1)), 4200, 1.5)
    assert event["tags"]["at"] == "2024-01-02T03:04:05+00:00"
    assert event["attributes"]["id"] == str(uuid.UUID(int=2))


async def test_types_of_ones_own_are_converted_by_the_default():
    def default(value):
        if isinstance(value, Mine):
            return {"mine": decimal.Decimal(1)}
        if isinstance(value, Path):
            return value  # never ends
        raise TypeError

    recorder = Recorder()
    async with aiotrack.Client(recorder, json_default=default) as client:
        user = client.create_user_context("u", {"a": Mine()})
        assert await user.track_event("k", {"a": [Mine()]})
        result = await user.track_event("k", {"a": Path("/x"), "b": object()})
        assert [problem.path for problem in result.refused["recorder"].problems] == ["tags.a", "tags.b"]
    event = orjson.loads(recorder.events[0])
    assert (event["tags"], event["attributes"]) == ({"a": [{"mine": 1}]}, {"a": {"mine": 1}})


@pytest.mark.parametrize(
    ("given_", "text"),
    [(5, "5"), (uuid.UUID(int=1), str(uuid.UUID(int=1))), (np.int64(5), "5"), (Level.HIGH, "high"), (Text("t"), "t")],
)
async def test_a_user_id_may_be_an_integer_or_a_uuid(given_, text):
    recorder = Recorder()
    async with aiotrack.Client(recorder) as client:
        assert await client.create_user_context(given_).track_event("k")
    assert orjson.loads(recorder.events[0])["user_id"] == text
    for other in (True, 5.0, None, b"u", np.bool_(True)):
        assert user_id_of(other) is other


async def test_a_timestamp_may_be_an_aware_datetime_and_not_seconds():
    assert timestamp_of(datetime.datetime(1970, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))) == 0
    recorder = Recorder()
    async with aiotrack.Client(recorder) as client:
        user = client.create_user_context("u")
        assert await user.track_event("k", timestamp=AWARE)
        assert await user.track_event("k", timestamp=np.int64(1704164645000))
        for timestamp, got in (
            (AWARE.replace(tzinfo=None), "a naive datetime"),
            (1704164645, "seconds, by its size: multiply it by 1000"),
            (1704164645.5, "float"),
            (True, "bool"),
        ):
            result = await user.track_event("k", timestamp=timestamp)
            (problem,) = result.refused["recorder"].problems
            assert (problem.path, problem.got) == ("timestamp", got)
    assert [orjson.loads(event)["timestamp"] for event in recorder.events] == [1704164645000, 1704164645000]


@pytest.mark.parametrize(
    "tags", [{"revenue": "42.00"}, {"revenue": 42.5}, {"revenue": True}, {"value": "much"}, {"value": None}]
)
async def test_in_strict_a_reserved_tag_that_has_no_value_raises(tags):
    async with aiotrack.Client(Recorder(), strict=True) as client:
        with pytest.raises(errors.EventRefused) as caught:
            await client.create_user_context("u").track_event("k", tags)
        assert caught.value.refusal.path == f"tags.{next(iter(tags))}"
    async with aiotrack.Client(Recorder()) as client:
        assert await client.create_user_context("u").track_event("k", tags)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(INT_MIN, INT_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), json_values))
def test_json_values_stay_as_they_are(tags):
    assert JSONValues().convert(tags, "tags") == (tags, ())


@pytest.mark.parametrize(
    "bad", [b"x", {(1, 2): 3}, {"a": {"\ud800": 1}}, object()], ids=["bytes", "tuple", "surrogate", "object"]
)
async def test_an_attribute_that_can_not_be_sent_is_never_left_out_without_a_word(bad):
    async with aiotrack.Client(Recorder()) as client:
        result = await client.create_user_context("u", {"good": 1, "bad": bad}).track_event("k")
        assert result.refused["recorder"].reason == "invalid event"
        assert result.refused["recorder"].path.startswith("attributes.bad")
