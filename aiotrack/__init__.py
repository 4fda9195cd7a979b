"""Asyncio-native event tracking: one awaitable call, durable and isolated delivery, plugins."""

from typing import TYPE_CHECKING

from . import errors, hookspecs
from .batch import Answer, Batch, Request
from .buffer import Buffer
from .catalog import Catalog, Metric
from .client import Client
from .dead import Cause, DeadLetter
from .destination import Destination
from .encoding import check_attributes, dumps
from .event import NO_TAGS, Event, Problem, Reason, Refusal
from .http_destination import HTTPDestination
from .markers import hookimpl
from .memory_buffer import MemoryBuffer
from .plugin import Plugin
from .result import Delivered, Rejected, TrackResult, Unknown
from .retry import Verdict
from .signals import close_on_signal
from .stats import LaneStats, PluginStats, Report, Stats
from .tags import ReservedTag
from .user import UserContext

if TYPE_CHECKING:
    from .file_buffer import FileBuffer
    from .local_store import LocalStore
    from .spill_buffer import SpillBuffer

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
    "Plugin",
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
    "Verdict",
    "__version__",
    "check_attributes",
    "close_on_signal",
    "dumps",
    "errors",
    "hookimpl",
    "hookspecs",
]

# What stands on SQLite is imported when it is first asked for: it is a third of what importing aiotrack would cost.
_LATER = {"FileBuffer": "file_buffer", "LocalStore": "local_store", "SpillBuffer": "spill_buffer"}

if not TYPE_CHECKING:  # a type checker would take every name for one of this module

    def __getattr__(name: str) -> object:
        module = name if name in _LATER.values() else _LATER.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - an implementation detail of this function

        found = import_module(f".{module}", __name__)
        globals()[name] = found = found if name == module else getattr(found, name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
