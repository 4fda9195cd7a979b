"""A lane's dead letters: listed, sent again, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import attrs

from aiotrack.model.errors import BufferFailed, BufferFull, EventRefused
from aiotrack.model.result import SequenceNumber

if TYPE_CHECKING:
    from aiotrack.buffers.base import LaneBuffer
    from aiotrack.buffers.dead_letters import DeadLetter

__all__ = ["LaneDeadLetters"]


class LaneDeadLetters:
    """The dead letters of one destination; `append` stores an entry that is encoded already."""

    def __init__(
        self, destination: str, buffer: LaneBuffer, append: Callable[[bytes, bytes, bool], SequenceNumber]
    ) -> None:
        self._destination = destination
        self._buffer = buffer
        self._append = append
        self._replaying = asyncio.Lock()

    async def list(self) -> list[DeadLetter]:
        """Return what is dead, oldest first."""
        letters = await self._buffer.dead_letters()
        return [attrs.evolve(letter, destination=self._destination) for letter in letters]

    async def replay(self, letters: Iterable[DeadLetter]) -> int:
        """Append this lane's dead letters again; return how many there was room for."""
        wanted = self._own(letters)
        replayed: list[int] = []
        async with self._replaying:
            try:
                for letter in await self._buffer.dead_letters():
                    if letter.id in wanted and await self._replay(letter):
                        replayed.append(letter.id)  # noqa: PERF401 - kept when it is cut short
            except (BufferFull, BufferFailed):
                pass  # the others stay dead letters
            finally:
                await asyncio.shield(self._buffer.forget(replayed))
        return len(replayed)

    async def _replay(self, letter: DeadLetter) -> bool:
        try:
            number = self._append(letter.entry, letter.batch_header, True)
        except EventRefused:
            return False
        if not isinstance(number, int):
            await number
        return True

    async def forget(self, letters: Iterable[DeadLetter]) -> None:
        """Delete this lane's dead letters."""
        await self._buffer.forget(self._own(letters))

    def _own(self, letters: Iterable[DeadLetter]) -> set[int]:
        return {letter.id for letter in letters if letter.destination == self._destination}
