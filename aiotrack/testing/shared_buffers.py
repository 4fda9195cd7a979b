"""What a buffer must do whose entries wait in an engine that several processes claim from, as tests."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiotrack.buffers.base import LaneBuffer

from .buffers import BufferContract, answer, claimed
from .listener import RecordingListener

__all__ = ["SharedBufferContract"]


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
                await answer(number)
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
                await answer(heard.append(one, text, b""))
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
            await answer(heard.append(one, b"a", b""))
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
            await answer(heard.append(one, b"a", b""))
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
                await answer(heard.append(one, text, b""))
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
                await answer(heard.append(one, text, b""))
            await one.release(await claimed(one, 1))
            assert await one.close() == 0
            await other.recover()
            assert list((await claimed(other, 10)).entries) == [b"a", b"b"]
            await other.close()

        asyncio.run(test())
