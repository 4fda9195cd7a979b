"""Receipts: how each event of one lane ended, told to those who wait for it."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Sequence

from aiotrack.model.result import Delivered, Receipt, Rejected, Unknown

__all__ = ["ReceiptTracker"]


class ReceiptTracker:
    """How each sequence number of one lane ended, for those who ask for receipts. Costs nothing until somebody does."""

    MOST_KEPT = 10_000  # ends that were no delivery, and gaps; older ones are answered with Unknown

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[Receipt]] = {}
        self._order: list[int] = []  # a heap of the numbers asked for
        self._undelivered: dict[int, Rejected | Unknown] = {}
        self._unclaimed: deque[tuple[int, int]] = deque()  # first and last numbers of what was never claimed here
        self._forgotten = 0  # the highest number whose end was forgotten
        self._closed_at: int | None = None  # the highest number up to which all had ended when the lane closed
        self._flushing: deque[tuple[int, asyncio.Future[None]]] = deque()  # ascending

    def undelivered(self, numbers: Sequence[int], receipt: Rejected | Unknown) -> None:
        """Note that these numbers won't be delivered, or not by this process."""
        self._undelivered.update(dict.fromkeys(numbers, receipt))
        if self._waiting:
            for number in numbers:
                self._answer(number, receipt)
        while len(self._undelivered) > self.MOST_KEPT:
            oldest = next(iter(self._undelivered))
            self._forgotten = max(self._forgotten, oldest)
            del self._undelivered[oldest]

    def unclaimed(self, first: int, last: int) -> None:
        """Note that these numbers were never claimed here; those that are not `undelivered` have an unknown end."""
        self._unclaimed.append((first, last))
        if len(self._unclaimed) > self.MOST_KEPT:
            self._forgotten = max(self._forgotten, self._unclaimed.popleft()[1])

    def ended_up_to(self, low: int) -> None:
        """Answer all who asked for a number up to this one."""
        while self._order and self._order[0] <= low:
            number = heapq.heappop(self._order)
            self._answer(number, self._end_of(number))

    def flushed_up_to(self, low: int) -> None:
        """End all flushes that wait for a number up to this one."""
        while self._flushing and self._flushing[0][0] <= low:
            _, ended = self._flushing.popleft()
            if not ended.done():
                ended.set_result(None)

    async def wait_up_to(self, number: int) -> None:
        """Wait until all numbers up to this one have ended, or the lane is closed."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (number, ended)
        self._flushing.append(waiting)
        try:
            await ended
        finally:
            if waiting in self._flushing:
                self._flushing.remove(waiting)

    async def receipt(self, number: int, *, ended: bool) -> Receipt:
        """Return how a number ended, after waiting for it if it hasn't; many may wait for the same."""
        if self._closed_at is not None:
            ended = number <= self._closed_at
        if ended or number in self._undelivered:
            return self._end_of(number)
        if self._closed_at is not None:
            return Unknown()
        future = self._waiting.get(number)
        if future is None:
            future = self._waiting[number] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._order, number)
        return await asyncio.shield(future)

    def _end_of(self, number: int) -> Receipt:
        if number in self._undelivered:
            return self._undelivered[number]
        is_unknown = number <= self._forgotten or any(first <= number <= last for first, last in self._unclaimed)
        return Unknown() if is_unknown else Delivered()

    def _answer(self, number: int, receipt: Receipt) -> None:
        future = self._waiting.pop(number, None)
        if future is not None and not future.done():
            future.set_result(receipt)

    def close(self, low: int) -> None:
        """Answer all who still wait: nobody will know of more than has ended by now."""
        self._closed_at = low
        for _, ended in self._flushing:
            if not ended.done():
                ended.set_result(None)
        for number in list(self._waiting):
            self._answer(number, Unknown())
