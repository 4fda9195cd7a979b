"""The waiting room: callers that can't go on yet are let in first come, first served, or turned away."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import attrs

from .clock import Clock, Timer
from .errors import BufferFull
from .result import Number

__all__ = ["WaitingRoom"]


@attrs.define(eq=False)
class _Caller:
    enter: Callable[[], Number]
    answer: asyncio.Future[int]
    timer: Timer | None


class WaitingRoom:
    """Callers whose event can't be taken yet. A caller that is cancelled just leaves.

    A caller that waited `timeout` seconds (None: as long as it takes) is turned away with `too_late`.
    """

    def __init__(self, clock: Clock, timeout: float | None, too_late: Callable[[], Exception]) -> None:
        self.callers: deque[_Caller] = deque()
        self._clock = clock
        self._timeout = timeout
        self._too_late = too_late

    def hold(self, enter: Callable[[], Number]) -> asyncio.Future[int]:
        """Return a future of the entry's number. `enter` takes the event, and raises BufferFull to wait on."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        timer = None
        if self._timeout is not None:
            timer = self._clock.call_later(self._timeout, lambda: self._refuse(answer, self._too_late))
        self.callers.append(_Caller(enter, answer, timer))
        return answer

    def admit(self, most: int | None = None) -> None:
        """Let callers in, at most that many, until one can't be taken yet."""
        while self.callers and most != 0:
            caller = self.callers[0]
            if not caller.answer.done():
                try:
                    number = caller.enter()
                except BufferFull:
                    return
                except Exception as exc:  # noqa: BLE001 - the caller is told, whatever it is
                    caller.answer.set_exception(exc)
                else:
                    _pass_on(number, caller.answer)
            self._leave(caller)
            most = None if most is None else most - 1

    def turn_away(self, reason: Callable[[], Exception]) -> None:
        """Refuse all."""
        while self.callers:
            caller = self.callers[0]
            self._refuse(caller.answer, reason)
            self._leave(caller)

    def _refuse(self, answer: asyncio.Future[int], reason: Callable[[], Exception]) -> None:
        if not answer.done():
            answer.set_exception(reason())

    def _leave(self, caller: _Caller) -> None:
        if caller.timer is not None:
            caller.timer.cancel()
        self.callers.popleft()


def _pass_on(number: Number, answer: asyncio.Future[int]) -> None:
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
