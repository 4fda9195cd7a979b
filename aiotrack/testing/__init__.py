"""For tests: a real server whose answers are scripted, a clock that the test owns, contracts for what plugins bring.

Names are imported when they are first asked for (PEP 562): the pytest plugin is loaded by every test run of an
environment, and must cost nothing where nobody uses it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .buffers import BufferContract
    from .collector import Collector, Received, Reply
    from .destinations import DestinationContract, HTTPDestinationContract
    from .plugins import check_plugin
    from .shared_buffers import SharedBufferContract
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
    "SharedBufferContract",
    "Tracked",
    "check_plugin",
    "until",
]

_MODULES = {
    "buffers": ("BufferContract",),
    "shared_buffers": ("SharedBufferContract",),
    "collector": ("Collector", "Received", "Reply"),
    "destinations": ("DestinationContract", "HTTPDestinationContract"),
    "plugins": ("check_plugin",),
    "time": ("ManualClock", "until"),
    "tracked": ("Tracked",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

if not TYPE_CHECKING:  # a type checker would take every name for one of this module

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415 - an implementation detail of this function

        module = _MODULE_OF.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found = getattr(import_module(f".{module}", __name__), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
