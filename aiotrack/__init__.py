"""Asyncio-native event tracking: one awaitable call, durable and isolated delivery, plugins.

Names are imported when they are first asked for (PEP 562), so that importing this package costs next to nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import errors
    from .buffers.base import Buffer
    from .buffers.dead_letters import Cause, DeadLetter
    from .buffers.file import FileBuffer
    from .buffers.memory import MemoryBuffer
    from .buffers.spill import SpillBuffer
    from .client import Client
    from .destinations.base import Destination
    from .destinations.console import Console
    from .destinations.credentials import Secret
    from .destinations.http import HTTPDestination
    from .destinations.local_store import LocalStore
    from .hooks import hookspecs
    from .hooks.hookspecs import Plugin
    from .hooks.reserved_tags import ReservedTag
    from .model.batch import Answer, Batch, Request
    from .model.catalog import Catalog, Metric
    from .model.encoding import check_attributes, dumps
    from .model.event import NO_TAGS, Event
    from .model.health import Health, HealthStatus
    from .model.markers import hookimpl
    from .model.refusal import Problem, Reason, Refusal
    from .model.result import BulkFailure, BulkResult, Delivered, Rejected, TrackResult, Unknown
    from .model.stats import LaneStats, PluginStats, Report, Stats
    from .model.verdict import Verdict
    from .signals import close_on_signal
    from .sync.client import SyncClient
    from .sync.user import SyncUserContext
    from .tracking.context import UserContext
    from .tracking.current import current_user, track_event, use_user

__version__ = "0.1.0"

__all__ = [
    "NO_TAGS",
    "Answer",
    "Batch",
    "Buffer",
    "BulkFailure",
    "BulkResult",
    "Catalog",
    "Cause",
    "Client",
    "Console",
    "DeadLetter",
    "Delivered",
    "Destination",
    "Event",
    "FileBuffer",
    "HTTPDestination",
    "Health",
    "HealthStatus",
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
    "Secret",
    "SpillBuffer",
    "Stats",
    "SyncClient",
    "SyncUserContext",
    "TrackResult",
    "Unknown",
    "UserContext",
    "Verdict",
    "__version__",
    "check_attributes",
    "close_on_signal",
    "current_user",
    "dumps",
    "errors",
    "hookimpl",
    "hookspecs",
    "track_event",
    "use_user",
]

_MODULES = {
    "buffers.base": ("Buffer",),
    "buffers.dead_letters": ("Cause", "DeadLetter"),
    "buffers.file": ("FileBuffer",),
    "buffers.memory": ("MemoryBuffer",),
    "buffers.spill": ("SpillBuffer",),
    "client": ("Client",),
    "destinations.base": ("Destination",),
    "destinations.console": ("Console",),
    "destinations.credentials": ("Secret",),
    "destinations.http": ("HTTPDestination",),
    "destinations.local_store": ("LocalStore",),
    "hooks.hookspecs": ("Plugin",),
    "hooks.reserved_tags": ("ReservedTag",),
    "model.batch": ("Answer", "Batch", "Request"),
    "model.catalog": ("Catalog", "Metric"),
    "model.encoding": ("check_attributes", "dumps"),
    "model.event": ("NO_TAGS", "Event"),
    "model.health": ("Health", "HealthStatus"),
    "model.markers": ("hookimpl",),
    "model.refusal": ("Problem", "Reason", "Refusal"),
    "model.result": ("BulkFailure", "BulkResult", "Delivered", "Rejected", "TrackResult", "Unknown"),
    "model.stats": ("LaneStats", "PluginStats", "Report", "Stats"),
    "model.verdict": ("Verdict",),
    "signals": ("close_on_signal",),
    "sync.client": ("SyncClient",),
    "sync.user": ("SyncUserContext",),
    "tracking.context": ("UserContext",),
    "tracking.current": ("current_user", "track_event", "use_user"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
_SUBMODULES = {"errors": "errors", "extension": "extension", "hookspecs": "hooks.hookspecs", "testing": "testing"}

if not TYPE_CHECKING:  # a type checker would take every name for one of this module

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415 - an implementation detail of this function

        module = _SUBMODULES.get(name) or _MODULE_OF.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = import_module(f".{module}", __name__)
        globals()[name] = found = found if name in _SUBMODULES else getattr(found, name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
