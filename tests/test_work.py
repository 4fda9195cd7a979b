"""How much work an event is, counted and not timed: a gross regression fails here, on any machine."""

import asyncio
import gc
import selectors
import sys
from collections import Counter

import pytest

import aiotrack
from aiotrack.testing import Collector, Reply

EVENTS = 1000
TAGS = {"revenue": 4200, "category": "shoes"}


class Listener:
    def __init__(self):
        self.heard = 0

    @aiotrack.hookimpl
    def aiotrack_event_tracked(self, event):
        self.heard += 1


class CountingSelector(selectors.DefaultSelector):
    def __init__(self):
        super().__init__()
        self.selects = 0

    def select(self, timeout=None):
        self.selects += 1
        return super().select(timeout)


def suspensions(coroutine):
    """Run a coroutine that nothing has to wake; return how often it gave up the event loop."""
    count = 0
    while True:
        try:
            coroutine.send(None)
        except StopIteration:
            return count
        count += 1


@pytest.fixture
async def client(collector):
    options = {"batch_size": 10 * EVENTS, "flush_interval": 600}
    async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), Listener(), **options) as client:
        yield client


@pytest.fixture
async def user(client):
    user = client.create_user_context("user123", {"logged_in": True})
    for _ in range(EVENTS):
        user.track_event_nowait("purchase", TAGS)
    return user


async def test_a_call_is_few_calls(user):
    """Functions of ours, and of C, that one call runs."""
    calls = Counter()

    def count(frame, event, arg):
        calls[event] += 1

    sys.setprofile(count)
    try:
        for _ in range(EVENTS):
            user.track_event_nowait("purchase", TAGS)
    finally:
        sys.setprofile(None)
    assert calls["call"] <= 20 * EVENTS
    assert (
        calls["c_call"] <= 22.1 * EVENTS
    )  # object.__new__ of the event among them; a class that is called is not counted


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="CPython 3.12 does not trace instructions from here")
async def test_a_call_is_few_instructions(user):
    """CPython's own instructions, which are nearly the same in all versions."""
    counts = []

    def trace(frame, event, arg):
        frame.f_trace_opcodes = True
        counts[-1] += event == "opcode"
        return trace

    before = sys.gettrace()
    for _ in range(3):  # in one of them 256 new event ids may be made
        counts.append(0)
        sys.settrace(trace)
        try:
            for _ in range(10):
                user.track_event_nowait("purchase", TAGS)
        finally:
            sys.settrace(before)
    assert 0 < min(counts) <= 10 * 724


async def test_a_queued_event_is_one_object(user):
    """Beyond its bytes, nothing stays in memory, and there is nothing for the garbage collector to walk."""
    gc.collect()
    objects, blocks = len(gc.get_objects()), sys.getallocatedblocks()
    for _ in range(EVENTS):
        user.track_event_nowait("purchase", TAGS)
    blocks = sys.getallocatedblocks() - blocks
    gc.collect()
    assert len(gc.get_objects()) - objects <= 20
    assert blocks <= 1.2 * EVENTS


async def test_a_call_gives_up_the_loop_only_to_let_others_run(user):
    """One call in 64 does; none makes a task."""
    loop = asyncio.get_running_loop()
    tasks = []
    loop.set_task_factory(
        lambda loop, coroutine, **options: tasks.append(coroutine) or asyncio.Task(coroutine, loop=loop)
    )
    try:
        suspended = sum(suspensions(user.track_event("purchase", TAGS)) for _ in range(EVENTS))
    finally:
        loop.set_task_factory(None)
    assert suspended <= EVENTS // 64 + 1
    assert tasks == []


async def test_a_listener_is_called_once_for_an_event(collector):
    """And a hook that nobody has costs no call at all."""
    listener = Listener()
    options = {"batch_size": 10 * EVENTS, "flush_interval": 600}
    async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), listener, **options) as client:
        user = client.create_user_context("user123")
        for _ in range(EVENTS):
            await user.track_event("purchase", TAGS)
    assert listener.heard == EVENTS


def test_events_leave_in_few_turns_of_the_loop():
    """Tasks, requests and system calls (the selector's, one a turn) for a thousand events that fill two batches."""
    selector = CountingSelector()
    made = []

    async def main():
        async with Collector(default=Reply(status=204)) as collector:
            options = {"batch_size": EVENTS // 2, "flush_interval": 600}
            async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), **options) as client:
                user = client.create_user_context("user123")
                await user.track_event("purchase", TAGS)
                await client.flush()
                loop = asyncio.get_running_loop()
                loop.set_task_factory(
                    lambda loop, coroutine, **options: (
                        made.append(coroutine.__qualname__) or asyncio.Task(coroutine, loop=loop)
                    )
                )
                requests, turns = len(collector.requests), selector.selects
                for _ in range(EVENTS):
                    await user.track_event("purchase", TAGS)
                await client.flush()
                loop.set_task_factory(None)
                assert client.stats().total.delivered == EVENTS + 1
                return len(collector.requests) - requests, selector.selects - turns

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        requests, turns = runner.run(main())
    assert requests == 2
    assert turns <= 30  # the collector's own turns among them
    assert len(made) <= 6, made
