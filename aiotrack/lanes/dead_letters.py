"""A lane's dead letters: listed, sent again, deleted."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs

from aiotrack.model.errors import BufferFailed, BufferFull, EventRefused
from aiotrack.model.result import SequenceNumber

if TYPE_CHECKING:
    from aiotrack.buffers.base import LaneBuffer
    from aiotrack.buffers.dead_letters import DeadLetter

__all__ = ["DeadLetters", "LaneDeadLetters"]

T = TypeVar("T")


class OnLoop(Protocol):
    """Runs a call on the client's event loop: `ClientLifecycle.on_loop`."""

    def __call__(self, call: str, function: Callable[[], Coroutine[Any, Any, T]]) -> Coroutine[Any, Any, T]: ...


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


class DeadLetters:
    """Those of all lanes. `on_loop` runs a call on the event loop of the client; `lanes` gives it each lane's."""

    def __init__(self, on_loop: OnLoop, lanes: Callable[[str], Sequence[LaneDeadLetters]]) -> None:
        self._on_loop = on_loop
        self._lanes = lanes

    async def list(self) -> builtins.list[DeadLetter]:
        """Return what is dead, by lane, oldest first. Raises StateError, as all of these."""

        async def listed() -> builtins.list[DeadLetter]:
            lanes = self._lanes("dead_letters")
            return [letter for lane in lanes for letter in await lane.list()]

        return await self._on_loop("dead_letters", listed)

    async def replay(self, letters: Collection[DeadLetter]) -> int:
        """Append dead letters again; return how many there was room for."""

        async def replayed() -> int:
            return sum([await lane.replay(letters) for lane in self._lanes("replay")])

        return await self._on_loop("replay", replayed)

    async def forget(self, letters: Collection[DeadLetter]) -> None:
        """Delete dead letters."""

        async def forgotten() -> None:
            for lane in self._lanes("forget"):
                await lane.forget(letters)

        await self._on_loop("forget", forgotten)
