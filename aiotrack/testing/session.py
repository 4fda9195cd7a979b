"""What a test run does to every client: no event leaves, none is left open, time may stand still."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import threading
import traceback
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

import aiotrack
from aiotrack.event import Event, Refusal
from aiotrack.log import logger
from aiotrack.state import State

from .tracked import Tracked

if TYPE_CHECKING:
    from aiotrack.clock import Clock
    from aiotrack.life import Life

__all__ = ["StandIn", "Watch"]

LIBRARIES = (
    *(str(Path(package.__file__ or "").parent) + os.sep for package in (aiotrack, asyncio)),
    *(str(module.__file__) for module in (contextlib, threading)),
)


class StandIn(aiotrack.Destination):
    """Takes the place of a destination, under its name; encodes as that does where it can, and sends nothing."""

    kind = "stand-in"

    def __init__(self, real: aiotrack.Destination) -> None:
        super().__init__(name=real.name)
        self.real = real
        self.events = 0
        self.answers: list[aiotrack.Answer] = []
        self.max_batch_bytes = real.max_batch_bytes  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "port":  # the real one is in use, and may be handed events by others
            self.real.port = self.port

    def encode(self, event: aiotrack.Event) -> bytes:
        """Refuse what the real one would, unless it has yet to learn of its events."""
        knows = not self.real.needs_catalog or self.real.catalog is not None
        return self.real.encode(event) if knows else super().encode(event)

    def frame(self, entries: Sequence[bytes], envelope: bytes) -> aiotrack.Request:
        """Join the events."""
        return aiotrack.Request(url=f"{self.name}:", body=envelope + b"\n".join(entries))

    async def send(self, batch: aiotrack.Batch) -> aiotrack.Answer:
        """Take them, unless there are answers to give first."""
        if self.answers:
            return self.answers.pop(0)
        self.events += len(batch)
        return aiotrack.Answer()


class Watch:
    """An observer of all clients, for one test after the other."""

    def __init__(self) -> None:
        self.network = False
        """Whether destinations may send to other machines."""
        self.wide = True
        """Whether what starts now is not the running test's: a fixture of a wider scope is being made, or none runs."""
        self.frozen: Clock | None = None
        """The clock of clients that bring none."""
        self.stood_in: list[tuple[str, StandIn]] = []
        """What was replaced in this run: a description, and what came in its place."""
        self._started: list[tuple[Life, weakref.ref[aiotrack.Client], str]] = []
        self._clients: weakref.WeakSet[aiotrack.Client] = weakref.WeakSet()
        self._tracked: Tracked | None = None
        self._removes: list[Callable[[], None]] = []

    def clock(self) -> Clock | None:
        """Return the clock of a client that was given none."""
        return None if self.wide else self.frozen

    def starting(
        self, client: aiotrack.Client, life: Life, destinations: list[aiotrack.Destination]
    ) -> list[aiotrack.Destination]:
        """See a client start, and keep what it tracks here."""
        if not self.wide:
            self._started.append((life, weakref.ref(client), _where()))
        self._clients.add(client)
        self._listen(client)
        return [self._stand_in(one) if one.remote and not self.network else one for one in destinations]

    def _stand_in(self, destination: aiotrack.Destination) -> StandIn:
        stand_in = StandIn(destination)
        self.stood_in.append((repr(destination), stand_in))
        logger.info("%r is replaced in this test: its events stay here", destination)
        return stand_in

    # -- tracked ------------------------------------------------------------------------------------

    def listen(self, tracked: Tracked) -> None:
        """Collect what all clients track from now on."""
        self._tracked = tracked
        for client in self._clients:
            self._listen(client)

    def listening(self) -> Tracked:
        """Return what is collected into; begin where nobody did, for a fixture that was asked for by name later on."""
        if self._tracked is None:
            self.listen(Tracked())
        assert self._tracked is not None
        return self._tracked

    def _listen(self, client: aiotrack.Client) -> None:
        if self._tracked is not None:
            self._removes.append(client.on("aiotrack_event_tracked", self._heard))
            self._removes.append(client.on("aiotrack_event_refused", self._refused))

    def _heard(self, event: Event) -> None:
        if self._tracked is not None:  # as it is now: the caller may go on with its lists
            self._tracked.events.append(attrs.evolve(event, tags=copy.deepcopy(event.tags)))

    def _refused(self, event: Event, refusal: Refusal) -> None:
        if self._tracked is not None:
            self._tracked.refused.append((event, refusal))

    def stop_listening(self) -> None:
        """Collect no more."""
        self._tracked = None
        while self._removes:
            self._removes.pop()()

    # -- what is left -------------------------------------------------------------------------------

    def leaked(self) -> list[str]:
        """Describe the clients that were left open since this was last asked: those that nobody can close any more."""
        leaked: list[str] = []
        for life, client, where in self._started:
            gone = client() is None or life.loop is None or life.loop.is_closed()
            if gone and life.state not in {State.NEW, State.CLOSED}:
                leaked.append(f"a client was started at {where} and never closed, with {life.abandon()} events pending")
        self._started.clear()
        return leaked

    def kept(self) -> Counter[str]:
        """Count, by destination, the events that did not leave this run."""
        kept: Counter[str] = Counter()
        for what, stand_in in self.stood_in:
            kept[what] += stand_in.events
        return kept


def _where() -> str:
    """Say where in the test's code a client was started."""
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith(LIBRARIES):
            return f"{frame.filename}:{frame.lineno}"
    return "an unknown place"
