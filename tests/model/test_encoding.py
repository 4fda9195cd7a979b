"""Encoding: whatever passes the checks becomes JSON that reads back the same; the rest is named by path."""

import datetime
import decimal
import enum
import json
import math
import uuid

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotrack.model.encoding import INT_MAX, INT_MIN, dumps, encode_event, find_problems, is_flat_json
from aiotrack.model.event import Event

scalars = (
    st.none()
    | st.booleans()
    | st.integers(INT_MIN, INT_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)
odd = st.sampled_from(
    [math.nan, math.inf, -math.inf, 2**64, -(2**63) - 1, 10**400, b"x", object(), {1}, decimal.Decimal(1), "\ud800"]
)


class Colour(enum.Enum):
    RED = 1


class Size(enum.IntEnum):
    BIG = 3


@given(st.dictionaries(texts, values))
def test_what_has_no_problems_reads_back_the_same(tags):
    assert find_problems(tags, "tags") == ()
    encoded = encode_event(Event("k", "u", {}, tags))
    assert orjson.loads(encoded)["tags"] == tags
    assert json.loads(encoded)["event"] == "k"


@given(st.dictionaries(texts, values, max_size=3), texts, odd, st.lists(st.integers(0, 2), max_size=3))
def test_one_odd_value_is_found_at_its_path(tags, key, value, nesting):
    path = f"tags.{key if key.isprintable() and len(key) <= 64 else repr(key[:64])}"
    for step in nesting:
        value = [None] * step + [value]
    path += "".join(f"[{step}]" for step in reversed(nesting))
    tags = {**tags, key: value}
    assert not is_flat_json({**tags, key: object()})
    problems = find_problems(tags, "tags")
    assert [problem.path for problem in problems] == [path]


@given(st.dictionaries(texts, scalars))
def test_the_glance_agrees_with_the_search_on_flat_values(tags):
    assert is_flat_json(tags)


@pytest.mark.parametrize(
    ("value", "expected", "got"),
    [
        (float("nan"), "a finite number", "nan"),
        (float("-inf"), "a finite number", "-inf"),
        (2**64, "an integer from -2**63 to 2**64-1", "a larger one"),
        (-(2**63) - 1, "an integer from -2**63 to 2**64-1", "a smaller one"),
        (b"x", "a JSON value (str, int, float, bool, None, list or dict)", "bytes"),
        (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), None, "datetime"),
        (uuid.uuid4(), None, "UUID"),
        (Colour.RED, None, "Colour"),
        ("\ud800", "text that UTF-8 can carry", "a lone surrogate"),
        ({("a", 1): 2}, "keys that are str", "a key of type tuple"),
    ],
)
def test_a_problem_says_what_was_expected_and_what_came(value, expected, got):
    (problem,) = find_problems({"tag": value}, "tags")
    assert problem.path == "tags.tag"
    assert problem.got == got
    assert expected is None or problem.expected == expected


def test_a_cycle_is_called_a_cycle_and_deep_nesting_is_told_from_it():
    cycle: dict = {}
    cycle["self"] = [cycle]
    (problem,) = find_problems(cycle, "tags")
    assert problem.path == "tags.self[0]"
    assert "cycle" in problem.got
    deep: list = []
    for _ in range(300):
        deep = [deep]
    (problem,) = find_problems(deep, "tags")
    assert "levels" in problem.expected
    shared = [1]
    assert find_problems({"a": shared, "b": shared}, "tags") == ()


def test_at_most_ten_problems_are_listed():
    assert len(find_problems([object()] * 1000, "tags")) == 10


def test_json_spells_keys_enums_and_subclasses():
    class Price(float):
        pass

    tags = {1: "b", None: "c", "size": Size.BIG, "price": Price(1.5), "pair": (1, 2)}
    assert find_problems(tags, "tags") == ()
    assert orjson.loads(dumps(tags)) == {"1": "b", "null": "c", "size": 3, "price": 1.5, "pair": [1, 2]}


def test_unset_context_is_left_out_and_reserved_values_stand_at_the_top():
    event = Event("k", "u", {"a": 1}, {"revenue": 5}, {"revenue": 5}, "id", 7, ip_address="::1", session_id=0)
    assert orjson.loads(encode_event(event)) == {
        "event_id": "id",
        "event": "k",
        "user_id": "u",
        "timestamp": 7,
        "attributes": {"a": 1},
        "tags": {"revenue": 5},
        "revenue": 5,
        "ip_address": "::1",
        "session_id": 0,
    }
