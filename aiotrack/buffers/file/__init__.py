"""The buffer on disk: `buffer.py` is what a client is given, `lane_buffer.py` what a lane has of it."""

from .buffer import FileBuffer
from .lane_buffer import FileLaneBuffer

__all__ = ["FileBuffer", "FileLaneBuffer"]
