"""Dead letters: kept with the server's answer, bounded, listed, sent again, deleted; in memory and in a file."""

import asyncio

import orjson
import pytest
from support import Final, Recorder, assert_conserved

import aiotrack
from aiotrack import Answer, Cause, Client, FileBuffer, MemoryBuffer
from aiotrack.buffers.dead_letters import MOST, DeadLetters
from aiotrack.testing import Collector, Reply, until


@pytest.fixture(params=["memory", "file"])
def buffer(request, tmp_path):
    return MemoryBuffer() if request.param == "memory" else FileBuffer(tmp_path / "buffer", sync="normal")


def number(letter):
    return orjson.loads(letter.entry)["tags"]["n"]


async def track(client, count):
    user = client.create_user_context("ann")
    for n in range(count):
        assert await user.track_event("k", {"n": n})


async def test_a_dead_letter_has_the_event_the_answer_and_the_time(buffer, clock):
    async with Collector(default=Reply(status=400, body=b'{"error": "no such project"}')) as collector:
        async with Client(aiotrack.HTTPDestination(collector.url), buffer=buffer, clock=clock) as client:
            await track(client, 3)
            await client.flush()
            letters = await client.dead_letters()
            assert [number(letter) for letter in letters] == [0, 1, 2]
            assert {letter.cause for letter in letters} == {
                Cause("HTTP 400", 400, b'{"error": "no such project"}', clock.time())
            }
            assert {letter.destination for letter in letters} == {"http"}
            assert "ann" not in repr(letters)
            assert "project" not in repr(letters)
            assert assert_conserved(client).total.dead == 3


async def test_dead_letters_are_sent_again_once(buffer):
    recorder = Final(Answer(status=404), Answer(status=404))
    async with Client(recorder, buffer=buffer, batch_size=2) as client:
        await track(client, 4)
        await client.flush()
        letters = await client.dead_letters()
        assert len(letters) == 4
        assert await client.replay(letters[1:]) == 3
        assert await client.replay(letters[1:]) == 0  # they are no dead letters any more
        await client.flush()
        assert [orjson.loads(entry)["tags"]["n"] for entry in recorder.events] == [1, 2, 3]
        assert [number(letter) for letter in await client.dead_letters()] == [0]
        total = assert_conserved(client).total
        assert (total.accepted, total.delivered, total.dead) == (7, 3, 4)
        await client.forget(await client.dead_letters())
        assert await client.dead_letters() == []


async def test_a_replay_that_is_cut_short_leaves_nothing_to_send_twice():
    recorder = Final(Answer(status=404))
    async with Client(recorder, buffer=MemoryBuffer(1000), batch_size=5, overflow_timeout=60) as client:
        await track(client, 5)
        await client.flush()
        letters = await client.dead_letters()
        recorder.answers = [Answer(error="down")]
        await track(client, 4)  # the buffer is nearly full again
        replaying = asyncio.create_task(client.replay(letters))
        await until(lambda: client.stats().total.accepted > 9 or replaying.done())
        replaying.cancel()
        await asyncio.gather(replaying, return_exceptions=True)
        await client.flush()
        await client.replay(letters)
        await client.flush()
        assert len(recorder.events) == len(set(recorder.events))
        assert_conserved(client)


async def test_dead_letters_of_a_file_outlive_the_process(tmp_path):
    async with Client(Final(Answer(status=404)), buffer=FileBuffer(tmp_path)) as client:
        await track(client, 2)
        await client.flush()
    recorder = Recorder()
    async with Client(recorder, buffer=FileBuffer(tmp_path)) as client:
        letters = await client.dead_letters()
        assert [number(letter) for letter in letters] == [0, 1]
        assert await client.replay(letters) == 2
    assert len(recorder.events) == 2
    assert [*tmp_path.rglob("*.dead"), *tmp_path.rglob("*.seg")] == []


def test_the_oldest_make_way():
    letters = DeadLetters()
    letters.add([b"%d" % n for n in range(MOST + 5)], b"", Cause("no"))
    kept = list(letters)
    assert len(kept) == MOST
    assert kept[0].entry == b"5"
    letters.add([b"x" * (32 * 1024 * 1024)], b"", Cause("no"))
    assert [letter.size for letter in letters] == [32 * 1024 * 1024]


async def test_the_oldest_of_a_file_make_way(tmp_path):
    bad = aiotrack.Answer(status=404, body=b"x" * 4096)
    recorder = Final(*[bad] * 60)
    async with Client(recorder, buffer=FileBuffer(tmp_path, sync="normal"), batch_size=200) as client:
        await track(client, 6000)
        await client.flush(30)
        letters = await client.dead_letters()
        assert number(letters[-1]) == 5999
        assert sum(letter.size for letter in letters) <= 16 * 1024 * 1024
        assert assert_conserved(client).total.dead == 6000


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=400, body=None),
        Answer(status=400, error="x\udc80"),
        Answer(status=400, body=b"x" * 100_000),
        Answer(error="x" * 100_000, status=400),
    ],
)
async def test_whatever_a_destination_answers_can_be_kept(answer, buffer):
    class Odd(Recorder):
        def judge(self, answer, now):
            return super().judge(answer, now) if answer == Answer() else aiotrack.Verdict("dead")

    async with Client(Odd(answer), buffer=buffer, batch_size=1) as client:
        await track(client, 1)
        await client.flush()
        await track(client, 3)
        await client.flush()
        (letter,) = await client.dead_letters()
        assert letter.size < 10_000
        assert assert_conserved(client).total.dead == 1
