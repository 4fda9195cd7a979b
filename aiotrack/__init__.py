"""Asyncio-native event tracking: one awaitable call, durable and isolated delivery, plugins."""

from . import errors, hookspecs
from .batch import Answer, Batch, Request
from .buffer import Buffer, MemoryBuffer
from .catalog import Catalog, Metric
from .client import Client
from .destination import Destination, HTTPDestination
from .event import NO_TAGS, Event, Problem, Reason, Refusal
from .local_store import LocalStore
from .markers import hookimpl
from .result import Delivered, Rejected, TrackResult, Unknown
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
    "Client",
    "Delivered",
    "Destination",
    "Event",
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
    "Stats",
    "TrackResult",
    "Unknown",
    "UserContext",
    "__version__",
    "errors",
    "hookimpl",
    "hookspecs",
]
