"""Awaiting foreign code with a deadline: no timer for what does not wait, and nothing else changes."""

import asyncio
import contextvars

import pytest

from aiotrack.model.tasks import run_with_timeout

var = contextvars.ContextVar("var")


async def test_what_does_not_wait_sets_no_timer(monkeypatch):
    def refuse(*_):
        raise AssertionError("a timer was set")

    async def answer():
        return 42

    monkeypatch.setattr(asyncio, "timeout", refuse)
    assert await run_with_timeout(1, answer()) == 42


async def test_what_waits_gets_answers_errors_and_its_context():
    """Futures, sleeps, nested deadlines, exceptions thrown in, and the context of the caller."""
    loop = asyncio.get_running_loop()

    async def foreign():
        future = loop.create_future()
        loop.call_soon(future.set_result, 1)
        first = await future
        await asyncio.sleep(0)
        failing = loop.create_future()
        loop.call_soon(failing.set_exception, LookupError("thrown in"))
        with pytest.raises(LookupError, match="thrown in"):
            await failing
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await loop.create_future()
        var.set(var.get() + 1)
        return first + await asyncio.create_task(asyncio.sleep(0, 1))

    var.set(1)
    assert await run_with_timeout(10, foreign()) == 2
    assert var.get() == 2


async def test_what_waits_too_long_is_cancelled():
    ended = []

    async def hangs():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    with pytest.raises(TimeoutError):
        await run_with_timeout(0.01, hangs())
    assert ended == [True]


async def test_a_deadline_of_its_own_that_begins_first_stays_its_own():
    """The foreign code's own timeout began before ours; each is told of its own."""

    async def impatient():
        try:
            async with asyncio.timeout(0.01):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            return "own"

    assert await run_with_timeout(10, impatient()) == "own"


async def test_a_cancelled_caller_cancels_the_foreign_code_and_is_cancelled():
    begun, ended = asyncio.Event(), []

    async def hangs():
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    task = asyncio.create_task(run_with_timeout(10, hangs()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cancelled"]


async def test_what_is_raised_before_anything_is_waited_for_comes_out_as_it_is():
    async def fails():
        raise KeyError("k")

    with pytest.raises(KeyError):
        await run_with_timeout(1, fails())
