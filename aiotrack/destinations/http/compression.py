"""Compressing the bodies of requests."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, Literal, get_args

from aiotrack.model.errors import ConfigError

__all__ = ["Compression", "compressor"]

Compression = Literal["gzip", "zstd"]


def compressor(name: str) -> Callable[[bytes], bytes]:
    """Return a function that compresses, always to the same bytes. Raises ConfigError."""
    if name == "gzip":
        import gzip  # noqa: PLC0415 - only those who compress pay for it

        return functools.partial(gzip.compress, compresslevel=6, mtime=0)
    if name == "zstd":
        try:
            zstandard: Any = importlib.import_module("zstandard")
        except ImportError as exc:
            raise ConfigError("compression: 'zstd' needs the package zstandard") from exc
        return lambda body: bytes(zstandard.ZstdCompressor().compress(body))
    raise ConfigError(f"compression: expected one of {', '.join(map(repr, get_args(Compression)))}, got {name!r}")
