"""The destination: events as VWO's own Python SDK (vwo-fme-python-sdk 1.65.0) sends them."""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Unpack
from urllib.parse import urlencode, urlsplit

import attrs
import orjson

import aiotrack
from aiotrack.errors import ConfigError, DocumentError, EventRefused, StartError
from aiotrack.extension import EpisodeLog, Fetch, Host, HTTPOptions, Polling, dumps, origin, seconds

from .settings import Settings, visitor_uuid

__all__ = ["VWO"]

SDK_VERSION = "1.65.0"
POLL_INTERVAL = 600.0
BRANDS = {
    # settings, events, name of the SDK
    "vwo": ("https://dev.visualwebsiteoptimizer.com", "https://dev.visualwebsiteoptimizer.com", "vwo-fme-python-sdk"),
    "wingify": ("https://edge.wingify.net", "https://collect.wingify.net", "wingify-fme-python-sdk"),
}
KEY = b"\0"  # stands for the SDK key in an event, which a buffer may write to a disk; JSON never has this byte
MOST_VISITORS = 10_000  # whose last message id is remembered


class VWO(aiotrack.HTTPDestination):
    """Send events to VWO Feature Management and Experimentation.

    The settings are fetched and kept fresh; `settings` (JSON text or a mapping) is a start without waiting.
    `base_url` takes settings and events through a proxy or gateway. `poll_interval` is in seconds; at its default
    the settings' own interval counts. With `batch=False` each event is a request of its own to the single endpoint.
    `sdk_name` and `sdk_version` are what the service is told; the default is the vendor's. `http` are the options of
    every HTTP destination (`HTTPOptions`); `timeout` is 10 here. Raises ConfigError.
    """

    kind = "vwo"
    needs_catalog = True
    max_batch_events: ClassVar[int | None] = 5000

    def __init__(
        self,
        account_id: int | str,
        sdk_key: str,
        *,
        settings: Any = None,
        base_url: str | None = None,
        poll_interval: float = POLL_INTERVAL,
        brand: str = "vwo",
        batch: bool = True,
        ready_timeout: float = 10.0,
        sdk_name: str | None = None,
        sdk_version: str = SDK_VERSION,
        name: str | None = None,
        **http: Unpack[HTTPOptions],
    ) -> None:
        if isinstance(account_id, bool) or not isinstance(account_id, int | str) or not str(account_id):
            raise ConfigError(f"account_id: expected a number or text, got {type(account_id).__name__}")
        if not isinstance(sdk_key, str) or not sdk_key.strip():
            raise ConfigError(f"sdk_key: expected text, got {type(sdk_key).__name__}")
        sdk_key = sdk_key.strip()
        if not sdk_key.isprintable():
            raise ConfigError("sdk_key: expected printable text, got something else")
        if not isinstance(brand, str) or brand not in BRANDS:
            raise ConfigError(f"brand: expected one of {', '.join(map(repr, BRANDS))}, got {brand!r}")
        seconds("poll_interval", poll_interval)
        seconds("ready_timeout", ready_timeout)
        settings_url, events_url, brand_name = BRANDS[brand]
        http.setdefault("timeout", 10.0)
        super().__init__(base_url if base_url is not None else events_url, name=name, **http)
        parts = urlsplit(base_url or "")
        if parts.query or parts.fragment or (batch and parts.username is not None):
            raise ConfigError("base_url: expected an address without query, fragment and, with batch=True, user")
        self.ready_timeout = ready_timeout
        self._account = str(account_id)
        self._account_id = account_id
        self._key = sdk_key
        self._key_in_json = orjson.dumps(sdk_key)[1:-1]
        self._settings_base = (base_url or settings_url).rstrip("/")
        self._events_base = (base_url or events_url).rstrip("/")
        self._poll_interval = poll_interval
        self._batch = batch
        if not batch:
            self.max_batch_events = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        self._sdk = {"sn": sdk_name or brand_name, "sv": sdk_version}
        self._visitor = functools.lru_cache(maxsize=MOST_VISITORS)(visitor_uuid)
        self._last_message: dict[str, int] = {}
        self._settings: Settings | None = None
        self._polling: Polling[Settings] | None = None
        self._log: EpisodeLog | None = None
        if settings is not None:
            try:
                self._accept(Settings.parse(settings))
            except DocumentError as exc:
                raise ConfigError(f"settings: {exc}") from exc.__cause__

    def __repr__(self) -> str:
        return f"<VWO {self.name!r} {origin(self._events_base)}>"

    # -- settings -----------------------------------------------------------------------------------

    async def start(self, client: Host) -> None:
        """Open a session, and begin to look for the settings."""
        await super().start(client)
        if self.session is None:
            raise StartError(f"destination {self.name!r}: there is no session")
        self._log = EpisodeLog(client.clock.monotonic)
        self._polling = Polling(
            self.name,
            lambda: self._settings_url("v2-settings"),
            Settings.parse,
            self._accept,
            interval=self._interval,
            clock=client.clock,
        )
        client.spawn(self._polling.run(self.session), name=f"aiotrack {self.name} settings")

    async def refresh(self) -> Fetch:
        """Fetch the settings now, as after a webhook; return how that ended. Raises StartError before the start."""
        if self._polling is None or self.session is None:
            raise StartError(f"destination {self.name!r} is not started")
        return await self._polling.refresh(self.session, self._settings_url("v2-pull"))

    def _interval(self) -> float:
        own = self._settings.poll_interval if self._settings is not None else None
        return own if own is not None and self._poll_interval == POLL_INTERVAL else self._poll_interval

    def _settings_url(self, endpoint: str) -> str:
        query = {
            "i": self._key,
            "r": random.random(),  # noqa: S311 - it keeps caches from answering, as in the vendor's SDK
            "a": self._account,
            "platform": "server",
            "api-version": 1,
            **self._sdk,
            "s": "prod",
        }
        return f"{self._settings_base}/server-side/{endpoint}?{urlencode(query)}"

    def _accept(self, settings: Settings) -> bool:
        """Take settings over if anything in them is new."""
        if self._settings is not None and self._settings.catalog.revision == settings.catalog.revision:
            return False
        self._settings = settings
        self.batch_header = settings.prefix.encode()
        self.update_catalog(settings.catalog)
        return True

    # -- events -------------------------------------------------------------------------------------

    def encode(self, event: aiotrack.Event) -> bytes:
        """Return the event's `{"d": ...}`. Raises EventRefused for an event that no metric knows."""
        settings = self._settings
        if settings is None or event.key not in settings.catalog.events:
            known = "" if settings is None else settings.catalog.suggestion(event.key)
            message = f"event {event.key[:100]!r} feeds no metric of any feature or holdout{known}"
            raise EventRefused(aiotrack.Refusal(aiotrack.Reason.UNKNOWN_EVENT, message))
        if event.key in settings.revenue_props:
            self._check_revenue(event, settings.revenue_props[event.key])
        custom = {"isCustomEvent": True, "variation": 1, "id": 1, **event.tags}
        return self._encode(event.key, event, custom, {}, settings)

    def _encode(
        self,
        name: str,
        event: aiotrack.Event,
        props: Mapping[Any, Any],
        visitor_props: Mapping[str, Any],
        settings: Settings,
    ) -> bytes:
        if not event.user_id:
            problem = aiotrack.Problem("user_id", "a non-empty str", "an empty one")
            raise EventRefused(aiotrack.Refusal.of(aiotrack.Reason.INVALID_EVENT, (problem,)))
        visitor = self._visitor(event.user_id, self._account, web=settings.web_connectivity)
        sdk = {"vwo_sdkName": self._sdk["sn"], "vwo_sdkVersion": self._sdk["sv"], "vwo_envKey": self._key}
        data: dict[str, Any] = {
            "msgId": f"{visitor}-{self._message_number(visitor, event.timestamp)}",
            "visId": visitor,
            "sessionId": event.timestamp // 1000 if event.session_id in {None, 0} else event.session_id,
            "event": {"props": {**sdk, **props}, "name": name, "time": event.timestamp},
        }
        if event.user_agent is not None:
            data["visitor_ua"] = event.user_agent
        if event.ip_address is not None:
            data["visitor_ip"] = event.ip_address
        data["visitor"] = {"props": {"vwo_fs_environment": self._key, **visitor_props}}
        return dumps({"d": data}).replace(self._key_in_json, KEY)

    def _message_number(self, visitor: str, timestamp: int) -> int:
        """Return the event's milliseconds, or the next that this visitor has not used: message ids are unique."""
        last = self._last_message
        number = max(timestamp, last.pop(visitor, 0) + 1) if visitor in last else timestamp
        if len(last) >= MOST_VISITORS:
            del last[next(iter(last))]
        last[visitor] = number
        return number

    def _check_revenue(self, event: aiotrack.Event, names: tuple[str, ...]) -> None:
        for name in names:
            amount = event.tags.get(name)
            if (isinstance(amount, bool) or not isinstance(amount, int | float)) and self._log is not None:
                came = type(amount).__name__ if name in event.tags else "nothing"
                message = "%s: event %r: its revenue metric reads the property %r: expected a number, got %s"
                self._log.once(logging.WARNING, ("revenue", event.key, name), message, self.name, event.key, name, came)

    async def set_attribute(self, user: aiotrack.UserContext, attributes: Mapping[str, Any]) -> bool:
        """Tell VWO properties of a visitor, an event of its own (`vwo_syncVisitorProp`); return whether it was taken.

        The values are text, numbers or bools. What the user context itself holds is not touched.
        """
        settings, lane = self._settings, self.lane
        if lane is None:
            raise StartError(f"destination {self.name!r} is not started")
        key = "vwo_syncVisitorProp"
        try:
            if settings is None:
                raise EventRefused(aiotrack.Refusal(aiotrack.Reason.NOT_READY, "there are no settings yet"))
            if user.problem is not None:
                raise EventRefused(aiotrack.Refusal.of(aiotrack.Reason.INVALID_EVENT, (user.problem,)))
            _check_props(attributes)
            event = attrs.evolve(user.as_event(key), attributes=dict(attributes))
            aiotrack.check_attributes(event)
            event = await lane.change(event)
            if not event.attributes:
                raise EventRefused(aiotrack.Refusal(aiotrack.Reason.DROPPED_BY_PLUGIN, "plugins left no attribute"))
            _check_props(event.attributes)
            props = {"isCustomEvent": True, "vwo_fs_environment": self._key}
            entry = self._encode(key, event, props, event.attributes, settings)
            number = lane.append(entry, self.batch_header, True)
            if not isinstance(number, int):
                await number
        except (EventRefused, aiotrack.errors.BufferFull, aiotrack.errors.BufferFailed) as exc:
            lane.refuse(key, aiotrack.errors.refusal_of(exc))
            return False
        return True

    # -- batches ------------------------------------------------------------------------------------

    def frame(self, entries: Sequence[bytes], batch_header: bytes, /) -> aiotrack.Request:
        """Join events for the batch endpoint, or make one a request of its own."""
        base = f"{self._events_base}{batch_header.decode()}"
        if not self._batch:
            return self._frame_single(base, entries[0].replace(KEY, self._key_in_json))
        query = {"a": self._account, "env": self._key, **self._sdk}
        return aiotrack.Request(
            url=f"{base}/server-side/batch-events-v2?{urlencode(query)}",
            body=b'{"ev":[' + b",".join(entries).replace(KEY, self._key_in_json) + b"]}",
            headers={"Content-Type": "application/json", "Authorization": self._key},
        )

    def _frame_single(self, base: str, entry: bytes) -> aiotrack.Request:
        data = orjson.loads(entry)["d"]
        agent, address = data.get("visitor_ua"), data.get("visitor_ip")
        query = {
            "en": data["event"]["name"],
            "a": self._account,
            "eTime": data["event"]["time"],
            "random": random.random(),  # noqa: S311 - as in the vendor's SDK
            "p": "FS",
            **({} if agent is None else {"visitor_ua": agent}),
            **({} if address is None else {"visitor_ip": address}),
            **self._sdk,
            "env": self._key,
        }
        headers = {"Content-Type": "application/json"}
        for header, text in {"X-Device-User-Agent": agent, "VWO-X-Forwarded-For": address}.items():
            if text and (clean := "".join(character for character in text if character.isprintable()).strip()):
                headers[header] = clean
        return aiotrack.Request(url=f"{base}/events/t?{urlencode(query)}", body=entry, headers=headers)


def _check_props(attributes: object) -> None:
    """Raise EventRefused for what can't be a visitor's properties."""
    problems = tuple(_unfit(attributes))
    if problems:
        raise EventRefused(aiotrack.Refusal.of(aiotrack.Reason.INVALID_EVENT, problems))


def _unfit(attributes: object) -> Iterator[aiotrack.Problem]:
    """Name what can't be a visitor's properties."""
    if not isinstance(attributes, Mapping) or not attributes:
        yield aiotrack.Problem("attributes", "a mapping with at least one", type(attributes).__name__)
        return
    for name, value in attributes.items():
        if not isinstance(name, str):
            yield aiotrack.Problem("attributes", "keys that are str", f"a key of type {type(name).__name__}")
        elif not isinstance(value, str | int | float):
            yield aiotrack.Problem(f"attributes.{name}", "text, a number or a bool", type(value).__name__)
        elif any(text.encode("utf-8", "replace").decode() != text for text in (name, value) if isinstance(text, str)):
            yield aiotrack.Problem("attributes", "text that UTF-8 can carry", "a lone surrogate")
