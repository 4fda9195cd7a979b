"""The waiting room before a full buffer: callers are let in first come, first served, or turned away."""

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
    entry: bytes
    envelope: bytes
    answer: asyncio.Future[int]
    timer: Timer


class WaitingRoom:
    """Callers whose entry does not fit yet. A caller that is cancelled just leaves."""

    def __init__(self, enter: Callable[[bytes, bytes], Number], clock: Clock, timeout: float) -> None:
        self._enter = enter
        self._clock = clock
        self._timeout = timeout
        self.callers: deque[_Caller] = deque()

    def hold(self, entry: bytes, envelope: bytes) -> asyncio.Future[int]:
        """Return a future of the entry's number; it ends in BufferFull when the caller waited too long."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def give_up() -> None:
            if not answer.done():
                answer.set_exception(BufferFull(f"the buffer stayed full for {self._timeout:g} s"))

        timer = self._clock.call_later(self._timeout, give_up)
        self.callers.append(_Caller(entry, envelope, answer, timer))
        return answer

    def admit(self) -> None:
        """Let callers in as far as there is room."""
        while self.callers:
            caller = self.callers[0]
            if not caller.answer.done():
                try:
                    number = self._enter(caller.entry, caller.envelope)
                except BufferFull:
                    return
                if isinstance(number, int):
                    caller.answer.set_result(number)
                else:
                    number.add_done_callback(_pass_on(caller.answer))
            caller.timer.cancel()
            self.callers.popleft()

    def turn_away(self, why: str) -> None:
        """Refuse all."""
        while self.callers:
            caller = self.callers.popleft()
            caller.timer.cancel()
            if not caller.answer.done():
                caller.answer.set_exception(BufferFull(why))


def _pass_on(answer: asyncio.Future[int]) -> Callable[[asyncio.Future[int]], None]:
    """Return a callback that hands a durable buffer's answer on to a caller."""

    def done(number: asyncio.Future[int]) -> None:
        if answer.done():
            return
        if number.cancelled():
            answer.set_exception(BufferFull("the buffer was closed"))
        elif (exc := number.exception()) is not None:
            answer.set_exception(exc)
        else:
            answer.set_result(number.result())

    return done
