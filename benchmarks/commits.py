"""What a committed event costs, beside one in memory and beside a writer that does nothing else."""

from __future__ import annotations

import asyncio
import os
import queue
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiotrack
from aiotrack.buffers.base import Buffer

from .buffers import Down
from .rounds import Column, Figures, Results, Section, in_turn
from .work import ATTRIBUTES, KEY, TAGS, USER, floor_entry

Track = Callable[[], Coroutine[Any, Any, object]]


class BareWriter:
    """Length, CRC-32, write and fdatasync in a thread, a future a caller; who waits meanwhile shares the next."""

    def __init__(self, folder: str) -> None:
        self._file = os.open(f"{folder}/events", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._jobs: queue.SimpleQueue[list[tuple[bytes, asyncio.Future[None]]] | None] = queue.SimpleQueue()
        self._writing = False
        threading.Thread(target=self._write, daemon=True).start()

    def append(self, entry: bytes) -> asyncio.Future[None]:
        done = self._loop.create_future()
        self._waiting.append((entry, done))
        if not self._writing:
            self._begin()
        return done

    def _begin(self) -> None:
        self._writing, group, self._waiting = True, self._waiting, []
        self._jobs.put(group)

    def _write(self) -> None:
        while (group := self._jobs.get()) is not None:
            heads = (len(entry).to_bytes(4, "little") + zlib.crc32(entry).to_bytes(4, "little") for entry, _ in group)
            os.write(self._file, b"".join(head + entry for head, (entry, _) in zip(heads, group, strict=True)))
            os.fdatasync(self._file)
            self._loop.call_soon_threadsafe(self._written, group)

    def _written(self, group: list[tuple[bytes, asyncio.Future[None]]]) -> None:
        self._writing = False
        for _, done in group:
            done.set_result(None)
        if self._waiting:
            self._begin()

    def close(self) -> None:
        self._jobs.put(None)
        os.close(self._file)


async def _timed(track: Track, callers: int, events: int) -> Figures:
    async def call() -> None:
        for _ in range(events // callers):
            await track()

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(call() for _ in range(callers)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "us CPU": cpu / events * 1e6,
        "us an event": wall / events * 1e6,
        "us a caller waits": wall / events * 1e6 * callers,
    }


async def _bare(callers: int, events: int) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        writer, entry = BareWriter(folder), floor_entry()
        try:
            return await _timed(lambda: _awaited(writer.append(entry)), callers, events)
        finally:
            writer.close()


async def _awaited(done: asyncio.Future[None]) -> None:
    await done


async def _buffered(make: Callable[[Path], Buffer], callers: int, events: int) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        client = aiotrack.Client(Down(), buffer=make(Path(folder)), shutdown_timeout=1.0, flush_interval=3600)
        await client.start()
        user = client.create_user_context(USER, ATTRIBUTES)
        figures = await _timed(lambda: user.track_event(KEY, TAGS), callers, events)
        await client.aclose()
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.seg"))  # noqa: ASYNC240
        return {**figures, "bytes on disk beyond its own": max(size / events - len(floor_entry()), 0)}


def _section(callers: int, events: int) -> Section:
    def measure(rounds: int, _: int) -> Results:
        return in_turn(
            {
                "bare writer": lambda: asyncio.run(_bare(callers, events)),
                "memory": lambda: asyncio.run(_buffered(lambda _: aiotrack.MemoryBuffer(2**40), callers, events)),
                "file, sync=normal": lambda: asyncio.run(
                    _buffered(lambda folder: aiotrack.FileBuffer(folder, sync="normal"), callers, events)
                ),
                "file, sync=full": lambda: asyncio.run(_buffered(aiotrack.FileBuffer, callers, events)),
            },
            rounds,
            warm=True,
        )

    columns = (
        Column("us CPU"),
        Column("us an event"),
        Column("us a caller waits", "{:,.0f}"),
        Column("bytes on disk beyond its own", "{:.0f}"),
    )
    return Section(f"a committed event, {callers} callers", columns, "us CPU", measure)


SECTIONS = {"500": _section(500, 20_000), "1": _section(1, 1500)}
