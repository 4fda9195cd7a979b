"""The neutral form: what comes out is the event that went in."""

from hypothesis import given
from hypothesis import strategies as st

from aiotrack import NO_TAGS, Event
from aiotrack.model.neutral import decode_neutral, encode_neutral

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars | texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
events = st.builds(
    Event,
    st.sampled_from(["purchase", "view"]),
    texts.filter(bool),
    attributes=st.dictionaries(texts, values, max_size=4),
    tags=st.just(NO_TAGS) | st.dictionaries(texts, values, max_size=4),
    reserved=st.dictionaries(st.sampled_from(["revenue", "value"]), st.integers(0, 2**53), max_size=2),
    event_id=st.uuids().map(str),
    timestamp=st.integers(0, 2**53),
    user_agent=st.none() | texts,
    ip_address=st.none() | texts,
    session_id=st.none() | st.integers(0, 2**53) | texts,
)


@given(events, st.booleans())
def test_what_comes_out_is_what_went_in(event, told):
    again, said = decode_neutral(encode_neutral(event, told=told))
    assert again == event
    assert (again.tags is NO_TAGS, said) == (event.tags is NO_TAGS, told)


def test_attributes_that_json_can_not_carry_are_left_out():
    event = Event("k", "u", attributes={"bad": object(), "text": "\ud800", 1: "one", "good": [1.5]}, tags={2: "two"})
    again, _ = decode_neutral(encode_neutral(event, told=False))
    assert again.attributes == {"1": "one", "good": [1.5]}
    assert again.tags == {"2": "two"}
