"""What a type checker must understand of the public API; checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

import aiotrack
from aiotrack import hookimpl


class Memory(aiotrack.Destination):
    """A destination as a third party writes it."""

    kind = "memory"

    def encode(self, event: aiotrack.Event) -> bytes:
        """Encode."""
        return event.key.encode()

    def frame(self, entries: Sequence[bytes], batch_header: bytes) -> aiotrack.Request:
        """Frame."""
        return aiotrack.Request(url="memory:", body=b"".join(entries) + batch_header)

    async def send(self, batch: aiotrack.Batch) -> aiotrack.Answer:
        """Send."""
        assert_type(batch.attempt, int)
        assert_type(batch.request, aiotrack.Request)
        return aiotrack.Answer(status=200)


class Plugin:
    """A plugin keeps its types under the marker."""

    @hookimpl
    def aiotrack_check_event(self, event: aiotrack.Event) -> aiotrack.Problem | None:
        """Check."""
        return aiotrack.Problem("key", "short", "long") if len(event.key) > 10 else None


async def use() -> None:
    """Use every public call."""
    assert_type(Plugin().aiotrack_check_event(aiotrack.Event("k", "u")), aiotrack.Problem | None)
    client = aiotrack.Client(Memory(name="m"), Plugin(), batch_size=5, overflow="drop_oldest", block=["tags"])
    async with client as entered:
        assert_type(entered, aiotrack.Client)
        user = client.create_user_context("u", {"a": 1}, user_agent="UA", session_id=5)
        assert_type(user, aiotrack.UserContext)
        result = await user.track_event("k", {"revenue": 5}, event_id="x", timestamp=5, timeout=0.5)
        assert_type(result, aiotrack.TrackResult)
        assert_type(user.track_event_nowait("k"), aiotrack.TrackResult)
        assert_type(user.track_event_threadsafe("k").result(), aiotrack.TrackResult)
        assert_type(await client.track_event("k", {"id": "u"}), aiotrack.TrackResult)
        assert_type(result.accepted, tuple[str, ...])
        assert_type(await result.delivered(1.0), aiotrack.Delivered | aiotrack.Rejected | aiotrack.Unknown)
        many = await client.track_many([{"user_id": "u", "key": "k"}, aiotrack.Event("k", "u")])
        assert_type(many, aiotrack.BulkResult)
        assert_type(client.stats().total.accepted, int)
        assert_type(await client.flush(), aiotrack.Report)
        remove = client.on("aiotrack_event_tracked", print)
        remove()
    assert_type(await client.aclose(timeout=1), aiotrack.Report)
    assert_type(aiotrack.Client.from_config({}), aiotrack.Client)


def wrong() -> None:
    """Each of these must be an error."""
    aiotrack.Client(overflow="spill")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    aiotrack.Client().create_user_context(5.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    aiotrack.Event("k", "u").key = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


_ = aiotrack.Clietn  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
