"""For tests: a real server whose answers are scripted, a clock that the test owns, contracts for what plugins bring."""

from .buffers import BufferContract
from .collector import Collector, Received, Reply
from .destinations import DestinationContract, HTTPDestinationContract
from .plugins import check_plugin
from .time import ManualClock, until
from .tracked import Tracked

__all__ = [
    "BufferContract",
    "Collector",
    "DestinationContract",
    "HTTPDestinationContract",
    "ManualClock",
    "Received",
    "Reply",
    "Tracked",
    "check_plugin",
    "until",
]
