"""Where this differs from PostHog's own SDK: for each row of the README's list a test whose docstring it is."""

import datetime
import math

import pytest
from posthog import AsyncPosthog

import aiotrack
from aiotrack.testing import Collector
from aiotrack_posthog import PostHog


async def both(properties, user_id="u", **official):
    """Capture with PostHog's SDK and track here; return what each sends of the event, None where it sends nothing."""
    async with Collector() as server:
        host = server.url.removesuffix("/events")
        sdk = AsyncPosthog("k", host=host, flush_at=1, **official)
        sdk.capture("purchase", distinct_id=user_id, properties=properties)
        await sdk.shutdown()
        theirs = [event for request in server.requests for event in request.json()["batch"]]
        server.requests.clear()
        async with aiotrack.Client(PostHog("k", host=host)) as client:
            await client.create_user_context(user_id).track_event("purchase", properties)
        ours = [event for request in server.requests for event in request.json()["batch"]]
    return next(iter(theirs), None), next(iter(ours), None)


async def test_who_sends():
    """`$lib` is `posthog-python`; `$python_version`, `$os` and the like are sent"""
    theirs, ours = await both({})
    own = {name for name in theirs["properties"] if name.startswith(("$python", "$os"))}
    assert own
    assert not own & ours["properties"].keys()
    assert (theirs["properties"]["$lib"], ours["properties"]["$lib"]) == ("posthog-python", "aiotrack")


async def test_servers():
    """`$is_server` is true, and can be switched off (`is_server=False`)"""
    theirs, ours = await both({"$is_server": False})
    assert theirs["properties"]["$is_server"] is ours["properties"]["$is_server"] is True
    theirs, _ = await both({}, is_server=False)
    assert "$is_server" not in theirs["properties"]


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), b"x", datetime.datetime(2024, 1, 1)])  # noqa: DTZ001
async def test_what_is_no_json(value):
    """NaN and objects become null, bytes text, and a naive datetime has no time zone"""
    theirs, ours = await both({"a": value})
    assert theirs["properties"]["a"] in (None, "x", "2024-01-01T00:00:00")
    assert ours is None


async def test_large_integers():
    """integers of any size"""
    theirs, ours = await both({"a": 2**70})
    assert theirs["properties"]["a"] == 2**70
    assert ours is None
