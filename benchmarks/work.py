"""What every benchmark tracks: one event of one user, and the bare loop's bytes for it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import orjson

import aiotrack
from aiotrack import hookimpl
from aiotrack.model.event import new_event_id

USER = "user123"
KEY = "purchase"
TAGS = {"revenue": 4200, "category": "shoes"}
ATTRIBUTES = {"logged_in": True}
BREATH = 64  # calls in one stretch before the event loop gets a turn


def floor_entry() -> bytes:
    """Return the bytes that the bare loop appends; they are those that aiotrack sends."""
    return orjson.dumps(
        {
            "event_id": new_event_id(),
            "event": KEY,
            "user_id": USER,
            "timestamp": int(time.time() * 1000),
            "attributes": ATTRIBUTES,
            "tags": TAGS,
            "revenue": 4200,
        }
    )


class Nowhere(aiotrack.Destination):
    """Encodes as every JSON destination does, and takes everything."""

    kind = "nowhere"

    def frame(self, entries: Sequence[bytes], batch_header: bytes) -> aiotrack.Request:
        return aiotrack.Request(url="nowhere:", body=b"")

    async def send(self, batch: aiotrack.Batch) -> aiotrack.Answer:
        return aiotrack.Answer()


class Checker:
    @hookimpl
    def aiotrack_check_event(self, event: aiotrack.Event) -> str | None:
        return None if len(event.key) < 100 else "the key is too long"


class Processor:
    @hookimpl
    def aiotrack_process_event(self, event: aiotrack.Event) -> aiotrack.Event:
        return event if event.session_id is None else event.replace(session_id=None)


class Enricher:
    @hookimpl
    async def aiotrack_enrich_event(self, event: aiotrack.Event) -> aiotrack.Event:
        return event


class Listener:
    def __init__(self) -> None:
        self.heard = 0

    @hookimpl
    def aiotrack_event_tracked(self, event: aiotrack.Event) -> None:
        self.heard += 1
