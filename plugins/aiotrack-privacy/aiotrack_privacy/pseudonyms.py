"""Pseudonyms by a key that changes: the same within a period, not to be linked across two."""

from __future__ import annotations

import hmac
import inspect
import math
from collections.abc import Callable
from typing import Any

import orjson

from aiotrack.errors import ConfigError

__all__ = ["Pseudonyms"]

SHORTEST = 16  # bytes of a key
SORTED = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME
MOST_PERIODS = 8  # whose keys are kept
Key = bytes | str | Callable[[int], bytes]


class Pseudonyms:
    """Makes 32 hexadecimal digits of a value: half of its HMAC-SHA256.

    `key` is a secret of at least 16 bytes, of which each period of `rotate` seconds (None: one without end) gets a key
    of its own; or a function that returns the key of a period, given its start in Unix seconds. Raises ConfigError.
    """

    def __init__(self, key: Key, rotate: float | None = 86_400.0) -> None:
        if isinstance(key, str):
            try:
                key = key.encode()
            except UnicodeEncodeError:
                raise ConfigError("key: expected text that UTF-8 can carry") from None
        if isinstance(key, bytes) and len(key) < SHORTEST:
            raise ConfigError(f"key: expected at least {SHORTEST} bytes, got {len(key)}")
        if not (isinstance(key, bytes) or (callable(key) and not inspect.iscoroutinefunction(key))):
            raise ConfigError(f"key: expected bytes, text or a plain function, got {type(key).__name__}")
        if rotate is not None and (
            isinstance(rotate, bool) or not isinstance(rotate, int | float) or not 1 <= rotate < math.inf
        ):
            raise ConfigError(f"rotate: expected seconds >= 1 or None, got {rotate!r}")
        self._key = key
        self._rotate = rotate
        self._keys: dict[int, bytes] = {}

    def __repr__(self) -> str:
        return f"<Pseudonyms, rotating every {self._rotate} s>"

    def of(self, value: object, timestamp: int) -> str:
        """Return a value's pseudonym at a time (Unix milliseconds)."""
        text = value.encode() if isinstance(value, str) else orjson.dumps(value, option=SORTED)
        return hmac.digest(self._key_at(timestamp), text, "sha256").hex()[:32]

    def _key_at(self, timestamp: int) -> bytes:
        period = 0 if self._rotate is None else int(timestamp / 1000 // self._rotate)
        key = self._keys.get(period)
        if key is None:
            most = 1 if callable(self._key) else MOST_PERIODS  # who gives keys may want them forgotten
            while len(self._keys) >= most:
                del self._keys[next(iter(self._keys))]
            key = self._keys[period] = self._make(period)
        return key

    def _make(self, period: int) -> bytes:
        if isinstance(self._key, bytes):
            return hmac.digest(self._key, b"aiotrack-privacy %d" % period, "sha256")
        made: Any = self._key(int(period * (self._rotate or 0)))
        if not isinstance(made, bytes) or len(made) < SHORTEST:
            raise ConfigError(f"key: the function must return at least {SHORTEST} bytes")
        return made
