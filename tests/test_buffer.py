"""The buffer in memory, held against a list that does the same slowly."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aiotrack import Buffer, MemoryBuffer
from aiotrack.buffer import Claim, Outcome
from aiotrack.errors import BufferFull, ConfigError

MAX_BYTES = 60


def run(coroutine):
    """Run what never waits."""
    return asyncio.run(coroutine)


class MemoryBufferModel(RuleBasedStateMachine):
    """Every entry is waiting, claimed or gone, in order, and the bytes add up."""

    def __init__(self):
        super().__init__()
        self.buffer = MemoryBuffer(MAX_BYTES)
        self.waiting: list[tuple[int, bytes, bytes]] = []
        self.released: list[Claim] = []
        self.claimed: list[Claim] = []
        self.last = 0

    @property
    def size(self):
        held = [entry for _, entry, _ in self.waiting]
        held += [entry for claim in (*self.claimed, *self.released) for entry in claim.entries]
        return sum(map(len, held))

    @rule(entry=st.binary(max_size=20), envelope=st.sampled_from([b"", b"a", b"b"]))
    def append(self, entry, envelope):
        if self.size + len(entry) > MAX_BYTES:
            with pytest.raises(BufferFull):
                self.buffer.append(entry, envelope)
        else:
            number = self.buffer.append(entry, envelope)
            assert number > self.last
            self.last = number
            self.waiting.append((number, entry, envelope))

    @rule(max_events=st.integers(1, 5), max_bytes=st.integers(1, 30))
    def claim(self, max_events, max_bytes):
        claim = run(self.buffer.claim(max_events, max_bytes))
        if self.released:
            assert claim == self.released.pop(0)
        elif not self.waiting:
            assert claim is None
            return
        else:
            assert 1 <= len(claim) <= max_events
            taken, self.waiting = self.waiting[: len(claim)], self.waiting[len(claim) :]
            assert list(claim.seqs) == [number for number, _, _ in taken]
            assert list(claim.entries) == [entry for _, entry, _ in taken]
            assert {claim.envelope} == {envelope for _, _, envelope in taken}
            total = sum(map(len, claim.entries))
            assert total <= max_bytes or len(claim) == 1
            if self.waiting and len(claim) < max_events and self.waiting[0][2] == claim.envelope:
                assert total + len(self.waiting[0][1]) > max_bytes
        self.claimed.append(claim)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def settle(self, data, outcome):
        claim = self.claimed.pop(data.draw(st.integers(0, len(self.claimed) - 1)))
        if len(claim) > 1 and data.draw(st.booleans()):
            claim, rest = claim.halves()
            self.claimed.append(rest)
        run(self.buffer.settle(claim, outcome))
        if outcome is Outcome.RELEASED:
            self.released.append(claim)

    @rule(size=st.integers(0, MAX_BYTES))
    def make_room(self, size):
        dropped = list(self.buffer.make_room(size))
        expected = []
        claimed = sum(len(entry) for claim in self.claimed for entry in claim.entries)
        while claimed + size <= MAX_BYTES and self.size + size > MAX_BYTES and (self.released or self.waiting):
            if self.released:
                expected += self.released.pop(0).seqs
            else:
                expected.append(self.waiting.pop(0)[0])
        assert dropped == expected

    @invariant()
    def depth_adds_up(self):
        depth = self.buffer.depth()
        assert depth.bytes == self.size <= MAX_BYTES
        assert depth.events == len(self.waiting) + sum(map(len, self.claimed + self.released))


TestMemoryBufferModel = MemoryBufferModel.TestCase
TestMemoryBufferModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_memory_buffer_is_a_buffer_and_each_lane_gets_its_own():
    buffer = MemoryBuffer(10)
    assert isinstance(buffer, Buffer)
    one, other = buffer.for_lane("one"), buffer.for_lane("other")
    one.append(b"x" * 10, b"")
    other.append(b"x" * 10, b"")
    assert one.depth() == other.depth()


@pytest.mark.parametrize("size", [0, -1, 1.5, "1", True, None])
def test_a_wrong_size_is_refused(size):
    with pytest.raises(ConfigError, match="max_bytes: expected an integer >= 1"):
        MemoryBuffer(size)
