"""What every buffer must do, as tests: subclass `BufferContract` in a test module of yours.

    class TestMyBuffer(BufferContract):
        def make(self, folder):
            return MyBuffer(folder, max_bytes=self.max_bytes)

Needs pytest and hypothesis. The tests run a buffer against a list that does the same slowly, with crashes.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from aiotrack.buffer import Buffer, Claim, Outcome
from aiotrack.errors import BufferFull

if TYPE_CHECKING:
    from hypothesis import settings as Settings  # noqa: N812

__all__ = ["BufferContract"]

T = TypeVar("T")

Entry = tuple[int, bytes, bytes]
"""Number, entry, envelope."""


class Heard:
    """What a buffer has told its lane."""

    def __init__(self) -> None:
        self.last = self.events = self.size = self.recovered_events = 0

    def recovered(self, last: int, events: int) -> None:
        """Note it."""
        assert last > self.last
        self.last = last
        self.recovered_events += events

    def append(self, buffer: Buffer, entry: bytes, envelope: bytes) -> int | asyncio.Future[int]:
        """Append as a lane does: an entry that got its number at once is counted here."""
        number = buffer.append(entry, envelope)
        if isinstance(number, int):
            self.taken(number, 1, len(entry))
        return number

    def taken(self, last: int, events: int, size: int) -> None:
        """Note it."""
        assert last > self.last
        self.last = last
        self.events += events
        self.size += size

    def failed(self, exc: Exception, events: int, unheard: int) -> None:
        """Fail the test: nothing here keeps a buffer from storing."""
        raise AssertionError(f"{events} entries could not be stored") from exc


class BufferContract:
    """Tests of one kind of buffer."""

    max_bytes = 200
    """The most bytes that the buffers made here hold."""
    examples = 60
    """How many random histories are played."""

    def make(self, folder: Path) -> Buffer:
        """Return a buffer that is not open; a durable one made with the same folder finds what was there."""
        raise NotImplementedError

    def crash(self, buffer: Buffer, folder: Path) -> Path:
        """Return a folder as it is when the process dies now. The default copies it: enough for a buffer of files."""
        copy = Path(tempfile.mkdtemp(dir=folder.parent)) / "crashed"
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.lock"))
        return copy

    def test_is_a_buffer(self, tmp_path: Path) -> None:
        """It has all that the protocol asks for."""
        assert isinstance(self.make(tmp_path), Buffer)

    def test_history(self) -> None:
        """Whatever happens, in whatever order: entries are waiting, claimed, dead or gone, and in order."""
        from hypothesis import settings  # noqa: PLC0415 - only tests need it
        from hypothesis.stateful import run_state_machine_as_test  # noqa: PLC0415

        from .histories import histories  # noqa: PLC0415

        limits: Settings = settings(max_examples=self.examples, stateful_step_count=50, deadline=None)
        run_state_machine_as_test(histories(self), settings=limits)

    def test_lanes_share_nothing(self, tmp_path: Path) -> None:
        """Each lane has a buffer of its own."""

        async def test() -> None:
            buffer = self.make(tmp_path)
            one, other = buffer.for_lane("one"), buffer.for_lane("o/t.h:er")
            for lane in (one, other):
                await lane.open(Heard())
                await append(lane, b"the same")
            assert (await claimed(one)).entries == (await claimed(other)).entries
            assert await one.claim(10, 1000) is None
            for lane in (one, other):
                await lane.close()

        asyncio.run(test())

    def test_numbers_grow_and_callers_may_leave(self, tmp_path: Path) -> None:
        """Numbers grow in the order of the calls, and every entry is told, waited for or not."""

        async def test() -> None:
            buffer, heard = self.make(tmp_path), Heard()
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

    def test_what_is_full_takes_more_once_something_ended(self, tmp_path: Path) -> None:
        """BufferFull is raised at once, and only while there is no room."""

        async def test() -> None:
            buffer = self.make(tmp_path)
            await buffer.open(Heard())
            half = b"x" * (self.max_bytes // 2)
            await append(buffer, half)
            await append(buffer, half)
            try:
                buffer.append(half, b"")
            except BufferFull:
                pass
            else:
                raise AssertionError("a full buffer took an entry")
            await buffer.settle(await claimed(buffer, 1), Outcome.DELIVERED)
            await append(buffer, half)
            assert buffer.depth().events == 2
            await buffer.close()

        asyncio.run(test())


async def append(buffer: Buffer, entry: bytes, envelope: bytes = b"") -> int:
    """Append, and wait until the entry is safe."""
    number = buffer.append(entry, envelope)
    return number if isinstance(number, int) else await number


async def claimed(buffer: Buffer, most: int = 1000) -> Claim:
    """Claim what must be there."""
    claim = await buffer.claim(most, 1_000_000)
    assert claim is not None
    return claim
