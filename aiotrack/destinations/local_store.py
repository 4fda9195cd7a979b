"""The destination that needs no account: events in a SQLite file of your own."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import attrs
import orjson

from aiotrack.buffers.planted import refuse_planted
from aiotrack.model.batch import Answer, Batch, Request
from aiotrack.model.errors import StartError
from aiotrack.model.identity import Identity
from aiotrack.model.log import logger
from aiotrack.model.mistakes import Mistakes
from aiotrack.model.settings import file_path
from aiotrack.model.worker import Worker, off_loop

from .base import Destination, DestinationOptions

if TYPE_CHECKING:
    from aiotrack.model.host import Host

__all__ = ["EventSummary", "LocalStore"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    event_id   TEXT PRIMARY KEY,
    event      TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    timestamp  INTEGER NOT NULL,  -- Unix milliseconds
    revenue    INTEGER,           -- minor units
    value      REAL,
    tags       TEXT NOT NULL,     -- JSON
    attributes TEXT NOT NULL,     -- JSON
    context    TEXT NOT NULL      -- JSON: user_agent, ip_address, session_id and further reserved tags
) WITHOUT ROWID
"""
COLUMNS = ["event_id", "event", "user_id", "timestamp", "revenue", "value", "tags", "attributes", "context"]
INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (event_id) DO NOTHING"
SUMMARY = """
SELECT event, COUNT(*), COUNT(DISTINCT user_id), IIF(COUNT(revenue), CAST(TOTAL(revenue) AS INTEGER), NULL), SUM(value)
FROM events GROUP BY event ORDER BY COUNT(*) DESC, event
"""
CANT_STORE = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError, KeyError)
SIDECARS = ("-wal", "-shm")
BUSY = 5.0  # seconds to wait for another process that is writing


@attrs.frozen
class EventSummary:
    """One line of `LocalStore.summary`. `revenue` is in minor units; it and `value` are None if never set."""

    event: str
    count: int
    unique_users: int
    revenue: int | None
    value: float | None


class LocalStore(Destination):
    """Store events in a SQLite file, each event id once. Several clients and processes may share a file.

    The file is created with mode 0600; a batch counts as delivered when SQLite has committed and synced
    it. All file work is done by a thread of the store's own.
    """

    kind = "local"

    def __init__(
        self,
        path: str | os.PathLike[str] = "aiotrack.db",
        *,
        name: str | None = None,
        **options: Unpack[DestinationOptions],
    ) -> None:
        with Mistakes() as mistakes:
            mistakes.check(super().__init__, name=name, **options)
            mistakes.check(file_path, "path", "file", path)
        self.path = Path(path)
        self._absolute = self.path.absolute()  # the process may change its directory
        self._worker: Worker | None = None
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    @property
    def identity(self) -> Identity:
        """What its events are for: the file."""
        return Identity(self.kind, str(self._absolute))

    async def start(self, client: Host) -> None:
        """Open the file, or create it. Raises StartError where that is not possible."""
        self._worker = Worker(self.name)
        try:
            await self._worker.run(self._open)
        except BaseException as exc:
            await self.close()
            if not isinstance(exc, OSError | sqlite3.Error):
                raise
            raise StartError(f"destination {self.name!r}: can't use {str(self.path)!r}: {exc}") from exc

    def frame(self, entries: Sequence[bytes], batch_header: bytes, /) -> Request:
        """Join the events to a JSON array; it is taken apart again on the store's own thread."""
        return Request(method="INSERT", url=self.path.name, body=b"[" + b",".join(entries) + b"]")

    async def send(self, batch: Batch) -> Answer:
        """Insert the events in one transaction."""
        if self._worker is None:
            return Answer(error="not open")
        try:
            await self._worker.run(lambda: self._insert(batch.request.body))
        except CANT_STORE as exc:
            return Answer(status=422, error=type(exc).__name__)
        except (OSError, sqlite3.Error) as exc:
            return Answer(error=f"{type(exc).__name__}: {exc}")
        return Answer()

    def _insert(self, body: bytes) -> None:
        if self._db is None or _identity(self._absolute) != self._file:
            self._open()  # somebody has moved or deleted the file: begin a new one
        assert self._db is not None  # noqa: S101 - just opened
        _insert(self._db, body)

    def _open(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        self._db = _open(self._absolute)
        self._file = _identity(self._absolute)

    async def close(self) -> None:
        """Close the file."""
        db, self._db = self._db, None
        worker, self._worker = self._worker, None
        if worker is not None:
            try:
                if db is not None:
                    await worker.run(db.close)
            finally:
                worker.stop()

    async def summary(self) -> list[EventSummary]:
        """Count what the file holds, by event, the most frequent first. Works whether or not a client uses it."""
        return await off_loop("summary", self._read_summary)

    def _read_summary(self) -> list[EventSummary]:
        with closing(sqlite3.connect(f"{self._absolute.as_uri()}?mode=ro", uri=True, timeout=BUSY)) as db:
            return [EventSummary(*row) for row in db.execute(SUMMARY)]


def _open(path: Path) -> sqlite3.Connection:
    refuse_planted(path)
    # SQLite would create it with the process's umask; its -wal and -shm files copy this file's mode.
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        _keep_private(path, descriptor)
    finally:
        os.close(descriptor)
    db = sqlite3.connect(path.absolute(), timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(SCHEMA)
        columns = [row[1] for row in db.execute("PRAGMA table_info(events)")]
        if columns != COLUMNS:
            raise sqlite3.DatabaseError(f"its table events has other columns: {', '.join(columns)}")
    except BaseException:
        db.close()
        raise
    return db


def _keep_private(path: Path, descriptor: int) -> None:
    """Take a store away from the eyes of everybody, and say so. Raises PermissionError where it is another user's."""
    found = os.fstat(descriptor)
    if not hasattr(os, "geteuid") or not found.st_mode & stat.S_IRWXO:
        return
    if found.st_uid != os.geteuid():
        why = f"everybody may use this file, and it is another user's (uid {found.st_uid})"
        raise PermissionError(errno.EPERM, why, str(path))
    for one in (path, *(path.with_name(path.name + beside) for beside in SIDECARS)):
        with contextlib.suppress(FileNotFoundError):
            one.chmod(0o600)
    logger.warning("%s could be used by everybody, and has mode 0600 now", path)


def _identity(path: Path) -> tuple[int, int] | None:
    """Tell one file from another that comes to bear its name."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _insert(db: sqlite3.Connection, body: bytes) -> None:
    rows = [_row(event) for event in orjson.loads(body)]
    db.execute("BEGIN IMMEDIATE")
    try:
        db.executemany(INSERT, rows)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _row(event: dict[str, Any]) -> tuple[Any, ...]:
    """Spread an encoded event over the columns; what has none goes to `context`."""
    row = (
        event.pop("event_id"),
        event.pop("event"),
        event.pop("user_id"),
        _bindable(event.pop("timestamp")),
        _bindable(event.pop("revenue", None)),
        _bindable(event.pop("value", None)),
        orjson.dumps(event.pop("tags")).decode(),
        orjson.dumps(event.pop("attributes")).decode(),
    )
    return (*row, orjson.dumps(event).decode())


def _bindable(value: Any) -> Any:
    """SQLite's integers have 63 bits and a sign; what is larger is kept as a float, the rest as JSON."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)
    return value if value is None or isinstance(value, int | float | str) else orjson.dumps(value).decode()
