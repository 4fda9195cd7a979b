"""What a test run does to every client: no event leaves, none is left open, time may stand still."""

from __future__ import annotations

import traceback
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import aiotrack
from aiotrack.event import Event, Refusal
from aiotrack.log import logger
from aiotrack.state import State

from .tracked import Tracked

if TYPE_CHECKING:
    from aiotrack.clock import Clock
    from aiotrack.life import Life

__all__ = ["StandIn", "Watch"]

OURS = str(Path(aiotrack.__file__).parent)


class StandIn(aiotrack.Destination):
    """Takes the place of a destination, under its name, and keeps what it is sent."""

    kind = "stand-in"

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.entries: list[bytes] = []
        self.answers: list[aiotrack.Answer] = []

    def frame(self, entries: Sequence[bytes], envelope: bytes) -> aiotrack.Request:
        """Join the events."""
        return aiotrack.Request(url=f"{self.name}:", body=envelope + b"\n".join(entries))

    async def send(self, batch: aiotrack.Batch) -> aiotrack.Answer:
        """Take them, unless there are answers to give first."""
        if self.answers:
            return self.answers.pop(0)
        self.entries.extend(batch.entries)
        return aiotrack.Answer()


class Watch:
    """An observer of all clients, for one test after the other."""

    def __init__(self) -> None:
        self.network = False
        """Whether destinations may send to other machines."""
        self.wide = False
        """Whether what starts now outlives the test: a fixture of a wider scope is being made."""
        self.frozen: Clock | None = None
        """The clock of clients that bring none."""
        self.stood_in: list[tuple[str, StandIn]] = []
        """What was replaced in this run: a description, and what came in its place."""
        self._started: list[tuple[Life, str]] = []
        self._clients: weakref.WeakSet[aiotrack.Client] = weakref.WeakSet()
        self._tracked: Tracked | None = None
        self._removes: list[Callable[[], None]] = []

    def clock(self) -> Clock | None:
        """Return the clock of a client that was given none."""
        return self.frozen

    def starting(
        self, client: aiotrack.Client, life: Life, destinations: list[aiotrack.Destination]
    ) -> list[aiotrack.Destination]:
        """See a client start, and keep what it tracks here."""
        if not self.wide:
            self._started.append((life, _where()))
        self._clients.add(client)
        self._listen(client)
        return [self._stand_in(one) if one.remote and not self.network else one for one in destinations]

    def _stand_in(self, destination: aiotrack.Destination) -> StandIn:
        stand_in = StandIn(destination.name)
        self.stood_in.append((repr(destination), stand_in))
        logger.info("%r is replaced in this test: its events stay here", destination)
        return stand_in

    # -- tracked ------------------------------------------------------------------------------------

    def listen(self, tracked: Tracked) -> None:
        """Collect what all clients track from now on."""
        self._tracked = tracked
        for client in self._clients:
            self._listen(client)

    def _listen(self, client: aiotrack.Client) -> None:
        if self._tracked is not None:
            self._removes.append(client.on("aiotrack_event_tracked", self._tracked.events.append))
            self._removes.append(client.on("aiotrack_event_refused", self._refused))

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
        """Describe the clients that were left open since this was last asked; from then on they count as closed."""
        leaked: list[str] = []
        for life, where in self._started:
            if life.state not in {State.NEW, State.CLOSED}:
                leaked.append(f"a client was started at {where} and never closed, with {life.abandon()} events pending")
        self._started.clear()
        return leaked

    def kept(self) -> Counter[str]:
        """Count, by destination, the events that did not leave this run."""
        kept: Counter[str] = Counter()
        for what, stand_in in self.stood_in:
            kept[what] += len(stand_in.entries)
        return kept


def _where() -> str:
    """Say where in the test's code a client was started."""
    for frame in reversed(traceback.extract_stack()):
        name = frame.filename
        if not name.startswith(OURS) and "/asyncio/" not in name and "/contextlib.py" not in name:
            return f"{name}:{frame.lineno}"
    return "an unknown place"
