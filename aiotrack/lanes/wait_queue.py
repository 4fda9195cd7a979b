"""The waiting room: callers that can't go on yet are let in first come, first served, or turned away."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import attrs

from .clock import Clock, Timer
from .errors import BufferFull
from .result import Number

__all__ = ["WaitingRoom"]


@attrs.define(eq=False)
class _Caller:
    enter: Callable[[], Number]
    timer: Timer | None


class WaitingRoom:
    """Callers whose event can't be taken yet. A caller that is cancelled just leaves.

    A caller that waited `timeout` seconds (None: as long as it takes) is turned away with `too_late`.
    """

    def __init__(
        self, clock: Clock, timeout: float | None, too_late: Callable[[], Exception], *, closed: bool = False
    ) -> None:
        self.closed = closed  # nobody is let in, whoever leaves
        self.callers: dict[asyncio.Future[int], _Caller] = {}  # by the answer they wait for, in order
        self._clock = clock
        self._timeout = timeout
        self._too_late = too_late

    def hold(self, enter: Callable[[], Number]) -> asyncio.Future[int]:
        """Return a future of the entry's number. `enter` takes the event, and raises BufferFull to wait on."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        timer = None
        if self._timeout is not None:
            timer = self._clock.call_later(self._timeout, lambda: self._refuse(answer, self._too_late))
        self.callers[answer] = _Caller(enter, timer)
        answer.add_done_callback(self._gone)
        return answer

    def admit(self, most: int | None = None) -> None:
        """Let callers in, at most that many, until one can't be taken yet."""
        while self.callers and most != 0 and not self.closed:
            answer, caller = next(iter(self.callers.items()))
            if not answer.done():
                try:
                    number = caller.enter()
                except BufferFull:
                    return
                except Exception as exc:  # noqa: BLE001 - the caller is told, whatever it is
                    answer.set_exception(exc)
                else:
                    _pass_on(number, answer)
            self._leave(answer)
            most = None if most is None else most - 1

    def turn_away(self, reason: Callable[[], Exception], most: int | None = None) -> None:
        """Refuse all, or the first so many."""
        for answer in list(itertools.islice(self.callers, most)):
            self._refuse(answer, reason)

    def _refuse(self, answer: asyncio.Future[int], reason: Callable[[], Exception]) -> None:
        if not answer.done():
            answer.set_exception(reason())
        self._leave(answer)

    def _leave(self, answer: asyncio.Future[int]) -> None:
        caller = self.callers.pop(answer, None)
        if caller is not None and caller.timer is not None:
            caller.timer.cancel()

    def _gone(self, answer: asyncio.Future[int]) -> None:
        """Let a caller that left by itself make way for those behind it."""
        if answer in self.callers:
            self._leave(answer)
            self.admit()


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
