"""Where events go: the base class of destinations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, TypedDict

from aiotrack.model.batch import Answer, Batch, Request
from aiotrack.model.catalog import Catalog
from aiotrack.model.encoding import encode_event
from aiotrack.model.identity import Identity
from aiotrack.model.markers import hookimpl
from aiotrack.model.mistakes import Mistakes
from aiotrack.model.refusal import Refusal
from aiotrack.model.result import SequenceNumber
from aiotrack.model.routing import Only, Rename, names_of, predicate_of
from aiotrack.model.verdict import Verdict, judge

if TYPE_CHECKING:
    from aiotrack.model.event import Event
    from aiotrack.model.host import Client

__all__ = ["Destination", "DestinationOptions", "LaneHandle"]


NO_NAMES: Mapping[str, str] = {}


class DestinationOptions(TypedDict, total=False):
    """The options that every destination has beside its name; a subclass takes them as keyword arguments."""

    only: Only | None
    """Event keys, or a predicate of the finalized event: the destination gets no other events (default: all)."""
    rename: Rename | None
    """Event keys and tag names, and what the destination calls them; values are untouched."""


class LaneHandle(Protocol):
    """What a destination can ask of its lane, on the client's event loop."""

    def append(self, entry: bytes, batch_header: bytes, wait: bool) -> SequenceNumber:
        """Store an event that is encoded already; return its sequence number, or a future of it.

        Raises BufferFull and EventRefused. With `wait` the caller may be held while the buffer is full.
        """
        ...

    async def change(self, event: Event) -> Event:
        """Return what the plugins make of an event of the destination's own: process, enrich and finalize hooks.

        Raises EventRefused where one drops it.
        """
        ...

    def refuse(self, event_key: str, refusal: Refusal) -> None:
        """Count and log the refusal of an event that came, or would have come, by `append`."""
        ...

    def catalog_updated(self, catalog: Catalog) -> None:
        """Go on with the events that came before the first catalog, and tell the listeners."""
        ...


class Destination:
    """A place that events are sent to; it is a plugin, too. Subclass it.

    `encode` turns an event into bytes when it is tracked; `frame` turns a batch of them into a request;
    `send` sends it. The sender does the rest: batches, retries, splits, counters.
    """

    kind: ClassVar[str] = "destination"
    """The default name; in a config file, a destination is called by its entry point's name."""
    max_batch_events: ClassVar[int | None] = None
    """The most events that one request may hold."""
    max_batch_bytes: ClassVar[int | None] = None
    """The most bytes of events that one request may hold; a larger single event is refused."""
    max_in_flight: int = 1
    """How many requests may be under way at once. With more than one, batches may arrive out of order."""
    max_retries: int | None = None
    """How often a batch is sent again before it is given up on; None: as the client says."""
    batch_header: bytes = b""
    """What events encoded now have in common. A batch never mixes two; keep secrets out."""

    needs_catalog: ClassVar[bool] = False
    """Whether events can only be encoded once there is a catalog; until then they are buffered as they are."""
    ready_timeout: float = 10.0
    """How many seconds after the start a strict client's calls wait for the first catalog."""
    catalog: Catalog | None = None
    """What is known of the destination's events."""
    lane: LaneHandle | None = None
    """What the destination can ask of its lane; set while a client that it was given to runs."""

    only: Callable[[Event], object] | None = None
    """Tells which events the destination gets, as its option `only` says; None: all."""
    rename: Mapping[str, str] = NO_NAMES
    """What the destination calls event keys and tags, as its option `rename` says."""

    def __init__(self, *, name: str | None = None, only: Only | None = None, rename: Rename | None = None) -> None:
        self.name: str = self.kind if name is None else name
        with Mistakes() as mistakes:
            if not isinstance(self.name, str) or not self.name:
                mistakes.add(f"name: expected text, got {name!r}")
            self.only = mistakes.check(predicate_of, only)
            self.rename = mistakes.check(names_of, rename)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    @property
    def identity(self) -> Identity:
        """What its events are for: account, project, address; never a proxy or gateway that they pass.

        A durable buffer keeps what waits for one identity apart from what waits for another. Asked once, at the start.
        """
        return Identity(self.kind)

    @property
    def remote(self) -> bool:
        """Whether what it sends leaves this machine; a test run puts something else in its place."""
        return False

    @property
    def can_send(self) -> bool:
        """Whether a request can still be sent; where not, a flush or a close does not wait for it."""
        return True

    @hookimpl
    def aiotrack_destination(self) -> Destination:
        """Return itself."""
        return self

    def update_catalog(self, catalog: Catalog) -> None:
        """Take over a new catalog: events that came before the first one go on, and listeners are told."""
        self.catalog = catalog
        if self.lane is not None:
            self.lane.catalog_updated(catalog)

    async def start(self, client: Client) -> None:
        """Make ready to send. Raises StartError."""

    def encode(self, event: Event) -> bytes:
        """Return the event as it will be sent; raise EventRefused to refuse it.

        Called on the event loop for every event, so it must not wait for anything.
        """
        return encode_event(event)

    def frame(self, entries: Sequence[bytes], batch_header: bytes, /) -> Request:
        """Join entries that were encoded under one batch header into one request."""
        raise NotImplementedError

    async def send(self, batch: Batch) -> Answer:
        """Send one request and return the answer; raise nothing for what can go wrong on the way."""
        raise NotImplementedError

    def judge(self, answer: Answer, now: float) -> Verdict:
        """Say what an answer means; `now` is in Unix seconds."""
        return judge(answer, now)

    async def close(self) -> None:
        """Close what `start` opened."""
