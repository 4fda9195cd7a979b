"""Everything that aiotrack raises.

AiotrackError
├── DocumentError (ValueError)  a document is wrong; names the key's path, what was expected and what came
│   └── ConfigError             it is a setting
├── PluginError                 a plugin can't be used, or raised while strict
├── StartError                  a destination, a buffer or a plugin could not start
├── StateError (RuntimeError)   the client is not in a state for this call
│   ├── NotStarted
│   └── ClientClosed
├── EventRefused (ValueError)   strict only: an event was refused; `.refusal` says why
└── BufferFull                  raised by a Buffer that has no room
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .event import Refusal

__all__ = [
    "AiotrackError",
    "BufferFull",
    "ClientClosed",
    "ConfigError",
    "DocumentError",
    "EventRefused",
    "NotStarted",
    "PluginError",
    "StartError",
    "StateError",
]


class AiotrackError(Exception):
    """The root of all errors that aiotrack raises on purpose."""


class DocumentError(AiotrackError, ValueError):
    """A document is not what it should be. The text names the key's path, what was expected and what came."""


class ConfigError(DocumentError):
    """A setting is wrong."""


class PluginError(AiotrackError):
    """A plugin can't be registered, or (strict) raised. The text names plugin and hook."""


class StartError(AiotrackError):
    """A destination, buffer or plugin could not start. What had started before it was closed again."""


class StateError(AiotrackError, RuntimeError):
    """The client is not in a state that allows this call."""


class NotStarted(StateError):
    """The client has not been started: use `async with client` or `await client.start()`."""


class ClientClosed(StateError):
    """The client is closed. It never reopens: make a new one."""


class EventRefused(AiotrackError, ValueError):
    """An event was refused.

    A destination's `encode` raises it to refuse an event; `strict=True` raises it to the caller.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class BufferFull(AiotrackError):
    """The buffer has no room for this event now."""
