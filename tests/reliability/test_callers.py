"""Random callers against a disk and a destination that dawdle, and a close: every answer that a caller got is true."""

import asyncio
import json
import os
import random

import attrs
import pytest
from support import Recorder, Slow, assert_conserved

from aiotrack import Client, MemoryBuffer, hookimpl

ROUNDS = int(os.environ.get("RELIABILITY_ROUNDS", "1"))


class Dawdles(Recorder):
    def __init__(self, dice):
        super().__init__()
        self.dice, self.gate = dice, asyncio.Event()
        self.gate.set()

    async def send(self, batch):
        await self.gate.wait()
        await asyncio.sleep(self.dice.random() * 0.01)
        return await super().send(batch)


@attrs.define
class Plugin:
    """Hears what is said of each event, and takes its time with some."""

    dice: random.Random
    tracked: list[str] = attrs.field(factory=list)
    refused: list[str] = attrs.field(factory=list)

    @hookimpl
    def aiotrack_event_tracked(self, event):
        self.tracked.append(event.event_id)

    @hookimpl
    def aiotrack_event_refused(self, event, refusal):
        self.refused.append(event.event_id)


class Lookup:
    def __init__(self, dice):
        self.dice = dice

    @hookimpl
    async def aiotrack_enrich_event(self, event):
        if self.dice.random() < 0.5:
            await asyncio.sleep(self.dice.random() * 0.02)
        return event


@attrs.define
class Said:
    """What callers were told, by event id."""

    accepted: set[str] = attrs.field(factory=set)
    refused: set[str] = attrs.field(factory=set)

    def note(self, event_id, result, *, safe):
        if result:
            self.accepted |= {event_id} if safe else set()
        elif not any(refusal.reason == "not known" for refusal in result.refused.values()):
            self.refused.add(event_id)

    def note_many(self, ids, result):
        failed = {failure.place for failure in result.failures}
        for place, event_id in enumerate(ids[: result.accepted + result.refused]):
            (self.refused if place in failed else self.accepted).add(event_id)


async def caller(client, name, dice, said, *, durable):
    """Track some events, each in one of the ways that there are."""
    user = client.create_user_context("u")
    for number in range(dice.randrange(1, 6)):
        event_id, way = f"{name}-{number}", dice.random()
        if way < 0.6:
            timeout = dice.choice([None, 0, 0.001, 0.01, 0.05])
            said.note(event_id, await user.track_event("k", event_id=event_id, timeout=timeout), safe=True)
        elif way < 0.8:
            result = await asyncio.wrap_future(user.track_event_threadsafe("k", event_id=event_id))
            said.note(event_id, result, safe=True)
        elif way < 0.9:  # with a durable buffer, before the commit
            said.note(event_id, user.track_event_nowait("k", event_id=event_id), safe=not durable)
        else:
            ids = [f"{event_id}-{place}" for place in range(5)]
            events = [{"user_id": "u", "key": "k", "event_id": one} for one in ids]
            said.note_many(ids, await client.track_many(events))


async def disk(client, buffer, server, dice):
    """Write, or fail to, now and then; open and shut the destination."""
    while True:
        await asyncio.sleep(dice.random() * 0.01)
        if isinstance(buffer, Slow):
            buffer.write() if dice.random() < 0.8 else buffer.fail()
        if dice.random() < 0.2:
            server.gate.clear() if dice.random() < 0.3 else server.gate.set()
        assert_conserved(client)


async def close(client, buffer, server):
    server.gate.set()
    closing = asyncio.create_task(client.aclose())
    while not closing.done():
        await asyncio.sleep(0.002)
        if isinstance(buffer, Slow):
            buffer.write()
    await closing


@pytest.mark.parametrize("seed", range(20 * ROUNDS))
async def test_what_a_caller_was_told_is_what_became_of_the_event(seed):
    dice, said = random.Random(seed), Said()
    server, plugin = Dawdles(dice), Plugin(dice)
    plugins = [plugin, Lookup(dice)] if dice.random() < 0.4 else [plugin]
    durable = dice.random() < 0.6
    buffer = Slow() if durable else MemoryBuffer(dice.choice([600, 5000, 10**6]))
    options = {"batch_size": dice.choice([1, 5, 50]), "overflow_timeout": dice.choice([0.02, 0.2])}
    client = Client(server, *plugins, buffer=buffer, flush_interval=0.01, shutdown_timeout=5, **options)
    await client.start()
    others = asyncio.all_tasks()
    writing = asyncio.create_task(disk(client, buffer, server, dice))
    callers = [
        asyncio.create_task(caller(client, name, dice, said, durable=durable)) for name in range(dice.randrange(5, 60))
    ]
    for task in callers:
        if dice.random() < 0.2:
            asyncio.get_running_loop().call_later(dice.random() * 0.05, task.cancel)
    await asyncio.wait(callers, timeout=dice.choice([0.01, 0.05, 20]))
    await close(client, buffer, server)
    writing.cancel()
    _, hanging = await asyncio.wait(callers, timeout=5)
    raised = [task.exception() for task in callers if task.done() and not task.cancelled() and task.exception()]
    assert not hanging
    assert not raised
    assert {task for task in asyncio.all_tasks() - others - {writing} if not task.done()} == set()

    delivered = [json.loads(event)["event_id"] for event in server.events]
    total = assert_conserved(client).total
    assert len(said.accepted - set(delivered)) <= total.dropped + total.pending == 0
    assert not said.refused & set(delivered)
    assert len(delivered) == len(set(delivered))
    assert len(plugin.tracked) == len(set(plugin.tracked))
    assert set(plugin.tracked) >= said.accepted
    assert not set(plugin.tracked) & (said.refused | set(plugin.refused))
