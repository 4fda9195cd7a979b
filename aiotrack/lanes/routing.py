"""Which of a client's events a lane gets, by its destination's `only=`, and the names under which they are encoded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiotrack.destinations.base import Destination
from aiotrack.hooks.registration import is_ours
from aiotrack.model.encoding import encode_event
from aiotrack.model.routing import renamed
from aiotrack.model.tasks import PLUGIN_ERRORS, reraise_exit

if TYPE_CHECKING:
    from aiotrack.hooks.plugins import Plugins
    from aiotrack.model.event import Event
    from aiotrack.model.log import EpisodeLog
    from aiotrack.model.result import SequenceNumber

__all__ = ["Encode", "RoutedElsewhere", "Routing", "encoders_of"]

BASE_ENCODE = Destination.encode

Encode = Callable[["Event"], bytes]
Admit = Callable[["Event", float], "SequenceNumber | None"]


class RoutedElsewhere(Exception):
    """An event is none of this lane's."""


class Routing:
    """Counts the events of others, and keeps them out of a lane whose destination takes only some."""

    def __init__(self, destination: Destination, admit: Admit, plugins: Plugins, log: EpisodeLog) -> None:
        self.elsewhere = 0
        """Events that other lanes got, and not this one."""
        self._name = destination.name
        only = destination.only
        self._is_ours = None if only is None else plugins.timed(self._name, "only=", only, may_raise=False)
        self._admit_ours = admit
        self._log = log
        self.admit = admit if self._is_ours is None else self._admit

    def _admit(self, event: Event, wait: float) -> SequenceNumber | None:
        """Admit an event that is ours. Raises RoutedElsewhere for others, and what admitting one raises."""
        if not self._takes(event):
            raise RoutedElsewhere
        return self._admit_ours(event, wait)

    def _takes(self, event: Event) -> bool:
        assert self._is_ours is not None  # noqa: S101 - `admit` leads here only then
        try:
            return bool(self._is_ours(event))
        except PLUGIN_ERRORS as exc:  # the application's code
            reraise_exit(exc)
            message = "%s: only= raised %s; it gets no event that this happens with"
            self._log.once(logging.ERROR, (self._name, "only"), message, self._name, type(exc).__name__)
            return False


def encoders_of(destination: Destination, plugins: Plugins) -> tuple[Encode, Encode]:
    """Return what encodes an event for a destination: while a caller waits, who is told where strict; and later."""
    encode = _encoder_of(destination)
    if encode is encode_event or is_ours(destination):
        return encode, encode
    name, timed = destination.name, plugins.timed
    return timed(name, "encode", encode), timed(name, "encode", encode, may_raise=False)


def _encoder_of(destination: Destination) -> Encode:
    """Return what encodes an event, under the names that the destination knows."""
    # The base's own encoding is called without the method around it.
    inherited = getattr(destination.encode, "__func__", None) is BASE_ENCODE
    encode = encode_event if inherited else destination.encode
    names = destination.rename
    return (lambda event: encode(renamed(event, names))) if names else encode
