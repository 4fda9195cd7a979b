"""Asyncio-native event tracking: one awaitable call, durable and isolated delivery, plugins."""

from . import errors, hookspecs
from .batch import Answer, Batch, Request
from .buffer import Buffer
from .catalog import Catalog, Metric
from .client import Client
from .dead import Cause, DeadLetter
from .destination import Destination
from .event import NO_TAGS, Event, Problem, Reason, Refusal
from .file_buffer import FileBuffer
from .http_destination import HTTPDestination
from .local_store import LocalStore
from .markers import hookimpl
from .memory_buffer import MemoryBuffer
from .result import Delivered, Rejected, TrackResult, Unknown
from .signals import close_on_signal
from .spill_buffer import SpillBuffer
from .stats import LaneStats, PluginStats, Report, Stats
from .tags import ReservedTag
from .user import UserContext

__version__ = "0.1.0"

__all__ = [
    "NO_TAGS",
    "Answer",
    "Batch",
    "Buffer",
    "Catalog",
    "Cause",
    "Client",
    "DeadLetter",
    "Delivered",
    "Destination",
    "Event",
    "FileBuffer",
    "HTTPDestination",
    "LaneStats",
    "LocalStore",
    "MemoryBuffer",
    "Metric",
    "PluginStats",
    "Problem",
    "Reason",
    "Refusal",
    "Rejected",
    "Report",
    "Request",
    "ReservedTag",
    "SpillBuffer",
    "Stats",
    "TrackResult",
    "Unknown",
    "UserContext",
    "__version__",
    "close_on_signal",
    "errors",
    "hookimpl",
    "hookspecs",
]
