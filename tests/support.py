"""Helpers of the tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiotrack
from aiotrack import errors
from aiotrack.buffers.memory import MemoryLaneBuffer


class Recorder(aiotrack.Destination):
    """A destination in memory: keeps what it is sent, and answers as it is told."""

    kind = "recorder"

    def __init__(self, *answers: aiotrack.Answer, name: str | None = None) -> None:
        super().__init__(name=name)
        self.batches: list[aiotrack.Batch] = []
        self.answers = list(answers)

    @property
    def events(self) -> list[bytes]:
        """All entries that were answered well."""
        return [entry for batch in self.batches for entry in batch.entries]

    def frame(self, entries: Sequence[bytes], batch_header: bytes) -> aiotrack.Request:
        return aiotrack.Request(url="recorder:", body=batch_header + b"[" + b",".join(entries) + b"]")

    async def send(self, batch: aiotrack.Batch) -> aiotrack.Answer:
        answer = self.answers.pop(0) if self.answers else aiotrack.Answer()
        if answer == aiotrack.Answer():
            self.batches.append(batch)
        return answer


class Final(Recorder):
    """One whose 404 is final for every event of the batch."""

    def judge(self, answer: aiotrack.Answer, now: float) -> aiotrack.Verdict:
        return aiotrack.Verdict("dead") if answer.status == 404 else super().judge(answer, now)


class Slow(MemoryLaneBuffer):
    """A durable buffer whose disk answers when the test says so."""

    durable = True

    def __init__(self, max_bytes=1 << 20):
        super().__init__(max_bytes)
        self.writing = []

    def for_lane(self, name):
        return self

    async def open(self, listener):
        self.listener = listener

    def append(self, entry, batch_header):
        promise = asyncio.get_running_loop().create_future()
        self.writing.append((promise, entry, batch_header))
        return promise

    def write(self):
        for promise, entry, batch_header in self.writing:
            number = super().append(entry, batch_header)
            self.listener.stored(number, 1, len(entry))
            if not promise.done():
                promise.set_result(number)
        self.writing.clear()

    def fail(self):
        waiting = [promise for promise, _, _ in self.writing if not promise.done()]
        for promise in waiting:
            promise.set_exception(errors.BufferFailed("disk"))
        self.listener.not_stored(errors.BufferFailed("disk"), len(self.writing), len(self.writing) - len(waiting))
        self.writing.clear()


def assert_conserved(client: aiotrack.Client) -> aiotrack.Stats:
    """Assert the conservation law on every lane."""
    stats = client.stats()
    for name, lane in stats.lanes.items():
        assert lane.accepted == lane.delivered + lane.dead + lane.dropped + lane.pending + lane.handed_over, (
            name,
            lane,
        )
        assert min(lane.accepted, lane.delivered, lane.dead, lane.dropped, lane.pending, lane.bytes_pending) >= 0
    return stats
