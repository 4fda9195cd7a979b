"""Events and the values around them."""

import copy
import os
import pickle
import time
import uuid

import attrs
import pytest

from aiotrack.model.event import NO_TAGS, Event, new_event_id
from aiotrack.model.refusal import Problem, Refusal
from aiotrack.model.values import JSONValues


def test_an_event_id_is_a_version_4_uuid_and_never_repeats():
    ids = [new_event_id() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    for text in ids[:200]:
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert parsed.version == 4
        assert parsed.variant == uuid.RFC_4122


def test_a_forked_child_hands_out_ids_of_its_own():
    new_event_id()  # the pool is filled
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, "\n".join(new_event_id() for _ in range(100)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        of_child = set(pipe.read().decode().split())
    assert len(of_child) == 100
    assert of_child.isdisjoint(new_event_id() for _ in range(100))


def test_an_events_repr_has_no_payload_and_no_user():
    event = Event("purchase", "ann@example.org", {"plan": "gold"}, {"card": "4242"})
    assert "4242" not in repr(event)
    assert "ann" not in repr(event)
    assert "gold" not in repr(event)


def test_an_event_is_of_now_unless_it_says_otherwise():
    before = time.time() * 1000 - 1
    assert before <= Event("k", "u").timestamp <= time.time() * 1000 + 1
    assert Event("k", "u", timestamp=0).timestamp == 0


def test_what_an_event_does_not_have_is_empty_and_stays_empty():
    event = Event("k", "u")
    for mapping in (event.attributes, event.tags, event.reserved):
        assert mapping == {}
        with pytest.raises(TypeError, match="an event can't be changed"):
            mapping["a"] = 1
    assert attrs.evolve(event, tags={"a": 1}).tags == {"a": 1}


def test_no_tags_equals_an_empty_dict_and_stays_empty():
    assert NO_TAGS == {}
    with pytest.raises(TypeError, match="evolve"):
        NO_TAGS["a"] = 1
    with pytest.raises(TypeError, match="evolve"):
        NO_TAGS.update(a=1)


def test_a_refusal_reads_as_a_sentence_with_the_path():
    refusal = Refusal("invalid tag", "tags.a: expected x, got y", (Problem("tags.a", "x", "y"),))
    assert str(refusal) == "invalid tag: tags.a: expected x, got y"
    assert refusal.path == "tags.a"


def test_shared_attributes_stay_as_they_are_and_copy_to_plain_dicts():
    shared = JSONValues().frozen({"plan": "gold", "nested": [1]})
    for change in ("pop", "popitem", "clear", "update", "setdefault", "__setitem__", "__delitem__", "__ior__"):
        with pytest.raises(TypeError, match="evolve"):
            getattr(shared, change)("plan", 1)
    for plain in (copy.copy(shared), copy.deepcopy(shared), pickle.loads(pickle.dumps(shared)), shared.copy()):  # noqa: S301
        assert type(plain) is dict
        assert plain == shared


CHANGES = {
    "key": "other",
    "user_id": "v",
    "attributes": {"b": 2},
    "tags": {"u": 2},
    "reserved": {"value": 1.0},
    "event_id": "e",
    "timestamp": 5,
    "user_agent": "agent",
    "ip_address": "203.0.113.7",
    "session_id": 7,
}


@pytest.mark.parametrize("names", [[name] for name in CHANGES] + [list(CHANGES), []], ids=str)
def test_replace_does_what_evolve_does(names):
    event = Event("k", "u", {"a": 1}, {"t": 1}, {"revenue": 1}, user_agent="x", ip_address="y", session_id="z")
    before = attrs.asdict(event)
    changes = {name: CHANGES[name] for name in names}
    replaced = event.replace(**changes)
    assert replaced == attrs.evolve(event, **changes)
    assert replaced is not event
    assert type(replaced) is Event
    assert attrs.asdict(event) == before
    assert CHANGES.keys() == {field.name for field in attrs.fields(Event)}


def test_replace_names_what_is_no_field():
    event = Event("k", "u")
    with pytest.raises(TypeError, match="an event has no field 'tgas'; did you mean 'tags'"):
        event.replace(tgas={})
    with pytest.raises(TypeError, match="an event has no field 'revenue'"):
        event.replace(revenue=5)
