"""The buffer on disk. `buffer.py` is its face; the other rooms are its own."""

from .buffer import FileBuffer

__all__ = ["FileBuffer"]
