"""Tracking while the client closes, and afterwards: one thing, a counted and falsy refusal; and loops that are gone."""

import asyncio
import itertools

import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import Client, errors
from aiotrack.buffers.memory import MemoryLaneBuffer
from aiotrack.testing import until


async def test_a_task_that_tracks_on_sees_no_exception_while_and_after_the_client_closes():
    client = Client(Recorder(), flush_interval=0.01)
    await client.start()
    user, outcomes = client.create_user_context("u"), []

    async def track_on():
        while outcomes.count("client closing") < 50:
            result = await user.track_event("k")
            outcomes.append("accepted" if result else str(result.refused["recorder"].reason))
            await asyncio.sleep(0)

    tracking = asyncio.create_task(track_on())
    await until(lambda: len(outcomes) >= 20)
    await client.aclose()
    await tracking
    assert [outcome for outcome, _ in itertools.groupby(outcomes)] == ["accepted", "client closing"]
    assert not user.track_event_nowait("k")
    assert not await asyncio.wrap_future(user.track_event_threadsafe("k"))
    assert not await client.track_event("k", {"id": "u"})
    stats = assert_conserved(client)
    assert stats.refused == {"client closing": 53}
    assert stats.total.delivered == outcomes.count("accepted")


async def test_listeners_hear_of_what_came_too_late_and_it_is_logged_once(caplog):
    heard = []
    async with Client(Recorder()) as client:
        client.on("aiotrack_event_refused", lambda event, refusal: heard.append((event.key, str(refusal.reason))))
        user = client.create_user_context("u")
    for _ in range(3):
        await user.track_event("late", {"n": 1})
    assert heard == [("late", "client closing")] * 3
    assert [record.message for record in caplog.records] == [
        "event 'late' refused: client closing: the client takes no more events"
    ]


async def test_strict_raises_what_came_too_late():
    async with Client(Recorder(), strict=True) as client:
        user = client.create_user_context("u")
    with pytest.raises(errors.EventRefused, match="client closing"):
        await user.track_event("late")


async def test_a_client_that_was_closed_before_it_started_refuses_too():
    client = Client(Recorder())
    await client.aclose()
    result = await client.create_user_context("u").track_event("k")
    assert not result
    assert result.refused["client"].reason == "client closing"


async def test_plugins_may_track_while_they_shut_down():
    recorder = Recorder()

    class LastWords:
        @aiotrack.hookimpl
        async def aiotrack_shutdown(self, client):
            assert await client.create_user_context("u").track_event("last words")

    async with Client(recorder, LastWords()):
        pass
    assert b"last words" in b"".join(recorder.events)


@pytest.mark.aiotrack(leaks=True)
def test_a_client_whose_loop_is_gone_says_so_at_every_call():
    client = Client(Recorder())
    asyncio.run(client.start())
    user = client.create_user_context("u")

    async def later():
        for call in (client.start, client.flush, client.aclose, client.dead_letters, lambda: user.track_event("k")):
            with pytest.raises(errors.WrongLoop, match="the event loop that the client was started on is closed"):
                await call()
        with pytest.raises(errors.WrongLoop, match="is closed; make a new client"):
            user.track_event_nowait("k")
        with pytest.raises(errors.WrongLoop, match="is closed; make a new client"):
            user.track_event_threadsafe("k")

    asyncio.run(later())
    client._lifecycle.abandon()  # or its end would be a warning


async def test_a_close_that_is_cancelled_goes_on_where_it_was():
    class Shuts:
        calls = 0

        @aiotrack.hookimpl
        async def aiotrack_shutdown(self, client):
            Shuts.calls += 1

    class Hangs(Recorder):
        async def send(self, batch):
            await asyncio.sleep(3600)

    client = Client(Hangs(), Shuts(), flush_interval=0.001)
    await client.start()
    user = client.create_user_context("u")
    assert await user.track_event("k")
    closing = asyncio.create_task(client.aclose(timeout=0.5))
    await until(lambda: "closing" in repr(client))
    for task in asyncio.all_tasks():
        if task.get_name() == "aiotrack close":
            task.cancel()
    while not closing.done():
        assert not user.track_event_nowait("late")
        await asyncio.sleep(0)
    assert (await closing).dropped == 1
    assert Shuts.calls == 1


async def test_a_close_ends_by_its_deadline_whatever_the_buffer_raises():
    class Refuses(MemoryLaneBuffer):
        def for_lane(self, name):
            return self

        async def release(self, claim):
            raise OSError("the buffer's server is gone")

    class Hangs(Recorder):
        async def send(self, batch):
            await asyncio.sleep(3600)

    client = Client(Hangs(), buffer=Refuses(1 << 20), batch_size=1)
    await client.start()
    assert await client.create_user_context("u").track_event("k")
    await until(client._pipeline.lanes[0]._accounting.open_claims)
    for task in asyncio.all_tasks():
        if "sender" in task.get_name():  # as `asyncio.run` does at its end
            task.cancel()
    async with asyncio.timeout(3):
        await client.aclose(timeout=0.3)
    assert "closed" in repr(client)
    assert_conserved(client)
