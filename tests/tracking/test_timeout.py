"""`timeout=`: how long one caller may be held, whatever it waits for; the result is true, and all is counted once."""

import asyncio
import math
from decimal import Decimal

import pytest
from support import Recorder, Slow, assert_conserved

import aiotrack
from aiotrack import Client, MemoryBuffer, Unknown, errors, hookimpl
from aiotrack.testing import until

HERE = 0.02  # seconds of a caller's that are up while the test waits


class Heard:
    def __init__(self):
        self.tracked, self.refused = [], []

    @hookimpl
    def aiotrack_event_tracked(self, event):
        self.tracked.append(event.key)

    @hookimpl
    def aiotrack_event_refused(self, event, refusal):
        self.refused.append((event.key, str(refusal.reason)))


async def test_an_event_that_is_still_written_is_not_known_and_told_of_when_it_is_stored():
    buffer, heard, recorder = Slow(), Heard(), Recorder()
    async with Client(recorder, heard, buffer=buffer) as client:
        result = await client.create_user_context("u").track_event("k", timeout=HERE)
        assert not result
        assert {name: refusal.reason for name, refusal in result.refused.items()} == {"recorder": "not known"}
        assert await result.delivered() == Unknown()
        assert (heard.tracked, heard.refused, client.stats().refused) == ([], [], {})
        buffer.write()
        await asyncio.sleep(0)
        assert heard.tracked == ["k"]
        assert (await client.flush()).delivered == 1
        assert_conserved(client)


async def test_one_that_could_not_be_written_after_all_is_counted_as_refused_and_not_told_of():
    buffer, heard = Slow(), Heard()
    async with Client(Recorder(), heard, buffer=buffer) as client:
        assert not await client.create_user_context("u").track_event("k", timeout=HERE)
        buffer.fail()
        await asyncio.sleep(0)
        assert heard.tracked == []
        assert client.stats().refused == {"buffer error": 1}
        assert assert_conserved(client).total.accepted == 0


async def test_one_that_is_written_in_time_is_accepted():
    buffer, heard = Slow(), Heard()
    async with Client(Recorder(), heard, buffer=buffer) as client:
        tracking = asyncio.create_task(client.create_user_context("u").track_event("k", timeout=30))
        await until(lambda: buffer.writing)
        buffer.write()
        assert await tracking
        assert heard.tracked == ["k"]
        assert (await client.flush()).delivered == 1


class Gate(Recorder):
    def __init__(self, **options):
        super().__init__(**options)
        self.open = asyncio.Event()

    async def send(self, batch):
        await self.open.wait()
        return await super().send(batch)


async def full(gate, *others, **options):
    client = Client(gate, *others, buffer=MemoryBuffer(400), batch_size=1, **options)
    await client.start()
    user = client.create_user_context("u")
    await until(lambda: user.track_event_nowait("k").refused)
    return client, user


async def test_an_event_for_which_there_was_no_room_in_time_is_refused_and_takes_none_later():
    gate, heard = Gate(), Heard()
    client, user = await full(gate, heard)
    before = client.stats().total.accepted
    heard.tracked.clear()
    heard.refused.clear()
    result = await user.track_event("late", timeout=HERE)
    assert not result
    refusal = result.refused["recorder"]
    assert (refusal.reason, refusal.destination) == ("buffer full", "recorder")
    assert refusal.message == "there was no room for it within 0.02 s (timeout)"
    assert heard.refused == [("late", "buffer full")]
    gate.open.set()
    await client.aclose()
    assert heard.tracked == []
    assert assert_conserved(client).total.accepted == before


async def test_each_destination_ends_by_itself():
    gate, other, heard = Gate(name="slow"), Recorder(name="other"), Heard()
    client, user = await full(gate, other, heard)
    heard.tracked.clear()
    result = await user.track_event("late", timeout=HERE)
    assert result.accepted == ("other",)
    assert result.refused["slow"].reason == "buffer full"
    assert heard.tracked == ["late"]
    gate.open.set()
    await client.aclose()
    assert_conserved(client)


