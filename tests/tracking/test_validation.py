"""Bad input: refused with path and reason, said once, counted, and no neighbour is touched."""

import logging
from collections.abc import Mapping
from types import MappingProxyType

import orjson
import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import errors


def cycle() -> dict:
    tags: dict = {"inner": {}}
    tags["inner"]["back"] = tags
    return tags


BAD = {
    "unknown type": (("k", {"a": object()}), "invalid tag", "tags.a"),
    "bytes": (("k", {"a": b"x"}), "invalid tag", "tags.a"),
    "NaN": (("k", {"a": float("nan")}), "invalid tag", "tags.a"),
    "infinity in a list": (("k", {"a": [1, {"b": float("inf")}]}), "invalid tag", "tags.a[1].b"),
    "65 bits": (("k", {"a": 2**64}), "invalid tag", "tags.a"),
    # the event has a copy of the outermost dict, so the cycle closes one step later
    "cycle": (("k", cycle()), "invalid tag", "tags.inner.back.inner"),
    "lone surrogate": (("k", {"a": "\ud800"}), "invalid tag", "tags.a"),
    "tag key of a type JSON can't spell": (("k", {(1, 2): 1}), "invalid tag", "tags"),
    "empty key": (("", {}), "invalid event", "key"),
    "key not a str": ((5, {}), "invalid event", "key"),
    "unhashable key": (([], {}), "invalid event", "key"),
    "key with a surrogate": (("\ud800", {}), "invalid event", "key"),
    "tags a list": (("k", [("a", 1)]), "invalid event", "tags"),
    "tags a str": (("k", "a=1"), "invalid event", "tags"),
    "falsy tags that are no mapping": (("k", ""), "invalid event", "tags"),
}


@pytest.mark.parametrize(("call", "reason", "path"), BAD.values(), ids=BAD)
async def test_a_bad_event_is_refused_with_its_path_and_its_neighbours_are_untouched(call, reason, path, caplog):
    recorder = Recorder()
    async with aiotrack.Client(recorder, batch_size=3) as client:
        user = client.create_user_context("u")
        before = await user.track_event("before", {"n": 1})
        results = [await user.track_event(*call) for _ in range(3)]
        after = await user.track_event("after", {"n": 2})
        await client.flush()
        assert before
        assert after
        for result in results:
            assert not result
            assert result.accepted == ()
            refusal = result.refused["recorder"]
            assert refusal.reason == reason
            assert refusal.path == path
            assert await result.delivered(1) == aiotrack.Rejected(reason)
        stats = assert_conserved(client)
        assert stats.refused == {reason: 3}
        assert stats.total.delivered == 2
    assert [orjson.loads(entry)["event"] for entry in recorder.events] == ["before", "after"]
    said = [record for record in caplog.records if "refused" in record.message]
    assert len(said) == 1
    assert path in said[0].message


@pytest.mark.parametrize(("call", "reason", "path"), BAD.values(), ids=BAD)
async def test_strict_raises_the_same_refusal(call, reason, path):
    async with aiotrack.Client(Recorder(), strict=True) as client:
        with pytest.raises(errors.EventRefused) as caught:
            await client.create_user_context("u").track_event(*call)
        assert (caught.value.refusal.reason, caught.value.refusal.path) == (reason, path)
        assert client.stats().refused == {reason: 1}
        assert await client.create_user_context("u").track_event("good")


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"user_id": 5.0}, "user_id"),
        ({"user_id": True}, "user_id"),
        ({"user_id": None}, "user_id"),
        ({"user_id": "u", "attributes": [1]}, "attributes"),
        ({"user_id": "u", "user_agent": 5}, "user_agent"),
        ({"user_id": "u", "ip_address": b"::1"}, "ip_address"),
        ({"user_id": "u", "session_id": 1.5}, "session_id"),
    ],
)
async def test_a_wrong_user_context_is_made_and_refuses_its_events(arguments, path):
    async with aiotrack.Client(Recorder()) as client:
        result = await client.create_user_context(**arguments).track_event("k")
        assert result.refused["recorder"].reason == "invalid event"
        assert result.refused["recorder"].path == path


