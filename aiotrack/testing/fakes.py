"""A destination that takes the place of another and sends nothing."""

from __future__ import annotations

from collections.abc import Sequence

import aiotrack

__all__ = ["FakeDestination"]


class FakeDestination(aiotrack.Destination):
    """Stands under another destination's name; encodes as that does where it can, and sends nothing."""

    kind = "fake"

    def __init__(self, real: aiotrack.Destination) -> None:
        super().__init__(name=real.name)
        self.real = real
        self.events = 0
        self.answers: list[aiotrack.Answer] = []
        self.max_batch_bytes = real.max_batch_bytes  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "lane":  # the real one is in use, and others may hand it events
            self.real.lane = self.lane

    def encode(self, event: aiotrack.Event) -> bytes:
        """Refuse what the real one would, unless it has yet to learn of its events."""
        knows = not self.real.needs_catalog or self.real.catalog is not None
        return self.real.encode(event) if knows else super().encode(event)

    def frame(self, entries: Sequence[bytes], batch_header: bytes, /) -> aiotrack.Request:
        """Join the events."""
        return aiotrack.Request(url=f"{self.name}:", body=batch_header + b"\n".join(entries))

    async def send(self, batch: aiotrack.Batch) -> aiotrack.Answer:
        """Count them as delivered, unless there are answers to give first."""
        if self.answers:
            return self.answers.pop(0)
        self.events += len(batch)
        return aiotrack.Answer()
