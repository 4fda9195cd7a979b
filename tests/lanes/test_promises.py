"""A buffer that stores nothing holds nobody longer than `overflow_timeout`; what it stores after all is kept."""

import asyncio

import pytest
from support import Recorder, Slow, assert_conserved

from aiotrack import Client, Unknown, errors
from aiotrack.testing import until

LIMIT = 0.6  # seconds of the event loop's: a disk is slow by no other clock


async def hang(client, count=3):
    """Track events that are not stored in time."""
    user = client.create_user_context("u")
    tracking = [asyncio.create_task(user.track_event("k", {"n": n})) for n in range(count)]
    return await asyncio.wait_for(asyncio.gather(*tracking), 5)


@pytest.mark.parametrize("kept", [True, False])
async def test_callers_are_told_not_known_and_what_is_stored_after_all_is_delivered(kept, caplog):
    buffer = Slow()
    async with Client(Recorder(), buffer=buffer, overflow_timeout=LIMIT, flush_interval=3600) as client:
        results = await hang(client)
        assert not any(results)
        assert {result.refused["recorder"].reason for result in results} == {"not known"}
        assert await results[0].delivered() == Unknown()
        assert "recorder: its buffer has stored nothing for 0.6 s" in client.health().reasons[0]
        assert caplog.text.count("whether 3 events are stored is not known") == 1
        assert client.stats().refused == {}
        assert assert_conserved(client).total.accepted == 0
        if kept:
            buffer.write()
            await client.flush()
            total = assert_conserved(client).total
            assert (total.accepted, total.recovered, total.delivered) == (3, 3, 3)
            assert client.stats().refused == {}
        else:
            buffer.fail()
            assert assert_conserved(client).total.accepted == 0
            assert client.stats().refused == {"buffer error": 3}


async def test_who_does_not_wait_is_not_told_either():
    buffer = Slow()
    async with Client(Recorder(), buffer=buffer, overflow_timeout=LIMIT, flush_interval=3600) as client:
        result = client.create_user_context("u").track_event_nowait("k")
        assert await result.delivered() == Unknown()
        assert client.stats().refused == {}
        buffer.write()
        await client.flush()
        assert assert_conserved(client).total.recovered == 1


async def test_each_that_is_stored_gives_the_others_their_time():
    buffer = Slow()
    async with Client(Recorder(), buffer=buffer, overflow_timeout=LIMIT, flush_interval=3600) as client:
        user = client.create_user_context("u")
        tracking = []
        for _ in range(4):
            tracking.append(asyncio.create_task(user.track_event("k")))
            await until(lambda: buffer.writing)
            await asyncio.sleep(0.6 * LIMIT)
            buffer.write()
        assert all(await asyncio.gather(*tracking))
        assert assert_conserved(client).total.recovered == 0


async def test_strict_raises_it():
    buffer = Slow()
    async with Client(Recorder(), buffer=buffer, overflow_timeout=LIMIT, strict=True) as client:
        tracking = asyncio.create_task(client.create_user_context("u").track_event("k"))
        with pytest.raises(errors.EventRefused, match="not known"):
            await tracking
        buffer.write()