@pytest.mark.parametrize("keywords", [{"event_id": ""}, {"event_id": 5}, {"timestamp": 1.5}, {"timestamp": True}])
async def test_a_wrong_id_or_timestamp_is_refused(keywords):
    async with aiotrack.Client(Recorder()) as client:
        result = await client.create_user_context("u").track_event("k", **keywords)
        assert result.refused["recorder"].path == next(iter(keywords))


async def test_an_attribute_that_json_cannot_carry_refuses_the_event_with_its_path():
    async with aiotrack.Client(Recorder()) as client:
        user = client.create_user_context("u", {"ok": 1})
        user.set_attribute("score", float("nan"))
        result = await user.track_event("k")
        assert result.refused["recorder"].path == "attributes.score"


async def test_nested_values_any_mapping_and_an_empty_user_id_pass():
    recorder = Recorder()
    async with aiotrack.Client(recorder) as client:
        tags: Mapping = MappingProxyType({"items": [{"sku": "a", "n": None}], "pair": (1, 2), 3: True})
        assert await client.create_user_context("").track_event("k", tags)
        assert await client.create_user_context("u").track_event("k", {})
        assert await client.create_user_context("u").track_event("k")
    assert orjson.loads(recorder.events[0])["tags"] == {"items": [{"sku": "a", "n": None}], "pair": [1, 2], "3": True}


async def test_neither_values_nor_user_ids_reach_the_log(caplog):
    caplog.set_level(logging.DEBUG)
    async with aiotrack.Client(Recorder()) as client:
        user = client.create_user_context("ann@example.org", {"plan": "gold-plan"})
        await user.track_event("k", {"card": "4242-4242", "bad": float("nan")})
        await user.track_event("k", {"revenue": "4242-4242"})
        await user.track_event("k", {"card": "4242-4242", "bad": "\ud800"})
    assert len(caplog.records) >= 3
    for secret in ("4242", "ann@", "gold"):
        assert secret not in caplog.text


async def test_odd_keys_from_outside_do_not_grow_memory():
    client = aiotrack.Client(Recorder())
    async with client:
        user = client.create_user_context("u")
        for number in range(3000):
            await user.track_event(f"odd {number}", {"bad": float("nan")})
        assert len(client._plugins._log._episodes) <= 1024
        assert client.stats().refused == {"invalid tag": 3000}


@pytest.mark.parametrize(
    ("raw", "promoted"),
    [
        ({"revenue": 4200}, {"revenue": 4200}),
        ({"revenue": 0}, {"revenue": 0}),
        ({"revenue": -5}, {"revenue": -5}),
        ({"revenue": 42.0}, {}),
        ({"revenue": "4200"}, {}),
        ({"revenue": True}, {}),
        ({"revenue": None}, {}),
        ({"value": 13}, {"value": 13.0}),
        ({"value": "13.37"}, {"value": 13.37}),
        ({"value": " 7 "}, {"value": 7.0}),
        ({"value": "1,234"}, {}),
        ({"value": "nan"}, {}),
        ({"value": True}, {}),
        ({"value": [1]}, {}),
        ({"Revenue": 5, "VALUE": 5}, {}),
        ({"revenue": 1, "value": 2, "other": 3}, {"revenue": 1, "value": 2.0}),
    ],
)
async def test_reserved_tags_are_promoted_when_valid_and_stay_in_the_tags(raw, promoted):
    recorder = Recorder()
    events = []
    async with aiotrack.Client(recorder) as client:
        client.on("aiotrack_event_tracked", events.append)
        assert await client.create_user_context("u").track_event("k", raw)
    assert events[0].reserved == promoted
    sent = orjson.loads(recorder.events[0])
    assert sent["tags"] == raw
    assert {key: sent[key] for key in ("revenue", "value") if key in sent} == promoted


async def test_a_reserved_tag_that_is_not_promoted_is_said_once_per_key(caplog):
    async with aiotrack.Client(Recorder()) as client:
        user = client.create_user_context("u")
        for _ in range(3):
            await user.track_event("purchase", {"revenue": 42.5})
    (record,) = [record for record in caplog.records if "revenue" in record.message]
    assert "expected an integer in minor units" in record.message
    assert "got float" in record.message
    assert "42.5" not in record.message
