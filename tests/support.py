"""Helpers of the tests."""

from __future__ import annotations

from collections.abc import Sequence

import aiotrack


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
