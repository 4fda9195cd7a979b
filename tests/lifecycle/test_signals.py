"""Signal handlers: set together or not at all, undone once, and of no harm when the loop has ended."""

import asyncio
import os
import signal

import pytest
from support import Recorder

from aiotrack import Client, close_on_signal
from aiotrack.testing import until


@pytest.fixture
def handler():
    """Catch SIGUSR1 for the test, and return what came."""
    came = []

    def handle(number, frame):
        came.append(number)

    before = signal.signal(signal.SIGUSR1, handle)
    yield came, handle
    signal.signal(signal.SIGUSR1, before)


async def test_the_same_signal_twice_is_once(handler):
    came, _ = handler
    client = Client(Recorder())
    await client.start()
    close_on_signal(client, signal.SIGUSR1, signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR1)
    await until(lambda: came)
    assert "closed" in repr(client)
    assert came == [signal.SIGUSR1]


async def test_a_signal_that_can_not_be_handled_leaves_the_others_alone(handler):
    async with Client(Recorder()) as client:
        with pytest.raises(OSError, match="Invalid argument"):
            close_on_signal(client, signal.SIGUSR1, signal.SIGKILL)
        assert signal.getsignal(signal.SIGUSR1) is handler[1]


async def test_undone_twice_or_out_of_order_it_takes_nobody_elses_handler_away(handler):
    came, _ = handler
    async with Client(Recorder()) as client:
        first, second = close_on_signal(client, signal.SIGUSR1), close_on_signal(client, signal.SIGUSR1)
        first()
        second()
        os.kill(os.getpid(), signal.SIGUSR1)  # the first is undone, so it only passes the signal on
        assert came == [signal.SIGUSR1]
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        first()
        second()
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
        assert await client.create_user_context("u").track_event("k")


def test_a_signal_after_the_loop_has_ended_does_what_it_did_before(handler):
    came, handle = handler

    async def main():
        async with Client(Recorder()) as client:
            close_on_signal(client, signal.SIGUSR1)

    asyncio.run(main())
    os.kill(os.getpid(), signal.SIGUSR1)
    assert came == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) is handle
