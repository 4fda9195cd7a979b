"""Results: what they say, and what of them is true."""

import copy
import math
import pickle

import pytest
from support import Recorder

import aiotrack
from aiotrack import Client, Delivered, Rejected, Unknown, errors


def test_only_delivered_is_truthy():
    assert Delivered()
    assert not Rejected("HTTP 400")
    assert not Unknown()


async def test_a_receipt_can_be_asked_for_in_an_if():
    async with Client(Recorder()) as client:
        result = await client.create_user_context("u").track_event("k")
        await client.flush()
        if not await result.delivered():
            pytest.fail("a delivered event is not delivered")


@pytest.mark.parametrize("timeout", [None, math.inf])
async def test_without_a_timeout_a_receipt_waits_until_the_client_is_closed(timeout):
    class Down(Recorder):
        async def send(self, batch):
            return aiotrack.Answer(error="down")

    client = Client(Down(), shutdown_timeout=0.05)
    await client.start()
    result = await client.create_user_context("u").track_event("k")
    waiting = client.spawn(result.delivered(timeout), name="waiting")
    await client.aclose()
    assert waiting.cancelled() or waiting.result() == Unknown()
    assert await result.delivered(timeout) == Unknown()


async def test_an_infinite_timeout_is_for_calls_and_not_for_options():
    async with Client(Recorder()) as client:
        await client.create_user_context("u").track_event("k")
        assert (await client.flush(math.inf)).delivered == 1
        await client.aclose(math.inf)
    with pytest.raises(errors.ConfigError, match="shutdown_timeout: expected seconds >= 0, got float inf"):
        Client(shutdown_timeout=math.inf)
    with pytest.raises(errors.ConfigError, match="timeout: expected seconds >= 0, got str 'soon'"):
        await Client().aclose("soon")


async def test_a_result_says_why_and_where_and_shows_nothing_of_its_inside():
    class Picky(Recorder):
        def encode(self, event):
            raise errors.EventRefused(aiotrack.Refusal("unknown event", "never heard of it"))

    async with Client(Recorder(), Picky(name="picky")) as client:
        user = client.create_user_context("u")
        result = await user.track_event("k", event_id="an-id")
        assert repr(result) == "<TrackResult 'k', an-id, accepted by recorder, refused by picky: unknown event>"
        result = await user.track_event("k", {"items": [{"price": b"1"}]}, event_id="an-id")
        assert repr(result).endswith("refused by picky: invalid tag at tags.items[0].price>")
        assert [name for name in dir(result) if not name.startswith("_")] == [
            *("accepted", "delivered", "event_id", "key", "refused")
        ]


async def test_strict_says_what_others_accepted():
    class Picky(Recorder):
        def encode(self, event):
            raise errors.EventRefused(aiotrack.Refusal("unknown event", "never heard of it"))

    recorder = Recorder()
    async with Client(recorder, Picky(name="picky"), strict=True) as client:
        with pytest.raises(errors.EventRefused) as caught:
            await client.create_user_context("u").track_event("k")
        result = caught.value.result
        assert result.accepted == ("recorder",)
        assert list(result.refused) == ["picky"]
        await client.flush()
        assert await result.delivered()
        with pytest.raises(errors.EventRefused) as caught:
            await client.create_user_context("u").track_event("")
        assert not caught.value.result
        assert set(caught.value.result.refused) == {"recorder", "picky"}
    assert len(recorder.events) == 1


async def test_what_belongs_to_a_client_is_copied_where_that_makes_sense_and_else_says_why_not():
    async with Client(Recorder()) as client:
        user = client.create_user_context("u", {"plan": "gold"})
        result = await user.track_event("k")
        assert copy.deepcopy({"result": [result]})["result"][0] is result is copy.copy(result)
        for twin in (copy.copy(user), copy.deepcopy([user])[0]):
            twin.set_attribute("plan", "silver")
            assert (user.attributes, twin.attributes) == ({"plan": "gold"}, {"plan": "silver"})
            assert await twin.track_event("k")
        for thing in (user, result, client):
            with pytest.raises(TypeError, match=r"can't be .*pickled"):
                pickle.dumps(thing)
        with pytest.raises(TypeError, match="can't be copied"):
            copy.copy(client)
        refused = await user.track_event("k", {"a": b""})
        (refusal,) = refused.refused.values()
        for value in (refusal, client.stats(), errors.EventRefused(refusal)):
            assert repr(pickle.loads(pickle.dumps(value))) == repr(value)  # noqa: S301 - our own
