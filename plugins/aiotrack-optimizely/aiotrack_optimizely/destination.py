"""The destination: conversions as Optimizely's own Python SDK (5.7.0) sends them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack
from urllib.parse import quote

import orjson

import aiotrack
from aiotrack.errors import ConfigError, DocumentError, EventRefused
from aiotrack.extension import (
    EpisodeLog,
    Host,
    HTTPOptions,
    Identity,
    Mistakes,
    Polling,
    SecretText,
    http_url,
    seconds,
)

from .datafile import Datafile
from .wire import encode_visitor

if TYPE_CHECKING:
    from .bridge import EventProcessor

__all__ = ["Optimizely"]

EVENTS_URL = {"US": "https://logx.optimizely.com/v1/events", "EU": "https://eu.logx.optimizely.com/v1/events"}
DATAFILE_URL = "https://cdn.optimizely.com/datafiles/{sdk_key}.json"
AUTHENTICATED_URL = "https://config.optimizely.com/datafiles/auth/{sdk_key}.json"
SDK_KEY = "{sdk_key}"
RESERVED_PREFIX = "$opt_"
BOT_FILTERING = "$opt_bot_filtering"
LARGEST_NUMBER = 2**53  # of an attribute


class Optimizely(aiotrack.HTTPDestination):
    """Send conversions to Optimizely Feature Experimentation.

    Give an `sdk_key` (the datafile is fetched and kept fresh), a `datafile` (JSON text or a mapping; nothing is
    fetched), or both (it starts from the datafile). `datafile_url` overrides the address, `{sdk_key}` in it is
    filled in; `access_token` is for authenticated environments. Key and token may be functions (see `aiotrack.Secret`);
    then `name` tells what waits in a durable buffer from another environment's. `poll_interval`, `datafile_timeout` and
    `ready_timeout` are seconds: how often the datafile is looked at, how long one attempt to fetch it may take, and how
    long after the start a strict client's calls wait for it. `events_url` overrides the endpoint that the datafile's
    region decides. `http` are the options of every HTTP destination (`HTTPOptions`); `timeout` is 10 here. Raises
    ConfigError.
    """

    kind = "optimizely"
    needs_catalog = True
    max_batch_bytes: ClassVar[int | None] = 3_400_000
    """Optimizely's limit is 3.5 MB a body; the rest is for the body's head and the commas."""

    def __init__(
        self,
        sdk_key: SecretText | None = None,
        *,
        datafile: Any = None,
        datafile_url: str | None = None,
        access_token: SecretText | None = None,
        events_url: str | None = None,
        poll_interval: float = 300.0,
        ready_timeout: float = 10.0,
        datafile_timeout: float = 10.0,
        name: str | None = None,
        **http: Unpack[HTTPOptions],
    ) -> None:
        http.setdefault("timeout", 10.0)
        with Mistakes() as mistakes:
            url = EVENTS_URL["US"] if events_url is None else mistakes.check(http_url, "events_url", events_url)
            mistakes.check(super().__init__, url or EVENTS_URL["US"], name=name, **http)
            secrets = {"sdk_key": sdk_key, "access_token": access_token}
            self._sdk_key, self._token = (
                None if given is None else mistakes.check(self.credentials.add, option, given, _printable)
                for option, given in secrets.items()
            )
            self._template = mistakes.check(
                _template, datafile_url, has_key=sdk_key is not None, authenticated=access_token is not None
            )
            mistakes.check(seconds, "poll_interval", poll_interval)
            mistakes.check(seconds, "ready_timeout", ready_timeout)
            mistakes.check(seconds, "datafile_timeout", datafile_timeout)
            first = None if datafile is None else mistakes.check(_first, datafile)
            if sdk_key is None and datafile is None and datafile_url is None:
                mistakes.add("sdk_key: expected text, got None; without it give datafile= or datafile_url=")
        self.ready_timeout = ready_timeout
        self._events_url = events_url
        self._poll_interval = poll_interval
        self._datafile_timeout = datafile_timeout
        self._datafile: Datafile | None = None
        self._polling: Polling[Datafile] | None = None
        self._log: EpisodeLog | None = None
        self._processors: list[EventProcessor] = []
        if first is not None:
            self._accept(first)

    @property
    def identity(self) -> Identity:
        """What its events are for: the environment, by its SDK key; else the datafile's project, or its address."""
        if self._sdk_key is not None:
            return (
                Identity(self.kind, self.name) if self._sdk_key.changes else Identity(self.kind, key=self._sdk_key.text)
            )
        if self._template is None and self._datafile is not None:
            return Identity(self.kind, self._datafile.project)
        return Identity(self.kind, key=str(self._template).partition("?")[0])

    # -- the datafile -------------------------------------------------------------------------------

    async def start(self, client: Host) -> None:
        """Open a session, and begin to look for the datafile where one is to be fetched."""
        await super().start(client)
        self._log = EpisodeLog(client.clock.monotonic)
        for processor in self._processors:
            processor.connect()
        if self._template is not None and self.session is not None:
            self._polling = Polling(
                self.name,
                self._datafile_url,
                Datafile.parse,
                self._accept,
                interval=lambda: self._poll_interval,
                headers=self._datafile_headers,
                timeout=self._datafile_timeout,
                connection=self.connection,
                credentials=self.credentials,
                clock=client.clock,
            )
            client.spawn(self._polling.run(self.session), name=f"aiotrack {self.name} datafile")

    def _datafile_url(self) -> str:
        return str(self._template).replace(SDK_KEY, "" if self._sdk_key is None else quote(self._sdk_key.text, safe=""))

    def _datafile_headers(self) -> dict[str, str]:
        return {} if self._token is None else {"Authorization": f"Bearer {self._token.text}"}

    def _accept(self, datafile: Datafile) -> bool:
        """Take a datafile over unless its revision is the one in use, as the vendor's SDK does."""
        if self._datafile is not None and self._datafile.revision == datafile.revision:
            return False
        self._datafile = datafile
        self.batch_header = datafile.batch_header
        self.update_catalog(aiotrack.Catalog(datafile.revision, datafile.events))
        return True

    # -- events -------------------------------------------------------------------------------------

    def encode(self, event: aiotrack.Event) -> bytes:
        """Return one visitor object with one event. Raises EventRefused for an event that the datafile lacks."""
        datafile = self._datafile
        if datafile is None:
            raise EventRefused(aiotrack.Refusal(aiotrack.Reason.NOT_READY, "there is no datafile yet"))
        if event.key not in datafile.events:
            catalog = self.catalog or aiotrack.Catalog(datafile.revision, datafile.events)
            message = f"event {event.key[:100]!r} is not in the datafile{catalog.suggestion(event.key)}"
            raise EventRefused(aiotrack.Refusal(aiotrack.Reason.UNKNOWN_EVENT, message))
        return encode_visitor(
            datafile.events[event.key],
            event.event_id,
            event.key,
            event.timestamp,
            event.reserved,
            None if event.tags is aiotrack.NO_TAGS else event.tags,
            self._attributes(datafile, event.attributes),
            event.user_id,
        )

    def _attributes(self, datafile: Datafile, attributes: Mapping[Any, Any]) -> list[dict[str, Any]]:
        """Return the attributes that the vendor's SDK sends; it leaves out what its log endpoint does not take."""
        known = datafile.attributes
        sent: list[dict[str, Any]] = []
        for key, value in attributes.items():
            if isinstance(key, str) and _is_supported(value):
                plain = key in known and not key.startswith(RESERVED_PREFIX)
                entity_id = known[key] if plain else self._attribute_id(datafile, key)
                if entity_id:
                    sent.append({"entity_id": entity_id, "key": key, "type": "custom", "value": value})
        if datafile.bot_filtering is not None:
            value = datafile.bot_filtering
            sent.append({"entity_id": BOT_FILTERING, "key": BOT_FILTERING, "type": "custom", "value": value})
        return sent

    def _attribute_id(self, datafile: Datafile, key: str) -> str | None:
        entity_id = datafile.attributes.get(key)
        if key.startswith(RESERVED_PREFIX):
            if entity_id is None:
                return key
            self._say(
                logging.WARNING, key, "attribute %r has the reserved prefix $opt_; its id from the datafile is used"
            )
        elif entity_id is None:
            self._say(logging.ERROR, key, "attribute %r is not in the datafile and is left out")
        return entity_id

    def _say(self, level: int, key: str, message: str) -> None:
        if self._log is not None:
            self._log.once(level, ("attribute", key[:100]), f"{self.name}: {message}", key[:100])

    # -- batches ------------------------------------------------------------------------------------

    def frame(self, entries: Sequence[bytes], batch_header: bytes, /) -> aiotrack.Request:
        """Join visitors under the head of the revision that they were tracked with."""
        region, head = _opened(batch_header)
        return aiotrack.Request(
            url=self._events_url or EVENTS_URL[region],
            body=head + b",".join(entries) + b"]}",
            headers={"Content-Type": "application/json"},
        )

    # -- the bridge ---------------------------------------------------------------------------------

    def event_processor(self) -> EventProcessor:
        """Return an event processor for the official SDK's client; its events then leave by this destination.

        Needs the extra `bridge`. To be called before the client starts.
        """
        from .bridge import EventProcessor  # noqa: PLC0415 - it needs the official SDK

        processor = EventProcessor(lambda: self.lane)
        self._processors.append(processor)
        return processor

    @aiotrack.hookimpl
    async def aiotrack_shutdown(self) -> None:
        """Store what the event processors still hold, before the last flush."""
        for processor in self._processors:
            await processor.drained()

    async def close(self) -> None:
        """Close the session, and refuse what event processors bring from now on."""
        for processor in self._processors:
            processor.disconnect()
        await super().close()


