"""What every buffer must do, as tests: subclass `BufferContract` in a test module of yours.

    class TestMyBuffer(BufferContract):
        def make(self, folder):
            return MyBuffer(folder, max_bytes=self.max_bytes)

One that keeps its entries where several processes claim them subclasses `SharedBufferContract`
(`shared_buffers.py`). Needs pytest and hypothesis. The tests run a buffer against a list that does the same slowly,
with crashes.
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

__all__ = ["BufferContract", "answer", "append", "claimed"]


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


async def answer(number: int | asyncio.Future[int]) -> int:
    """Return an entry's number once it is safe."""
    return number if isinstance(number, int) else await number


async def append(buffer: LaneBuffer, entry: bytes, batch_header: bytes = b"") -> int:
    """Append, and wait until the entry is safe."""
    return await answer(buffer.append(entry, batch_header))


async def claimed(buffer: LaneBuffer, most: int = 1000) -> Claim:
    """Claim what must be there."""
    claim = await buffer.claim(most, 1_000_000)
    assert claim is not None
    return claim
