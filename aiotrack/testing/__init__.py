"""For tests: a real server whose answers are scripted, a clock that the test owns, contracts for what plugins bring."""

from .buffers import BufferContract
from .collector import Collector, Received, Reply
from .time import ManualClock, until
from .tracked import Tracked

__all__ = ["BufferContract", "Collector", "ManualClock", "Received", "Reply", "Tracked", "until"]