def _printable(option: str, given: object) -> str:
    if not isinstance(given, str) or not given:
        raise ConfigError(f"{option}: expected text, got {'an empty one' if given == '' else type(given).__name__}")
    if not given.isprintable() or given != given.strip():
        raise ConfigError(f"{option}: expected printable text, got some with spaces around it or control characters")
    return given


def _template(given: object, *, has_key: bool, authenticated: bool) -> str | None:
    """Return the datafile's address, with `{sdk_key}` in it where the key belongs; None where nothing is fetched."""
    if given is None:
        return (AUTHENTICATED_URL if authenticated else DATAFILE_URL) if has_key else None
    if not isinstance(given, str) or not given:
        raise ConfigError(f"datafile_url: expected text, got {type(given).__name__}")
    if not has_key and SDK_KEY in given:
        raise ConfigError("datafile_url: has the field {sdk_key}, and there is no sdk_key=")
    if set(given.replace(SDK_KEY, "")) & set("{}"):
        raise ConfigError("datafile_url: expected a URL with no field but {sdk_key}, got another, or a stray brace")
    http_url("datafile_url", given.replace(SDK_KEY, "key"))
    return given


def _first(datafile: Any) -> Datafile:
    try:
        return Datafile.parse(datafile)
    except DocumentError as exc:
        raise ConfigError(f"datafile: {exc}") from exc.__cause__


def _is_supported(value: object) -> bool:
    if isinstance(value, str | bool):
        return True
    if isinstance(value, int | float):
        return abs(value) <= LARGEST_NUMBER  # false for NaN, too
    return False


@functools.lru_cache(maxsize=16)
def _opened(batch_header: bytes) -> tuple[str, bytes]:
    """Return the region, and the body up to its first visitor."""
    region, head = orjson.loads(batch_header)
    return region, orjson.dumps(head)[:-1] + b',"visitors":['
