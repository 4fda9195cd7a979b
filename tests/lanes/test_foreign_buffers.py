"""Buffers are foreign code: what one raises or answers loses nothing in silence; and callers that wait for room."""

import asyncio

import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import Client, errors
from aiotrack.buffers.memory import MemoryLaneBuffer
from aiotrack.testing import until


async def accepted(client, count=1):
    user = client.create_user_context("u")
    return [await user.track_event("k", {"n": number}) for number in range(count)]


async def test_a_buffer_that_fails_once_does_not_end_the_sender(clock):
    class Failing(MemoryLaneBuffer):
        failed = False

        def for_lane(self, name):
            return self

        async def ack(self, claim):
            if not self.failed:
                self.failed = True
                raise OSError("disk")
            await super().ack(claim)

    recorder = Recorder()
    async with Client(recorder, buffer=Failing(1 << 20), batch_size=2, clock=clock) as client:
        await accepted(client, 2)
        await until(lambda: client.stats().plugins["recorder"].errors == 1)
        assert (await client.flush()).delivered == 2
    assert len(recorder.events) == 4  # at least once: the first ack failed after the sending
    assert_conserved(client)


async def test_a_buffer_that_cannot_look_for_what_others_left_stops_no_flush():
    class Blind(MemoryLaneBuffer):
        def for_lane(self, name):
            return self

        async def recover(self):
            raise KeyError("secret-value")

    async with Client(Recorder(), buffer=Blind(1 << 20)) as client:
        await accepted(client, 2)
        assert (await client.flush()).delivered == 2
        assert client.stats().plugins["recorder"].errors == 1


class Lazy(MemoryLaneBuffer):
    """Answers as a foreign buffer may; `answer` makes something of a number."""

    def __init__(self, answer):
        super().__init__(1 << 20)
        self.answer = answer

    def for_lane(self, name):
        return self

    def append(self, entry, batch_header):
        return self.answer(super().append(entry, batch_header))


class Number(int):
    pass


async def test_a_buffer_may_answer_with_an_int_of_its_own():
    """Counted as any other; with what is neither an int nor a future, the event is refused."""
    async with Client(Recorder(), buffer=Lazy(Number)) as client:
        await accepted(client, 2)
        assert (await client.flush(1)).delivered == 2
        assert_conserved(client)
    async with Client(Recorder(), buffer=Lazy(str)) as client:
        (result,) = await accepted(client)
        assert result.refused["recorder"].reason == "buffer error"


async def test_what_a_buffer_raises_is_never_blamed_on_the_destination():
    """Not even where the oldest events are dropped for a new one."""

    def fail(number):
        if number % 2:
            raise errors.BufferFull("full")
        raise LookupError(number)

    async with Client(Recorder(), buffer=Lazy(fail), overflow="drop_oldest") as client:
        (result,) = await accepted(client)
        assert result.refused["recorder"].reason == "buffer error"
        assert "recorder" not in client.stats().plugins or client.stats().plugins["recorder"].errors == 0


@pytest.mark.parametrize("max_bytes", [1300, 5000])
async def test_numbers_that_jump_send_no_batch_early(tmp_path, max_bytes):
    """A spill buffer's do, whenever it turns from memory to its file or back."""
    recorder = Recorder()
    buffer = aiotrack.SpillBuffer(aiotrack.FileBuffer(tmp_path, sync="normal"), max_bytes=max_bytes)
    async with Client(recorder, buffer=buffer, batch_size=100, flush_interval=600) as client:
        await accepted(client, 99)
        assert recorder.batches == []
        await client.flush()
        await accepted(client, 99)
        assert len(recorder.events) == 99


async def test_a_buffer_that_cancels_what_it_promised_has_failed():
    class Cancels(MemoryLaneBuffer):
        def for_lane(self, name):
            return self

        def append(self, entry, batch_header):
            number = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(number.cancel)
            return number

    async with Client(Recorder(), buffer=Cancels(1 << 20), shutdown_timeout=0.1) as client:
        user = client.create_user_context("u")
        result = await user.track_event("k")
        assert result.refused["recorder"].reason == "buffer error"
        assert await user.track_event_nowait("k").delivered(5) == aiotrack.Rejected("buffer error")
        assert client.stats().refused == {"buffer error": 2}


async def test_what_lanes_made_of_an_event_whose_caller_is_cancelled_is_told():
    class Hangs(Recorder):
        async def send(self, batch):
            await asyncio.sleep(3600)

    class Refuses(Recorder):
        def encode(self, event):
            if event.key == "held":
                raise errors.EventRefused("no")
            return super().encode(event)

    class Small:
        def for_lane(self, name):
            return aiotrack.MemoryBuffer(250 if name == "full" else 1 << 20).for_lane(name)

    destinations = Hangs(name="full"), Recorder(name="works"), Refuses(name="refuses")
    heard = []
    async with Client(*destinations, buffer=Small(), overflow_timeout=60, shutdown_timeout=0.1) as client:
        client.on("aiotrack_event_tracked", lambda event: heard.append(event.key))
        client.on("aiotrack_event_refused", lambda event, refusal: heard.append(refusal.destination))
        user = client.create_user_context("u")
        assert await user.track_event("first")
        held = asyncio.create_task(user.track_event("held"))
        await until(lambda: client.stats().lanes["works"].accepted == 2)
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held
        assert heard == ["first", "refuses", "held"]
        stats = assert_conserved(client)
        assert {name: lane.accepted for name, lane in stats.lanes.items()} == {"full": 1, "works": 2, "refuses": 1}
