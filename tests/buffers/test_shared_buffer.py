"""Buffers in an engine that several processes share: the contract for them, and what a lane counts over such a one."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from shared_engine import ENGINES, LEASE, SharedBuffer, SharedLaneBuffer, copied_engines
from support import Recorder, assert_conserved

import aiotrack
from aiotrack.testing import SharedBufferContract, until


class TestSharedBuffer(SharedBufferContract):
    def make(self, folder):
        return SharedBuffer(folder, self.max_bytes)

    def crash(self, buffer, folder):
        copy = Path(tempfile.mkdtemp(dir=folder.parent))
        copied_engines(folder, copy)
        return copy

    async def expire(self, folder):
        ENGINES[folder, "lane"].now += 2 * LEASE


class Careless(SharedLaneBuffer):
    """Claims what others hold."""

    def _is_ours(self, row):
        return True


class Forgetful(SharedLaneBuffer):
    """Never says what others have claimed."""

    async def recover(self):
        listener, self.listener = self.listener, Deaf(self.listener)
        await super().recover()
        self.listener = listener


class Deaf:
    def __init__(self, listener):
        self.recovered = listener.recovered

    def handed_over(self, numbers):
        pass


class Lapsing(SharedLaneBuffer):
    """Does not renew."""

    async def renew(self, claim):
        pass


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (Careless, "test_an_entry_is_claimed_by_one_process_at_a_time"),
        (Forgetful, "test_what_another_claims_is_handed_over_and_recovered"),
        (Lapsing, "test_a_claim_that_is_renewed_stays"),
    ],
)
def test_a_buffer_that_breaks_a_rule_fails_the_contract(kind, test, tmp_path, monkeypatch):
    class Contract(TestSharedBuffer):
        def lane(self, folder, name="lane"):
            lane = super().lane(folder, name)
            lane.__class__ = kind
            return lane

    with pytest.raises(AssertionError):
        getattr(Contract(), test)(tmp_path)


class Held(Recorder):
    """Sends nothing until it may."""

    def __init__(self, **options):
        super().__init__(**options)
        self.open = asyncio.Event()

    async def send(self, batch):
        await self.open.wait()
        return await super().send(batch)


async def track(client, count):
    user = client.create_user_context("u")
    results = [await user.track_event("k", {"n": number}) for number in range(count)]
    assert all(results)
    return results


async def test_what_another_process_claims_is_handed_over_in_the_counters(tmp_path):
    one, other = Held(), Recorder()
    async with aiotrack.Client(one, buffer=SharedBuffer(tmp_path), flush_interval=3600) as first:
        results = await track(first, 5)
        for row in ENGINES[tmp_path, "recorder"].rows.values():
            row.appended_by = None  # it is the engine's to give: the other process asks for it
        async with aiotrack.Client(other, buffer=SharedBuffer(tmp_path)) as second:
            await second.flush(5)
            total = assert_conserved(second).total
            assert (total.recovered, total.delivered) == (5, 5)
        one.open.set()
        report = await first.flush(5)
        total = assert_conserved(first).total
        assert (total.accepted, total.handed_over, total.delivered, total.pending) == (5, 5, 0, 0)
        assert repr(report).endswith("handed_over=5)")
        assert await results[0].delivered(1) == aiotrack.Unknown()
    assert len(other.events) == 5
    assert one.events == []


async def test_what_is_left_at_a_close_is_handed_over(tmp_path):
    held = Held()
    async with aiotrack.Client(held, buffer=SharedBuffer(tmp_path), shutdown_timeout=0.05) as client:
        await track(client, 3)
    total = assert_conserved(client).total
    assert (total.accepted, total.handed_over, total.pending, total.dropped) == (3, 3, 0, 0)
    recorder = Recorder()
    async with aiotrack.Client(recorder, buffer=SharedBuffer(tmp_path)) as client:
        await client.flush(5)
        assert assert_conserved(client).total.delivered == 3


async def test_a_claim_is_renewed_for_as_long_as_its_delivery_takes(tmp_path, clock):
    held = Held()
    async with aiotrack.Client(held, buffer=SharedBuffer(tmp_path), clock=clock, batch_size=2) as client:
        await track(client, 2)
        engine = ENGINES[tmp_path, "recorder"]
        await until(lambda: all(row.holder is not None for row in engine.rows.values()))
        for _ in range(12):
            clock.advance(LEASE / 3)
            engine.now += LEASE / 3
            until_before = engine.now + LEASE
            await until(lambda least=until_before: all(row.until >= least for row in engine.rows.values()))
        held.open.set()
        await client.flush(5)
        assert assert_conserved(client).total.delivered == 2


async def test_a_buffer_of_the_old_kind_is_refused_with_a_sentence():
    class Old:
        def for_lane(self, name):
            return self

        async def settle(self, claim, outcome, cause=None): ...

    with pytest.raises(aiotrack.errors.ConfigError, match=r"buffer: Old is of the old kind: settle\(\) has become ack"):
        aiotrack.Client(buffer=Old())

    class Partly:
        def for_lane(self, name):
            return object()

    with pytest.raises(
        aiotrack.errors.StartError, match=r"for_lane\(\) must return a LaneBuffer, and object has no ack,"
    ):
        await aiotrack.Client(Recorder(), buffer=Partly()).start()
    with pytest.raises(aiotrack.errors.ConfigError, match="buffer: expected a Buffer, got int"):
        aiotrack.Client(buffer=5)
