"""What a spool says to SQLite: its tables, and its statements."""

import sqlite3
from contextlib import closing

__all__ = [
    "BURY",
    "DATE",
    "FORGET_TIMES",
    "INSERT",
    "LETTERS",
    "NEWEST_LETTERS",
    "READ",
    "SCHEMA",
    "SETTLE",
    "SYNC",
    "has_schema",
]

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    first    INTEGER PRIMARY KEY,  -- number of the row's first entry; the others follow
    last     INTEGER NOT NULL,
    sizes    BLOB NOT NULL,        -- of the entries, in bytes: 32 bits each, little-endian
    envelope BLOB NOT NULL,
    checksum INTEGER NOT NULL,     -- CRC-32 of sizes, envelope and entries
    joined   BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS settled (
    first    INTEGER PRIMARY KEY,
    last     INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS times (
    first    INTEGER PRIMARY KEY,  -- this entry and those after it were stored at that time, or up to a second later
    at       REAL NOT NULL,        -- Unix seconds
    checksum INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS dead (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    entry    BLOB NOT NULL,
    envelope BLOB NOT NULL,
    reason   TEXT NOT NULL,
    status   INTEGER,
    answer   BLOB NOT NULL,
    at       REAL NOT NULL,        -- Unix seconds
    checksum INTEGER NOT NULL
);
"""
INSERT = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)"
SETTLE = "INSERT INTO settled VALUES (?, ?, ?)"
DATE = "INSERT OR REPLACE INTO times VALUES (?, ?, ?)"
FORGET_TIMES = """
DELETE FROM times
WHERE first < (SELECT max(first) FROM times WHERE first <= coalesce((SELECT min(first) FROM entries), :next))
"""
BURY = "INSERT INTO dead (entry, envelope, reason, status, answer, at, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)"
LETTERS = "SELECT count(*), coalesce(sum(length(entry) + length(answer)), 0) FROM dead"
NEWEST_LETTERS = "SELECT id, length(entry) + length(answer) FROM dead ORDER BY id DESC"
READ = """
SELECT * FROM entries
WHERE first BETWEEN coalesce((SELECT max(first) FROM entries WHERE first <= :first), :first) AND :last
ORDER BY first
"""
SYNC = {"full": "FULL", "normal": "NORMAL"}


def has_schema(db: sqlite3.Connection) -> bool:
    """Tell whether a file has these tables, and no others."""
    tables = "SELECT name, sql FROM sqlite_schema ORDER BY name"
    with closing(sqlite3.connect(":memory:")) as sound:
        sound.executescript(SCHEMA)
        return list(db.execute(tables)) == list(sound.execute(tables))
