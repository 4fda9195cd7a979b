"""Random histories of a buffer beside a list that does the same slowly; for `BufferContract`."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aiotrack.buffers.base import Claim, LaneBuffer
from aiotrack.buffers.dead_letters import Cause
from aiotrack.model.errors import BufferFull

from .listener import RecordingListener

__all__ = ["histories"]

T = TypeVar("T")


class Contract(Protocol):
    """What a history needs of the contract that it is played for."""

    max_bytes: int

    def lane(self, folder: Path) -> LaneBuffer: ...

    def crash(self, buffer: LaneBuffer, folder: Path) -> Path: ...


def histories(contract: Contract) -> type[RuleBasedStateMachine]:
    """Return a machine that plays one history with a buffer of that kind."""
    return type("Histories", (_Histories,), {"contract": contract})


class _Histories(RuleBasedStateMachine):
    """`waiting` and `claimed` are what the buffer must hold, `buried` its dead letters."""

    contract: Contract

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.home = Path(tempfile.mkdtemp(prefix="aiotrack-contract-"))
        self.folder = self.home / "first"
        self.folder.mkdir()
        self.waiting: list[tuple[int, bytes, bytes]] = []
        self.claimed: list[Claim] = []
        self.buried: list[bytes] = []
        self.count = 0
        self.steps = 0  # appends since it was opened
        self.heard = RecordingListener()
        self.buffer = self.contract.lane(self.folder)
        self.run(self.buffer.open(self.heard))
        assert self.heard.recovered_events == 0

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        self.run(self.buffer.close())
        self.runner.close()
        shutil.rmtree(self.home)

    @property
    def size(self) -> int:
        held = [entry for _, entry, _ in self.waiting]
        return sum(map(len, held)) + sum(claim.size for claim in self.claimed)

    @rule(
        payloads=st.lists(st.binary(max_size=20), min_size=1, max_size=6),
        batch_header=st.sampled_from([b"", b"a", b"b"]),
    )
    def append(self, payloads: list[bytes], batch_header: bytes) -> None:
        self.steps += 1
        self.run(self._append(payloads, batch_header))

    async def _append(self, payloads: list[bytes], batch_header: bytes) -> None:
        """Append them in one turn of the loop."""
        answers: list[tuple[bytes, int | asyncio.Future[int]]] = []
        size = self.size
        for payload in payloads:
            self.count += 1
            entry = b"%d:%b" % (self.count, payload)
            fits = size + len(entry) <= self.contract.max_bytes
            try:
                answers.append((entry, self.heard.append(self.buffer, entry, batch_header)))
            except BufferFull:
                assert not fits, "there was room for it"
            else:
                assert fits, "there was no room for it"
                size += len(entry)
        for entry, answer in answers:
            number = answer if isinstance(answer, int) else await answer
            assert all(number > other for other, _, _ in self.waiting)
            self.waiting.append((number, entry, batch_header))
        if answers:
            assert self.heard.last == self.waiting[-1][0]

    @rule(max_events=st.integers(1, 12), max_bytes=st.integers(1, 200))
    def claim(self, max_events: int, max_bytes: int) -> None:
        claim = self.run(self.buffer.claim(max_events, max_bytes))
        if claim is None:
            assert not self.waiting
            return
        taken, self.waiting = self.waiting[: len(claim)], self.waiting[len(claim) :]
        assert 1 <= len(claim) <= max_events
        assert list(zip(claim.numbers, claim.entries, strict=True)) == [(number, entry) for number, entry, _ in taken]
        assert {claim.batch_header} == {batch_header for _, _, batch_header in taken}
        assert claim.size <= max_bytes or len(claim) == 1
        self.claimed.append(claim)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), end=st.sampled_from(["ack", "release", "bury"]))
    def end(self, data: st.DataObject, end: str) -> None:
        claim = self.claimed.pop(data.draw(st.integers(0, len(self.claimed) - 1)))
        if len(claim) > 1 and data.draw(st.booleans()):
            indices = data.draw(st.sets(st.integers(0, len(claim) - 1), min_size=1, max_size=len(claim) - 1))
            self.claimed.append(claim.only([index for index in range(len(claim)) if index not in indices]))
            claim = claim.only(sorted(indices))
        if end == "ack":
            self.run(self.buffer.ack(claim))
        elif end == "bury":
            self.run(self.buffer.bury(claim, Cause("told so", 400, b"{}", 5.0)))
            self.buried += claim.entries
        else:
            self.run(self.buffer.release(claim))
            self.waiting += [
                (number, entry, claim.batch_header) for number, entry in zip(claim.numbers, claim.entries, strict=True)
            ]
            self.waiting.sort()

    @rule(size=st.integers(0, 250))
    def make_room(self, size: int) -> None:
        dropped = list(self.run(self._make_room(size)))
        gone, self.waiting = self.waiting[: len(dropped)], self.waiting[len(dropped) :]
        assert dropped == [number for number, _, _ in gone]
        claimed = sum(claim.size for claim in self.claimed)
        if dropped:
            assert claimed + size <= self.contract.max_bytes
            last = len(gone[-1][1])
            assert self.size + size <= self.contract.max_bytes < self.size + last + size
        else:
            assert claimed + size > self.contract.max_bytes or self.size + size <= self.contract.max_bytes

    async def _make_room(self, size: int) -> Any:
        return self.buffer.make_room(size)

    @rule()
    def letters(self) -> None:
        letters = self.run(self.buffer.dead_letters())
        assert sorted(letter.entry for letter in letters) == sorted(self.buried)
        assert {letter.cause for letter in letters} <= {Cause("told so", 400, b"{}", 5.0)}

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        letters = self.run(self.buffer.dead_letters())
        gone = [letter for letter in letters if data.draw(st.booleans())]
        self.run(self.buffer.forget([letter.id for letter in gone]))
        for letter in gone:
            self.buried.remove(letter.entry)

    @precondition(lambda self: self.buffer.durable and self.steps > 1)
    @rule()
    def restart(self) -> None:
        """Close: that keeps all that has not ended, and nothing that has."""
        self.run(self.buffer.close())
        self._reopen()

    @precondition(lambda self: self.buffer.durable and self.steps > 1)
    @rule()
    def crash(self) -> None:
        """Die: that keeps all that has not ended. What has just ended may come back, so let it be written first."""
        self.run(self.buffer.dead_letters())
        folder = self.contract.crash(self.buffer, self.folder)
        self.run(self.buffer.close())
        self.folder = folder
        self._reopen()

    def _reopen(self) -> None:
        self.steps = 0
        self.heard = RecordingListener()
        self.buffer = self.contract.lane(self.folder)
        self.run(self.buffer.open(self.heard))
        self.run(self.buffer.recover())
        expected = {entry for _, entry, _ in self.waiting} | {
            entry for claim in self.claimed for entry in claim.entries
        }
        self.waiting, self.claimed = [], []
        while (claim := self.run(self.buffer.claim(1000, 1_000_000))) is not None:
            self.waiting += [
                (number, entry, claim.batch_header) for number, entry in zip(claim.numbers, claim.entries, strict=True)
            ]
            self.claimed.append(claim)
        numbers = [number for number, _, _ in self.waiting]
        assert numbers == sorted(set(numbers))
        assert self.heard.recovered_events == len(numbers)
        assert self.heard.last == (numbers[-1] if numbers else 0)
        found = [entry for _, entry, _ in self.waiting]
        assert len(found) == len(set(found))
        assert set(found) == expected
        assert found == sorted(found, key=lambda entry: int(entry.split(b":")[0]))
        for claim in self.claimed:
            self.run(self.buffer.release(claim))
        self.claimed = []
        dead = sorted(letter.entry for letter in self.run(self.buffer.dead_letters()))
        assert dead == sorted(self.buried)

    @invariant()
    def depth_adds_up(self) -> None:
        depth = self.buffer.depth()
        assert depth.bytes == self.size
        assert depth.events == len(self.waiting) + sum(map(len, self.claimed))
