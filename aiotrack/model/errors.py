"""The classes of what aiotrack raises; `aiotrack.errors` shows them as a tree."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from .refusal import Reason, Refusal
from .result import TrackResult

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
    "failure_of",
    "refusal_of",
]


class AiotrackError(Exception):
    """The root of all errors that aiotrack raises on purpose."""


class DocumentError(AiotrackError, ValueError):
    """A document is not what it should be. The text names the key's path, what was expected and what came."""


class ConfigError(DocumentError):
    """One or more settings are wrong: `mistakes` has a sentence for each, and the text has a line for each."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__(*mistakes)
        self.mistakes = mistakes

    def __str__(self) -> str:
        if len(self.mistakes) == 1:
            return self.mistakes[0]
        return "\n".join((f"{len(self.mistakes)} mistakes", *(f"- {mistake}" for mistake in self.mistakes)))


class PluginError(AiotrackError):
    """A plugin can't be registered, or (strict) raised. The text names plugin and hook."""


class StartError(AiotrackError):
    """A destination, buffer or plugin could not start. What had started before it was closed again."""


class StateError(AiotrackError, RuntimeError):
    """The client is not in a state that allows this call."""


class NotStarted(StateError):
    """The client has not been started: use `async with client` or `await client.start()`."""


class WrongLoop(StateError):
    """The call came from another thread, process or event loop than the client was started on."""


class ClientClosed(StateError):
    """The client is closed. It never reopens: make a new one."""


class EventRefused(AiotrackError, ValueError):
    """An event was refused.

    A destination's `encode` raises it to refuse an event, with a `Refusal` or a sentence; `strict=True` raises
    it to the caller.
    """

    def __init__(self, refusal: Refusal | str, result: TrackResult | None = None) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal if isinstance(refusal, Refusal) else Refusal(Reason.REFUSED_BY_PLUGIN, str(refusal))
        self.result = result
        """Strict: what the call would have returned; with several destinations, others may have accepted the event."""


class BufferFull(AiotrackError):
    """The buffer has no room for this event now."""


class BufferFailed(AiotrackError):
    """The buffer could not store an entry (a full disk, say), and has not taken it."""


class EntriesLost(AiotrackError):
    """Entries of the buffer can't be read any more, and are gone; `numbers` are theirs."""

    def __init__(self, numbers: Sequence[int], why: str) -> None:
        super().__init__(f"{len(numbers)} entries: {why}")
        self.numbers = numbers
        self.why = why


def failure_of(number: asyncio.Future[int]) -> BaseException | None:
    """Return why a buffer did not store what it had promised, or None; a future that it cancelled is a failure, too."""
    return BufferFailed("the buffer cancelled it") if number.cancelled() else number.exception()


def refusal_of(exc: BaseException) -> Refusal:
    """Return the refusal that a buffer's exception means for an event."""
    if isinstance(exc, EventRefused):
        return exc.refusal
    if isinstance(exc, BufferFull):
        return Refusal(Reason.BUFFER_FULL, str(exc))
    if isinstance(exc, BufferFailed):
        return Refusal(Reason.BUFFER_ERROR, str(exc))
    return Refusal(Reason.BUFFER_ERROR, type(exc).__name__)
