"""What a segment file holds that has not ended, read some hundred records at a time."""

from __future__ import annotations

from collections.abc import Iterator

from .segment_file import SegmentFile

__all__ = ["waiting_in"]

AT_ONCE = 256  # records


def waiting_in(file: SegmentFile) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield index, payload and batch header of what had not ended and is sound. Raises OSError."""
    index, _ = file.load()
    wanted = [at for at, start in enumerate(index.starts) if start and not file.notes.has(at)]
    for first in range(0, len(wanted), AT_ONCE):
        some = wanted[first : first + AT_ONCE]
        payloads = file.read(index.starts_of(some), index.sizes_of(some), some)
        for at, payload in zip(some, payloads, strict=True):
            if payload is not None:
                yield at, payload, index.batch_header(at)[0]
