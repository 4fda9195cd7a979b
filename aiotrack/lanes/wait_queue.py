"""Callers whose event can't be accepted yet: admitted first come, first served, or rejected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import attrs

from aiotrack.model.clock import Clock, Timer
from aiotrack.model.errors import BufferFull
from aiotrack.model.result import SequenceNumber

__all__ = ["WaitQueue"]


@attrs.define(eq=False)
class _Caller:
    admit: Callable[[], SequenceNumber]
    timer: Timer
    size: int


class WaitQueue:
    """Callers in order. One that is cancelled just leaves.

    A caller that waited `timeout` seconds is rejected with `too_late`.
    """

    def __init__(self, clock: Clock, timeout: float, too_late: Callable[[], Exception]) -> None:
        self.callers: dict[asyncio.Future[int], _Caller] = {}  # by the answer they wait for, in order
        self.bytes = 0
        """Of what the callers bring."""
        self._clock = clock
        self._timeout = timeout
        self._too_late = too_late

    def hold(self, admit: Callable[[], SequenceNumber], size: int) -> asyncio.Future[int]:
        """Return a future of the entry's number. `admit` stores its `size` bytes, and raises BufferFull to wait on."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(self._timeout, lambda: self._reject(answer, self._too_late))
        self.callers[answer] = _Caller(admit, timer, size)
        self.bytes += size
        answer.add_done_callback(self._left)
        return answer

    def admit(self) -> None:
        """Admit callers until there is no room for one."""
        while self.callers:
            answer, caller = next(iter(self.callers.items()))
            if not answer.done():
                try:
                    number = caller.admit()
                except BufferFull:
                    return
                except Exception as exc:  # noqa: BLE001 - the caller is told, whatever it is
                    answer.set_exception(exc)
                else:
                    _pass_on(number, answer)
            self._remove(answer)

    def reject_all(self, reason: Callable[[], Exception]) -> None:
        """Reject all."""
        for answer in list(self.callers):
            self._reject(answer, reason)

    def _reject(self, answer: asyncio.Future[int], reason: Callable[[], Exception]) -> None:
        if not answer.done():
            answer.set_exception(reason())
        self._remove(answer)

    def _remove(self, answer: asyncio.Future[int]) -> None:
        caller = self.callers.pop(answer, None)
        if caller is not None:
            self.bytes -= caller.size
            caller.timer.cancel()

    def _left(self, answer: asyncio.Future[int]) -> None:
        """After a caller left by itself, admit those behind it."""
        if answer in self.callers:
            self._remove(answer)
            self.admit()


def _pass_on(number: SequenceNumber, answer: asyncio.Future[int]) -> None:
    """Hand a buffer's answer on to a caller, now or once it is known."""

    def done(number: asyncio.Future[int]) -> None:
        if answer.done():
            return
        if number.cancelled():
            answer.set_exception(BufferFull("the buffer was closed"))
        elif (exc := number.exception()) is not None:
            answer.set_exception(exc)
        else:
            answer.set_result(number.result())

    if isinstance(number, int):
        answer.set_result(number)
    else:
        number.add_done_callback(done)