async def test_a_plugin_that_awaits_goes_on_without_the_caller():
    heard, answered = Heard(), asyncio.Event()

    class Lookup:
        @hookimpl
        async def aiotrack_enrich_event(self, event):
            await answered.wait()
            return aiotrack.Event(event.key, event.user_id, tags={"found": True}, event_id=event.event_id)

    recorder = Recorder()
    async with Client(recorder, heard, Lookup()) as client:
        user = client.create_user_context("u")
        result = await user.track_event("k", timeout=HERE)
        assert result.refused["recorder"].reason == "not known"
        assert heard.tracked == []
        answered.set()
        await until(lambda: heard.tracked == ["k"])
        assert await user.track_event("k", timeout=HERE)
        await client.flush()
        assert b'"found":true' in recorder.events[0]
        assert result.event_id.encode() in recorder.events[0]


async def test_a_cancelled_caller_takes_the_plugin_along():
    ends = []

    class Lookup:
        @hookimpl
        async def aiotrack_enrich_event(self, event):
            try:
                await asyncio.Event().wait()
            finally:
                ends.append(event.key)

    async with Client(Recorder(), Lookup()) as client:
        tracking = asyncio.create_task(client.create_user_context("u").track_event("k", timeout=30))
        await asyncio.sleep(HERE)
        tracking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await tracking
        await until(lambda: ends == ["k"])
        assert client.stats().total.accepted == 0


async def test_a_cancelled_caller_s_event_is_told_of_when_another_lane_has_stored_it():
    first, second, heard = Slow(), Slow(), Heard()

    class Two:
        def for_lane(self, name):
            return first if name == "a" else second

    async with Client(Recorder(name="a"), Recorder(name="b"), heard, buffer=Two()) as client:
        tracking = asyncio.create_task(client.create_user_context("u").track_event("k"))
        await until(lambda: second.writing)
        tracking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await tracking
        first.write()
        second.write()
        await asyncio.sleep(0)
        assert heard.tracked == ["k"]
        assert (await client.flush()).delivered == 2


async def test_strict_raises_what_the_result_would_say():
    buffer = Slow()
    async with Client(Recorder(), buffer=buffer, strict=True) as client:
        with pytest.raises(errors.EventRefused, match="not known") as caught:
            await client.create_user_context("u").track_event("k", timeout=HERE)
        assert caught.value.result.refused["recorder"].reason == "not known"
        buffer.write()


async def test_strict_waits_no_longer_for_a_datafile():
    class Unready(Recorder):
        needs_catalog = True
        ready_timeout = 60.0

    async with Client(Unready(), strict=True, shutdown_timeout=0.1) as client:
        with pytest.raises(errors.EventRefused, match="not ready"):
            await client.create_user_context("u").track_event("k", timeout=HERE)


@pytest.mark.parametrize("timeout", ["5", True, -1, math.nan, Decimal(1), [1], 10**400, object()])
async def test_one_that_is_no_number_of_seconds_refuses_the_event(timeout):
    async with Client(Recorder()) as client:
        result = await client.create_user_context("u").track_event("k", timeout=timeout)
        assert result.refused["recorder"].path == "timeout"
        assert "expected seconds, 0 or more, got" in result.refused["recorder"].message


@pytest.mark.parametrize("timeout", [0, 0.05, 1, math.inf])
async def test_where_nothing_waits_none_is_too_short(timeout):
    async with Client(Recorder()) as client:
        user = client.create_user_context("u")
        assert all([await user.track_event("k", timeout=timeout) for _ in range(200)])


async def test_a_close_refuses_what_a_plugin_still_enriches_and_raises_nothing_into_its_caller():
    class Lookup:
        @hookimpl
        async def aiotrack_enrich_event(self, event):
            await asyncio.Event().wait()

    client = Client(Recorder(), Lookup(), shutdown_timeout=0.2)
    await client.start()
    user = client.create_user_context("u")
    tracking = asyncio.create_task(user.track_event("k", timeout=30))
    await asyncio.sleep(HERE)
    await client.aclose()
    assert (await tracking).refused["recorder"].reason == "client closing"
    assert (await user.track_event("k", timeout=30)).refused["recorder"].reason == "client closing"
