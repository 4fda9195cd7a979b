"""What a test run does to every client: no event leaves, none is left open, time may stand still.

Imports nothing of the library when it is imported itself: every pytest run loads it.
"""

from __future__ import annotations

import os
import traceback
import weakref
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import aiotrack
    from aiotrack.client import Client
    from aiotrack.destinations.base import Destination
    from aiotrack.lifecycle import ClientLifecycle
    from aiotrack.model.batch import Answer, Batch
    from aiotrack.model.clock import Clock
    from aiotrack.model.state import ClientState

    from .fakes import FakeDestination
    from .tracked import Tracked

__all__ = ["Network", "TestSession", "activate", "active"]

Network = Literal["none", "local", "all"]
"""Where the clients of a test may send: nowhere, to this machine, or anywhere."""

STANDARD = os.path.dirname(os.__file__)
LIBRARIES = (
    os.path.dirname(os.path.dirname(__file__)) + os.sep,
    *(os.path.join(STANDARD, name) for name in ("asyncio" + os.sep, "contextlib.py", "threading.py")),
)


class TestSession:
    """Sees all clients of one test run, for one test after the other. `patches.py` asks it what to do with each."""

    __test__ = False  # for pytest: it is no class of tests

    def __init__(self) -> None:
        self.network: Network = "local"
        self.shared = True
        """Whether what is made or started now is not the running test's own: a module is imported, a fixture of a
        wider scope is being made, or no test runs."""
        self.frozen: Clock | None = None
        """The clock of clients that are given none."""
        self._folder = os.getcwd()
        self.replaced: list[tuple[str, FakeDestination]] = []
        """The destinations that were replaced in this run: a description, and what came in its place."""
        self._started: list[tuple[ClientState, ClientLifecycle, weakref.ref[Client], str]] = []
        self._clients: weakref.WeakSet[Client] = weakref.WeakSet()
        self._tracked: Tracked | None = None
        self._removes: list[Callable[[], None]] = []

    def clock(self) -> Clock | None:
        """Return the clock of a client that is given none; None for the system's."""
        return None if self.shared else self.frozen

    def holds_back(self, host: str | None) -> bool:
        """Tell whether nothing may be sent to a host."""
        from aiotrack.model.urls import is_loopback  # noqa: PLC0415 - see above

        return self.network == "none" or (self.network == "local" and not is_loopback(host))

    def starting(
        self, client: Client, state: ClientState, lifecycle: ClientLifecycle, destinations: list[Destination]
    ) -> list[Destination]:
        """See a client start; return the destinations that it is to send to."""
        if not self.shared:
            self._started.append((state, lifecycle, weakref.ref(client), _where()))
        self._clients.add(client)
        self._listen(client)
        return [self._replace(one) if self._leaves(one) else self._kept_in_check(one) for one in destinations]

    def _leaves(self, destination: Destination) -> bool:
        from aiotrack.destinations.http import HTTPDestination  # noqa: PLC0415 - see above

        by_http = isinstance(destination, HTTPDestination) and type(destination).send is HTTPDestination.send
        stays = destination.remote or self._is_default_store(destination)
        return (stays and self.network != "all") or (by_http and self.network == "none")

    def _is_default_store(self, destination: Destination) -> bool:
        """Tell whether it is the store of a client without one, where the run began: no test leaves that there."""
        from aiotrack.destinations.local_store import LocalStore  # noqa: PLC0415 - see above
        from aiotrack.hooks.destinations import DEFAULT_STORE  # noqa: PLC0415 - see above

        default = os.path.join(self._folder, DEFAULT_STORE)
        return isinstance(destination, LocalStore) and os.path.abspath(destination.path) == default

    def _kept_in_check(self, destination: Destination) -> Destination:
        """Have a destination ask before each batch, if its client lives longer than the test that may send."""
        if self.shared and destination.remote and self.network == "all":
            real, fake = destination.send, self._replace(destination)

            async def send(batch: Batch) -> Answer:
                return await (real if self.network == "all" else fake.send)(batch)

            destination.send = send  # type: ignore[method-assign]
        return destination

    def _replace(self, destination: Destination) -> FakeDestination:
        from aiotrack.model.log import logger  # noqa: PLC0415 - see above

        from .fakes import FakeDestination  # noqa: PLC0415 - see above

        fake = FakeDestination(destination)
        self.replaced.append((repr(destination), fake))
        logger.info("%r is replaced in this test: its events stay here", destination)
        return fake

    # -- tracked ------------------------------------------------------------------------------------

    def listen(self, tracked: Tracked) -> None:
        """Collect what all clients track from now on."""
        self._tracked = tracked
        for client in self._clients:
            self._listen(client)

    def listening(self) -> Tracked:
        """Return what is collected into; begin where nobody did, for a fixture that was asked for by name later on."""
        if self._tracked is None:
            from .tracked import Tracked  # noqa: PLC0415 - see above

            self.listen(Tracked())
        assert self._tracked is not None
        return self._tracked

    def _listen(self, client: Client) -> None:
        if self._tracked is not None:
            self._removes.append(client.on("aiotrack_event_tracked", self._heard))
            self._removes.append(client.on("aiotrack_event_refused", self._refused))

    def _heard(self, event: aiotrack.Event) -> None:
        if self._tracked is not None:
            self._tracked.add(event)

    def _refused(self, event: aiotrack.Event, refusal: aiotrack.Refusal) -> None:
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
        for state, lifecycle, client, where in self._started:
            if state.loop_is_gone or (client() is None and state.current not in {"new", "closed"}):
                pending = lifecycle.abandon()
                leaked.append(f"a client was started at {where} and never closed, with {pending} events pending")
        self._started.clear()
        return leaked

    def kept(self) -> Counter[str]:
        """Count, by destination, the events that did not leave this run."""
        kept: Counter[str] = Counter()
        for what, fake in self.replaced:
            kept[what] += fake.events
        return kept


_active: TestSession | None = None


def active() -> TestSession | None:
    """Return the session of the test run that is under way; None where none is, or for a while in production's way."""
    return _active


def activate(session: TestSession | None) -> TestSession | None:
    """Have a session see every client from now on; return the one that did before."""
    global _active
    before, _active = _active, session
    return before


def _where() -> str:
    """Say where in the test's code a client was started."""
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith(LIBRARIES):
            return f"{frame.filename}:{frame.lineno}"
    return "an unknown place"
