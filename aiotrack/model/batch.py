"""What goes out and what comes back: a framed batch of encoded events, and a destination's answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from .urls import origin

__all__ = ["TIMED_OUT", "Answer", "Batch", "Request"]

TIMED_OUT = "timeout"
"""`Answer.error` where none came in time: later batches are smaller, since this one may have been too slow."""


@attrs.frozen(kw_only=True)
class Request:
    """One request, ready to send. Its repr shows neither headers, query nor body."""

    url: str = attrs.field(repr=lambda url: repr(origin(url)))
    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")
    method: str = "POST"
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True)
class Batch:
    """Encoded events on their way to one destination; `len(batch)` is their number.

    `entries` are the events as they were encoded when tracked, `batch_header` is what they have in common,
    and `attempt` counts from 1. A retry has the same `request`, byte for byte.
    """

    destination: str
    entries: Sequence[bytes] = attrs.field(repr=lambda entries: f"<{len(entries)} events>")
    batch_header: bytes = attrs.field(default=b"", repr=False)
    request: Request
    attempt: int = 1

    def __len__(self) -> int:
        return len(self.entries)


@attrs.frozen(kw_only=True)
class Answer:
    """What came of one attempt to send.

    `status` is the HTTP status, None where none came. `error` names what went wrong on the way, as a
    class name or a short text without payload; an answer with neither status nor error is a success
    of a destination that does not speak HTTP. `body` is the server's answer, or the first 64 KiB of it.
    """

    status: int | None = None
    error: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)

    def __str__(self) -> str:
        """Say it in a few words, for a log line."""
        return str(self.error) if self.error else (f"HTTP {self.status}" if self.status is not None else "ok")
