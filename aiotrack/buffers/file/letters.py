"""The dead letters in a file; the oldest make way."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from aiotrack.buffers.dead_letters import MOST, MOST_BYTES, DeadLetter

from . import sql
from .rows import is_sound_letter, letter_of, packed_letter

__all__ = ["Letters"]


class Letters:
    """One file's table of dead letters. What writes belongs into a transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._letters = self._bytes = 0

    def load(self) -> None:
        """Learn what is in the file. Raises LookupError for damage."""
        self.all()
        self._letters, self._bytes = self._db.execute(sql.LETTERS).fetchone()

    def all(self) -> list[DeadLetter]:
        """Return them, oldest first. Raises LookupError for damage."""
        rows = list(self._db.execute("SELECT * FROM dead ORDER BY id"))
        if not all(is_sound_letter(row[1:]) for row in rows):
            raise LookupError("a dead letter is damaged")
        return [letter_of(row[0], row[1:]) for row in rows]

    def bury(self, letters: Iterable[DeadLetter]) -> None:
        """Add some; the oldest make way, some hundred at a time, so that counting them is rare."""
        rows = [packed_letter(letter) for letter in letters]
        if not rows:
            return
        self._db.executemany(sql.BURY, rows)
        self._letters += len(rows)
        self._bytes += sum(len(row[0]) + len(row[4]) for row in rows)
        if self._letters <= MOST and self._bytes <= MOST_BYTES:
            return
        size = count = 0
        for number, length in self._db.execute(sql.NEWEST_LETTERS).fetchall():
            if count and (count + 1 > MOST * 0.95 or size + length > MOST_BYTES * 0.95):
                self._db.execute("DELETE FROM dead WHERE id <= ?", (number,))
                break
            size, count = size + length, count + 1
        self._letters, self._bytes = count, size
