"""Everything that aiotrack raises.

AiotrackError
├── DocumentError (ValueError)  a document is wrong; names the key's path, what was expected and what came
│   └── ConfigError             it is a setting
├── PluginError                 a plugin can't be used, or raised while strict
├── StartError                  a destination, a buffer or a plugin could not start
├── StateError (RuntimeError)   the client is not in a state for this call
│   ├── NotStarted
│   ├── WrongLoop               or not on the event loop for it
│   └── ClientClosed
├── EventRefused (ValueError)   an event was refused, and `.refusal` says why; to callers with strict only
├── BufferFull                  a buffer has no room; to authors of destinations and buffers only
├── BufferFailed                raised by a Buffer that could not store an entry
└── EntriesLost                 raised by a Buffer that can't read what it had stored
"""

from .model.errors import (
    AiotrackError,
    BufferFailed,
    BufferFull,
    ClientClosed,
    ConfigError,
    DocumentError,
    EntriesLost,
    EventRefused,
    NotStarted,
    PluginError,
    StartError,
    StateError,
    WrongLoop,
    refusal_of,
)

__all__ = [
    "AiotrackError",
    "BufferFailed",
    "BufferFull",
    "ClientClosed",
    "ConfigError",
    "DocumentError",
    "EntriesLost",
    "EventRefused",
    "NotStarted",
    "PluginError",
    "StartError",
    "StateError",
    "WrongLoop",
    "refusal_of",
]
