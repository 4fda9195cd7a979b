"""What a client uses where its folder can't be used, if it was told so: memory, loudly."""

from __future__ import annotations

import asyncio
from typing import cast

from aiotrack.model.errors import AiotrackError
from aiotrack.model.log import logger

from .base import METHODS, MIB, BufferListener, LaneBuffer
from .memory import MemoryLaneBuffer

__all__ = ["with_fallback"]

ITS_OWN = {"open", "append"}


def with_fallback(buffer: LaneBuffer, max_bytes: int) -> LaneBuffer:
    """Return a buffer that is in memory, of no more than 64 MiB, where this one can't be opened."""
    return cast(LaneBuffer, _Fallback(buffer, MemoryLaneBuffer(min(max_bytes, 64 * MIB))))


class _Fallback:
    """One of two buffers: which one, is known once it is opened."""

    def __init__(self, wanted: LaneBuffer, memory: MemoryLaneBuffer) -> None:
        self._memory = memory
        self._use(wanted)

    def _use(self, buffer: LaneBuffer) -> None:
        self._buffer = buffer
        for name in METHODS:
            if name not in ITS_OWN:
                setattr(self, name, getattr(buffer, name))
        self.durable, self.lease = buffer.durable, buffer.lease
        self.max_bytes: int | None = getattr(buffer, "max_bytes", None)

    async def open(self, listener: BufferListener) -> None:
        """Open the wanted buffer, or the other."""
        try:
            await self._buffer.open(listener)
        except (OSError, AiotrackError) as exc:
            logger.error("events wait in memory, and are lost with this process: the buffer can't be used: %s", exc)
            await self._buffer.close()
            self._use(self._memory)
            await self._memory.open(listener)

    def append(self, entry: bytes, batch_header: bytes) -> int | asyncio.Future[int]:
        """Store an entry."""
        return self._buffer.append(entry, batch_header)

    @property
    def half_full(self) -> bool:
        """Whether bulk producers have to wait."""
        return bool(getattr(self._buffer, "half_full", False))

    @property
    def unsaved(self) -> int:
        """How many entries would be lost if the process ended now."""
        return int(getattr(self._buffer, "unsaved", 0 if self._buffer.durable else self._buffer.depth().events))
