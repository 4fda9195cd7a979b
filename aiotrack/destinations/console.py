"""The destination for a developer's eyes: prints each event."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO, Unpack

import orjson

from aiotrack.model.batch import Answer, Batch, Request
from aiotrack.model.log import printable
from aiotrack.model.mistakes import Mistakes
from aiotrack.model.worker import Worker

from .base import Destination, DestinationOptions

if TYPE_CHECKING:
    from aiotrack.model.host import Host

__all__ = ["Console"]

LONGEST = 100  # characters of a value
DIM, BOLD, CYAN, GREEN, RESET = "\x1b[2m", "\x1b[1m", "\x1b[36m", "\x1b[32m", "\x1b[0m"


class Console(Destination):
    """Print each event on a line: time, event, user, tags and attributes. For development.

    `values=False` prints the names of tags and attributes only, and neither values nor user. `colour` is for terminals:
    None means that there are colours where the stream is one, unless `NO_COLOR` is set. `stream` is where it prints
    (default: standard error). With `AIOTRACK_CONSOLE=1` in the environment every client has one. Raises ConfigError.
    """

    kind = "console"

    def __init__(
        self,
        *,
        values: bool = True,
        colour: bool | None = None,
        stream: TextIO | None = None,
        name: str | None = None,
        **options: Unpack[DestinationOptions],
    ) -> None:
        with Mistakes() as mistakes:
            mistakes.check(super().__init__, name=name, **options)
            if type(values) is not bool:
                mistakes.add(f"values: expected true or false, got {type(values).__name__}")
            if colour is not None and type(colour) is not bool:
                mistakes.add(f"colour: expected true, false or None, got {type(colour).__name__}")
            if stream is not None and not hasattr(stream, "write"):
                mistakes.add(f"stream: expected a text stream, got {type(stream).__name__}")
        self._values = values
        self._colour = colour
        self._stream = stream
        self._worker = Worker(self.name)

    async def start(self, client: Host) -> None:
        """Begin to print, in a thread of its own: a terminal may be slow."""
        self._worker = Worker(self.name)

    def frame(self, entries: Sequence[bytes], batch_header: bytes, /) -> Request:
        """Put events on lines."""
        return Request(method="PRINT", url="console:", body=b"\n".join(entries))

    async def send(self, batch: Batch) -> Answer:
        """Print them. A stream that is closed takes nothing, and that is all."""
        await self._worker.run(lambda: self._print(batch.entries))
        return Answer()

    def _print(self, entries: Sequence[bytes]) -> None:
        stream = self._stream if self._stream is not None else sys.stderr
        with contextlib.suppress(OSError, ValueError):
            coloured = _is_coloured(stream) if self._colour is None else self._colour
            stream.write("".join(f"{self._line(orjson.loads(entry), coloured)}\n" for entry in entries))
            stream.flush()

    def _line(self, event: dict[str, Any], coloured: bool) -> str:
        moment = (
            datetime.fromtimestamp(event["timestamp"] / 1000).astimezone() if _has_date(event["timestamp"]) else None
        )
        parts = [
            (DIM, f"{moment:%H:%M:%S}.{event['timestamp'] % 1000:03}" if moment else str(event["timestamp"])),
            (BOLD, _short(event["event"])),
            *([(CYAN, _short(event["user_id"]))] if self._values else []),
            (GREEN, self._pairs(event["tags"])),
            (DIM, self._pairs(event["attributes"], "user.")),
        ]
        return " ".join(f"{style}{text}{RESET}" if coloured else text for style, text in parts if text)

    def _pairs(self, values: Mapping[str, Any], before: str = "") -> str:
        if not self._values:
            return " ".join(f"{before}{_short(name)}" for name in values)
        return " ".join(
            f"{before}{_short(name)}={_short(orjson.dumps(value).decode())}" for name, value in values.items()
        )

    async def close(self) -> None:
        """End the thread, once all is printed."""
        self._worker.stop()


def _is_coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR")


def _has_date(timestamp: int) -> bool:
    """Tell whether Python's dates reach so far."""
    return 0 <= timestamp < 253_370_764_800_000  # the year 9999


def _short(text: str) -> str:
    """Return text on one line that is not too long, and that does nothing to a terminal."""
    return printable(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")
