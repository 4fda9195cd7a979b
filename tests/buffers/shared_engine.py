"""An engine that several processes share, as Redis or a database would be: in memory, with a time that tests move."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path

import attrs

from aiotrack.errors import BufferFull
from aiotrack.extension import BufferListener, Cause, Claim, DeadLetter, DeadLetters, Depth, Requeued

LEASE = 30.0


@attrs.define
class Row:
    """One entry; `holder` has claimed it until `until`, or has appended it and not claimed it yet."""

    entry: bytes
    batch_header: bytes
    appended_by: object
    holder: object = None
    until: float = 0.0


class Engine:
    """The server."""

    def __init__(self):
        self.now = 0.0
        self.rows: dict[int, Row] = {}
        self.last = 0
        self.dead = DeadLetters()

    @property
    def size(self):
        return sum(len(row.entry) for row in self.rows.values())

    def is_free(self, row):
        return row.holder is None or row.until <= self.now


ENGINES: dict[tuple[Path, str], Engine] = {}


class SharedBuffer:
    """What `buffer=` takes; one made with the same folder is another process with the same engine."""

    def __init__(self, folder, max_bytes=1 << 20):
        self.folder = folder
        self.max_bytes = max_bytes

    def for_lane(self, name):
        return SharedLaneBuffer(ENGINES.setdefault((self.folder, name), Engine()), self.max_bytes)


def copied_engines(folder, to):
    """Have a folder whose engines are as those of another are now, and the leases of its processes run out."""
    for (owner, name), engine in list(ENGINES.items()):
        if owner == folder:
            twin = ENGINES[to, name] = Engine()
            twin.last, twin.now = engine.last, engine.now + 2 * LEASE
            twin.rows = {
                number: attrs.evolve(row, appended_by=None, holder=None) for number, row in engine.rows.items()
            }
            twin.dead = copy.deepcopy(engine.dead)


class SharedLaneBuffer:
    """One process's view: it counts what it appended, and what of others it has claimed."""

    durable = True
    lease = LEASE

    def __init__(self, engine, max_bytes):
        self.engine = engine
        self.max_bytes = max_bytes
        self.listener: BufferListener | None = None
        self.next = 1
        self.numbers: dict[int, int] = {}  # by the engine's number, of what is counted here
        self.claimed: dict[int, int] = {}  # the engine's numbers, by ours
        self.requeued = Requeued()

    async def open(self, listener):
        self.listener = listener
        await self.recover()

    async def recover(self):
        """Claim what is free and others had appended; and learn what of ours others have claimed."""
        gone = [
            (at, number)
            for at, number in self.numbers.items()
            if number not in self.claimed and (at not in self.engine.rows or not self._is_ours(self.engine.rows[at]))
        ]
        for at, _ in gone:
            del self.numbers[at]
        if gone:
            self.listener.handed_over([number for _, number in gone])
        found = 0
        for at, row in self.engine.rows.items():
            if at not in self.numbers and self.engine.is_free(row) and row.appended_by is not self:
                row.holder, row.until = self, self.engine.now + LEASE
                number = self._number(at)
                self.claimed[number] = at
                self.requeued.add(Claim([number], [row.entry], row.batch_header))
                found += 1
        if found:
            self.listener.recovered(self.next - 1, found)

    def _is_ours(self, row):
        return row.holder in (None, self) or row.until <= self.engine.now

    def _number(self, at):
        number, self.next = self.next, self.next + 1
        self.numbers[at] = number
        return number

    def append(self, entry, batch_header):
        if self.engine.size + len(entry) > self.max_bytes:
            raise BufferFull("full")
        self.engine.last += 1
        self.engine.rows[self.engine.last] = Row(entry, batch_header, self)
        number = self._number(self.engine.last)
        stored = asyncio.get_running_loop().create_future()

        def store():
            self.listener.stored(number, 1, len(entry))
            if not stored.done():
                stored.set_result(number)

        asyncio.get_running_loop().call_soon(store)
        return stored

    def make_room(self, size):
        dropped = []
        held = sum(len(self.engine.rows[at].entry) for at in self.claimed.values()) - self._requeued_size()
        if held + size > self.max_bytes:
            return dropped
        while self.engine.size + size > self.max_bytes and (oldest := self._next(1, 1)) is not None:
            dropped += oldest.numbers
            self._end(oldest)
        return dropped

    def _requeued_size(self):
        return sum(len(entry) for _, entry, _, _ in self.requeued._entries)

    async def claim(self, max_events, max_bytes):
        return self._next(max_events, max_bytes)

    def _next(self, max_events, max_bytes):
        while (requeued := self.requeued.claim(max_events, max_bytes)) is not None:
            if (claim := self._still_ours(requeued)) is not None:
                return claim
        claim, size = [], 0
        for at, number in self.numbers.items():
            row = self.engine.rows.get(at)
            if number in self.claimed or row is None or not self._is_ours(row):
                continue
            size += len(row.entry)
            header = claim[0][2].batch_header if claim else row.batch_header
            if len(claim) == max_events or row.batch_header != header or (claim and size > max_bytes):
                break
            claim.append((at, number, row))
        for at, number, row in claim:
            row.holder, row.until = self, self.engine.now + LEASE
            self.claimed[number] = at
        if not claim:
            return None
        rows = [row for _, _, row in claim]
        return Claim([number for _, number, _ in claim], [row.entry for row in rows], rows[0].batch_header)

    def _still_ours(self, claim):
        """Hold what was put back for another lease, but for what another process has claimed meanwhile."""
        kept, lost = [], []
        for index, number in enumerate(claim.numbers):
            at = self.claimed[number]
            row = self.engine.rows.get(at)
            if row is not None and row.holder is self:
                row.until = self.engine.now + LEASE
                kept.append(index)
            else:
                del self.claimed[number], self.numbers[at]
                lost.append(number)
        if lost:
            self.listener.handed_over(lost)
        return claim.only(kept) if kept else None

    async def renew(self, claim):
        for number in claim.numbers:
            row = self.engine.rows.get(self.claimed[number])
            if row is not None and row.holder is self:
                row.until = self.engine.now + LEASE

    async def ack(self, claim):
        self._end(claim)

    def _end(self, claim):
        for number in claim.numbers:
            at = self.claimed.pop(number)
            del self.numbers[at]
            if at in self.engine.rows and self.engine.rows[at].holder is self:
                del self.engine.rows[at]

    async def release(self, claim):
        self.requeued.add(claim)

    async def bury(self, claim, cause):
        self.engine.dead.add(claim.entries, claim.batch_header, cause)
        self._end(claim)

    async def dead_letters(self) -> list[DeadLetter]:
        return list(self.engine.dead)

    async def forget(self, ids):
        self.engine.dead.forget(ids)

    def depth(self):
        rows = [self.engine.rows[at] for at in self.numbers if at in self.engine.rows]
        return Depth(len(self.numbers), sum(len(row.entry) for row in rows))

    async def close(self):
        for at in self.claimed.values():
            if at in self.engine.rows and self.engine.rows[at].holder is self:
                self.engine.rows[at].holder = None
        for row in self.engine.rows.values():
            if row.appended_by is self:
                row.appended_by = None
        self.requeued.clear()
        return 0


__all__ = ["ENGINES", "LEASE", "Cause", "SharedBuffer", "copied_engines"]
