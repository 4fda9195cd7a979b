"""Plugins are foreign code: none cancels its neighbours, holds up a close, or changes what is not its own."""

import asyncio

import attrs
from support import Recorder

import aiotrack
from aiotrack import Client, hookimpl
from aiotrack.testing import Collector


async def accepted(client, count=1):
    user = client.create_user_context("u")
    return [await user.track_event("k", {"n": number}) for number in range(count)]


async def test_a_shutdown_that_cancels_its_own_task_does_not_cancel_the_close():
    class Worker:
        @hookimpl
        async def aiotrack_startup(self, client):
            self.task = asyncio.ensure_future(asyncio.Event().wait())

        @hookimpl
        async def aiotrack_shutdown(self, client):
            self.task.cancel()
            await self.task

    recorder = Recorder()
    client = Client(recorder, Worker())
    async with client:
        await accepted(client)
    assert len(recorder.events) == 1
    assert "closed" in repr(client)
    assert client.stats().plugins["Worker"].errors == 1


async def test_an_async_plugin_whose_own_task_was_cancelled_does_not_cancel_the_caller():
    class Enrich:
        @hookimpl
        async def aiotrack_enrich_event(self, event):
            task = asyncio.ensure_future(asyncio.sleep(1))
            task.cancel()
            await task

    async with Client(Recorder(), Enrich()) as client:
        (result,) = await accepted(client)
        assert result
        assert client.stats().plugins["Enrich"].errors == 1


async def test_a_hook_that_hangs_at_close_leaves_time_to_flush():
    class Hanging:
        @hookimpl
        async def aiotrack_shutdown(self, client):
            await asyncio.Event().wait()

    async with Collector() as collector:
        client = Client(aiotrack.HTTPDestination(collector.url), Hanging(), Hanging(), flush_interval=60)
        await client.start()
        await accepted(client)
        report = await client.aclose(timeout=0.5)
    assert report.delivered == 1


class Odd(dict):
    def keys(self):
        raise RuntimeError("secret-value")

    __iter__ = items = values = keys


async def test_plugins_cannot_change_a_users_attributes_or_be_blamed_on_the_caller():
    class Odd:
        @hookimpl
        def aiotrack_check_event(self, event):
            event.attributes["leak"] = 1
            return aiotrack.Problem(None, "x", "y")

        @hookimpl
        def aiotrack_process_event(self, event):
            return attrs.evolve(event, key="")

        @hookimpl
        def aiotrack_reserved_tags(self):
            return {"price": aiotrack.ReservedTag(lambda value: value["amount"], "an amount")}

    async with Client(Recorder(), Odd()) as client:
        user = client.create_user_context("u", {"a": 1})
        result = await user.track_event("k", {"price": 5})
        assert result.refused["recorder"].path == "key"
        assert user.attributes == {"a": 1}


async def test_an_argument_with_a_default_is_still_given():
    heard = []

    class Plugin:
        @hookimpl
        def aiotrack_event_tracked(self, event=None):
            heard.append(event)

    async with Client(Recorder(), Plugin()) as client:
        await accepted(client)
    assert heard[0].key == "k"


async def test_a_plugin_that_scrubs_an_event_in_place_scrubs_this_event_alone():
    """What it forgot to copy must not go out unscrubbed."""

    class Scrubber:
        @hookimpl
        def aiotrack_process_event(self, event):
            event.attributes.pop("email")
            return event

    recorder = Recorder()
    async with Client(recorder, Scrubber()) as client:
        user = client.create_user_context("u", {"email": "ann@example.org", "plan": "gold"})
        for _ in range(2):
            assert await user.track_event("k")
    assert b"ann@" not in b"".join(recorder.events)
    assert user.attributes == {"email": "ann@example.org", "plan": "gold"}
    assert client.stats().plugins["Scrubber"].errors == 0
