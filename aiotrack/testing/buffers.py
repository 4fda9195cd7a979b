"""What every buffer must do, as tests: subclass `BufferContract` in a test module of yours.

    class TestMyBuffer(BufferContract):
        def make(self, folder):
            return MyBuffer(folder, max_bytes=self.max_bytes)

One that keeps its entries where several processes claim them subclasses `SharedBufferContract`. Needs pytest and
hypothesis. The tests run a buffer against a list that does the same slowly, with crashes.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aiotrack.buffers.base import Buffer, Claim, LaneBuffer, lane_buffer, takes_identity
from aiotrack.model.errors import BufferFull
from aiotrack.model.identity import Identity

from .listener import RecordingListener

if TYPE_CHECKING:
    from hypothesis import settings as Settings  # noqa: N812

__all__ = ["BufferContract", "SharedBufferContract"]


class BufferContract:
    """Tests of one kind of buffer."""

    max_bytes = 200
    """The most bytes that the buffers made here hold, for each destination."""
    examples = 60
    """How many random histories are played."""

    def make(self, folder: Path) -> Buffer:
        """Return a buffer; a durable one made with the same folder finds what was there."""
        raise NotImplementedError

    def lane(self, folder: Path, name: str = "lane", identity: Identity | None = None) -> LaneBuffer:
        """Return the buffer of one destination, not opened."""
        return lane_buffer(self.make(folder), name, identity)

    def crash(self, buffer: LaneBuffer, folder: Path) -> Path:
        """Return a folder as it is when the process dies now. The default copies it: enough for a buffer of files."""
        copy = Path(tempfile.mkdtemp(dir=folder.parent)) / "crashed"
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.lock"))
        return copy

    def test_is_a_buffer(self, tmp_path: Path) -> None:
        """It has all that the protocols ask for."""
        assert isinstance(self.make(tmp_path), Buffer)
        assert isinstance(self.lane(tmp_path), LaneBuffer)

    def test_history(self) -> None:
        """Whatever happens, in whatever order: entries are waiting, claimed, dead or gone, and in order."""
        from hypothesis import settings  # noqa: PLC0415 - only tests need it
        from hypothesis.stateful import run_state_machine_as_test  # noqa: PLC0415

        from .histories import histories  # noqa: PLC0415

        limits: Settings = settings(max_examples=self.examples, stateful_step_count=50, deadline=None)
        run_state_machine_as_test(histories(self), settings=limits)

    def test_lanes_share_nothing(self, tmp_path: Path) -> None:
        """Each destination has a buffer of its own."""

        async def test() -> None:
            buffer = self.make(tmp_path)
            one, other = buffer.for_lane("one"), buffer.for_lane("o/t.h:er")
            for lane in (one, other):
                await lane.open(RecordingListener())
                await append(lane, b"the same")
            assert (await claimed(one)).entries == (await claimed(other)).entries
            assert await one.claim(10, 1000) is None
            for lane in (one, other):
                await lane.close()

        asyncio.run(test())

    def test_what_waits_for_one_identity_is_never_another_s(self, tmp_path: Path) -> None:
        """A durable buffer keeps apart what is for different accounts, whatever the lane is called."""

        async def test() -> None:
            for account in ("one", "other", "one"):
                lane, heard = self.lane(tmp_path, identity=Identity("shop", account)), RecordingListener()
                await lane.open(heard)
                await lane.recover()
                claim = await lane.claim(10, 1000)
                if claim is not None:
                    assert list(claim.entries) == [account.encode()]
                    await lane.release(claim)
                await append(lane, account.encode())
                seen.append(heard.recovered_events)
                await lane.close()

        seen: list[int] = []
        make = self.make(tmp_path)
        if make.for_lane("lane").durable and takes_identity(make):
            asyncio.run(test())
            assert seen == [0, 0, 1]

    def test_numbers_grow_and_callers_may_leave(self, tmp_path: Path) -> None:
        """Numbers grow in the order of the calls, and every entry is told, waited for or not."""

        async def test() -> None:
            buffer, heard = self.lane(tmp_path), RecordingListener()
            await buffer.open(heard)
            answers = [heard.append(buffer, b"x", b"") for _ in range(50)]
            for one in answers[::2]:
                if not isinstance(one, int):
                    one.cancel()
            numbers = [one if isinstance(one, int) else await one for one in answers[1::2]]
            assert numbers == sorted(set(numbers))
            assert (heard.last, heard.events, heard.size) == (numbers[-1], 50, 50)
            assert buffer.depth().events == 50
            await buffer.close()

        asyncio.run(test())

    def test_what_is_full_stores_more_once_something_ended(self, tmp_path: Path) -> None:
        """BufferFull is raised at once, and only while there is no room."""

        async def test() -> None:
            buffer = self.lane(tmp_path)
            await buffer.open(RecordingListener())
            half = b"x" * (self.max_bytes // 2)
            await append(buffer, half)
            await append(buffer, half)
            try:
                buffer.append(half, b"")
            except BufferFull:
                pass
            else:
                raise AssertionError("a full buffer stored an entry")
            await buffer.ack(await claimed(buffer, 1))
            await append(buffer, half)
            assert buffer.depth().events == 2
            await buffer.close()

        asyncio.run(test())

    def test_a_renewed_claim_is_still_this_process_s(self, tmp_path: Path) -> None:
        """Renewing changes nothing that the lane sees."""

        async def test() -> None:
            buffer = self.lane(tmp_path)
            await buffer.open(RecordingListener())
            await append(buffer, b"x")
            claim = await claimed(buffer)
            await buffer.renew(claim)
            assert await buffer.claim(10, 1000) is None
            await buffer.ack(claim)
            assert buffer.depth().events == 0
            await buffer.close()

        asyncio.run(test())


class SharedBufferContract(BufferContract):
    """Tests of a buffer whose entries wait in an engine that several processes claim from.

    Two buffers made with one folder stand for two processes. Each accounts for what it appended or claimed, and over
    all of them nothing is counted twice: what another claims is handed over here, and recovered there.
    """

    async def expire(self, folder: Path) -> None:
        """Let the leases of all claims run out, as if their time had passed."""
        raise NotImplementedError

    async def two(self, folder: Path) -> tuple[tuple[LaneBuffer, RecordingListener], ...]:
        """Open two processes' buffers of one destination."""
        opened = [(self.lane(folder), RecordingListener()) for _ in range(2)]
        for buffer, listener in opened:
            assert buffer.lease is not None, "claims that another process can take over have a lease"
            await buffer.open(listener)
        return tuple(opened)

    def test_an_entry_is_claimed_by_one_process_at_a_time(self, tmp_path: Path) -> None:
        """While its lease lasts, and whoever appended it."""

        async def test() -> None:
            (one, heard), (other, _) = await self.two(tmp_path)
            for text in (b"a", b"b", b"c"):
                number = heard.append(one, text, b"")
                await _answer(number)
            mine = await claimed(one, 1)
            await other.recover()
            theirs = await claimed(other, 10)
            assert [*mine.entries, *theirs.entries] == [b"a", b"b", b"c"]
            assert await one.claim(10, 1000) is None
            await one.close()
            await other.close()

        asyncio.run(test())

    def test_what_another_claims_is_handed_over_and_recovered(self, tmp_path: Path) -> None:
        """Counted once in each process, so that each can say where its events are."""

        async def test() -> None:
            (one, heard), (other, told) = await self.two(tmp_path)
            for text in (b"a", b"b", b"c"):
                await _answer(heard.append(one, text, b""))
            await other.recover()
            claim = await claimed(other, 2)
            assert told.recovered_events >= 2
            await one.recover()
            assert heard.handed_over_events >= 2
            assert one.depth().events == 3 - heard.handed_over_events
            await other.ack(claim)
            for buffer in (one, other):
                while (left := await buffer.claim(10, 1000)) is not None:
                    await buffer.ack(left)
                await buffer.recover()
                assert await buffer.claim(10, 1000) is None
            counted = [one.events + one.recovered_events - one.handed_over_events for one in (heard, told)]
            assert sum(counted) == 3
            await one.close()
            await other.close()

        asyncio.run(test())

    def test_a_claim_that_nobody_renews_is_claimed_by_another(self, tmp_path: Path) -> None:
        """So that what a dead process had claimed is delivered."""

        async def test() -> None:
            (one, heard), (other, _) = await self.two(tmp_path)
            await _answer(heard.append(one, b"a", b""))
            await claimed(one)
            await other.recover()
            assert await other.claim(10, 1000) is None
            await self.expire(tmp_path)
            await other.recover()
            claim = await claimed(other)
            assert claim.entries == [b"a"]
            await other.ack(claim)
            await other.close()

        asyncio.run(test())

    def test_a_claim_that_is_renewed_stays(self, tmp_path: Path) -> None:
        """However long its delivery takes."""

        async def test() -> None:
            (one, heard), (other, _) = await self.two(tmp_path)
            await _answer(heard.append(one, b"a", b""))
            claim = await claimed(one)
            await self.expire(tmp_path)
            await one.renew(claim)
            await other.recover()
            assert await other.claim(10, 1000) is None
            await one.ack(claim)
            await one.close()
            await other.close()

        asyncio.run(test())

    def test_what_was_put_back_is_claimed_by_one_process_only(self, tmp_path: Path) -> None:
        """Nobody renews it, so another may have it; then it is handed over."""

        async def test() -> None:
            (one, heard), (other, told) = await self.two(tmp_path)
            for text in (b"a", b"b"):
                await _answer(heard.append(one, text, b""))
            await one.release(await claimed(one))
            await self.expire(tmp_path)
            await other.recover()
            theirs = await claimed(other, 1)
            mine = await one.claim(10, 1000)
            assert list(theirs.entries) == [b"a"]
            assert mine is None or list(mine.entries) == [b"b"]
            await other.ack(theirs)
            for buffer in (one, other):
                await buffer.recover()
                while (left := await buffer.claim(10, 1000)) is not None:
                    await buffer.ack(left)
            if mine is not None:
                await one.ack(mine)
            await one.recover()
            assert sum(each.events + each.recovered_events - each.handed_over_events for each in (heard, told)) == 2
            await one.close()
            await other.close()

        asyncio.run(test())

    def test_what_a_process_leaves_at_its_close_is_another_s(self, tmp_path: Path) -> None:
        """Its claims, too."""

        async def test() -> None:
            (one, heard), (other, _) = await self.two(tmp_path)
            for text in (b"a", b"b"):
                await _answer(heard.append(one, text, b""))
            await one.release(await claimed(one, 1))
            assert await one.close() == 0
            await other.recover()
            assert list((await claimed(other, 10)).entries) == [b"a", b"b"]
            await other.close()

        asyncio.run(test())


async def _answer(number: int | asyncio.Future[int]) -> int:
    return number if isinstance(number, int) else await number


async def append(buffer: LaneBuffer, entry: bytes, batch_header: bytes = b"") -> int:
    """Append, and wait until the entry is safe."""
    return await _answer(buffer.append(entry, batch_header))


async def claimed(buffer: LaneBuffer, most: int = 1000) -> Claim:
    """Claim what must be there."""
    claim = await buffer.claim(most, 1_000_000)
    assert claim is not None
    return claim
