"""The destination: events as VWO's own Python SDK (vwo-fme-python-sdk 1.65.0) sends them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Unpack

import attrs

import aiotrack
from aiotrack.errors import EventRefused, StartError
from aiotrack.extension import (
    EpisodeLog,
    Fetch,
    Host,
    HTTPOptions,
    Identity,
    Mistakes,
    Polling,
    SecretText,
    is_loopback,
    one_of,
    origin,
    seconds,
)

from .gateway import Aliases, gateway_url
from .options import BRANDS, Brand, check_account, checked_base_url, checked_key, first_settings
from .settings import Settings
from .visitor import check_props, is_web_id
from .wire import Wire

__all__ = ["VWO"]

SDK_VERSION = "1.65.0"
POLL_INTERVAL = 600.0
LATEST = 2**63 - 1  # milliseconds


class VWO(aiotrack.HTTPDestination):
    """Send events to VWO Feature Management and Experimentation.

    The settings are fetched and kept fresh; `settings` (JSON text or a mapping) is a start without waiting.
    `base_url` takes settings and events through a proxy; `gateway_service` through VWO's gateway, as the vendor's SDK
    does, which takes each event by itself and, with `is_aliasing_enabled`, knows users by other ids. `poll_interval`
    and `settings_timeout` (of one attempt) are in seconds; at its default the settings' own interval counts. With
    `batch=False` each event is a request of its own to the single endpoint. With `use_id_for_web` every user id must
    be one that VWO has given in the browser. `sdk_key` may be a function (see `aiotrack.Secret`). `sdk_name` and
    `sdk_version` are what the service is told; the default is the vendor's. `http` are the options of every HTTP
    destination (`HTTPOptions`); `timeout` is 10 here. Raises ConfigError.
    """

    kind = "vwo"
    needs_catalog = True
    max_batch_events: ClassVar[int | None] = 5000

    def __init__(
        self,
        account_id: int | str,
        sdk_key: SecretText,
        *,
        settings: Any = None,
        base_url: str | None = None,
        gateway_service: Mapping[str, Any] | str | None = None,
        is_aliasing_enabled: bool = False,
        use_id_for_web: bool = False,
        poll_interval: float = POLL_INTERVAL,
        brand: Brand = "vwo",
        batch: bool = True,
        ready_timeout: float = 10.0,
        settings_timeout: float = 10.0,
        sdk_name: str | None = None,
        sdk_version: str = SDK_VERSION,
        name: str | None = None,
        **http: Unpack[HTTPOptions],
    ) -> None:
        http.setdefault("timeout", 10.0)
        with Mistakes() as mistakes:
            settings_url, events_url, brand_name = BRANDS[mistakes.check(one_of, Brand, "brand", brand) or "vwo"]
            if gateway_service is not None:
                base_url, batch = mistakes.check(gateway_url, gateway_service), False
            else:
                base_url = None if base_url is None else mistakes.check(checked_base_url, base_url, batch=batch)
            if gateway_service is None and is_aliasing_enabled:
                mistakes.add("is_aliasing_enabled: users are known by other ids to a gateway only: gateway_service=")
            mistakes.check(super().__init__, base_url or events_url, name=name, **http)
            mistakes.check(check_account, account_id)
            key = mistakes.check(self.credentials.add, "sdk_key", sdk_key, checked_key)
            mistakes.check(seconds, "poll_interval", poll_interval)
            mistakes.check(seconds, "ready_timeout", ready_timeout)
            mistakes.check(seconds, "settings_timeout", settings_timeout)
            first = None if settings is None else mistakes.check(first_settings, settings)
        self._identity = Identity(self.kind, f"account {account_id}", self.name if key.changes else key.text)
        self.ready_timeout = ready_timeout
        self._settings_base = (base_url or settings_url).rstrip("/")
        self._events_base = (base_url or events_url).rstrip("/")
        self._poll_interval = poll_interval
        self._settings_timeout = settings_timeout
        self._has_prefix = gateway_service is None
        self._only_web_ids = use_id_for_web
        self._aliases: Aliases | None = None
        if is_aliasing_enabled:
            self._aliases = Aliases(self._events_base, str(account_id), lambda: key.text, self._get)
        self._batch = batch
        if not batch:
            self.max_batch_events = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        sdk = {"sn": sdk_name or brand_name, "sv": sdk_version}
        self._wire = Wire(account_id, key, sdk, aliases=is_aliasing_enabled)
        self._settings: Settings | None = None
        self._polling: Polling[Settings] | None = None
        self._log: EpisodeLog | None = None
        if first is not None:
            self._accept(first)

    def __repr__(self) -> str:
        return f"<VWO {self.name!r} {origin(self._events_base)}>"

    @property
    def identity(self) -> Identity:
        """What its events are for: the account, and the environment that the SDK key is of."""
        return self._identity

    @property
    def remote(self) -> bool:
        """Whether requests leave this machine; who brings a `send` of its own says so itself."""
        here = all(is_loopback(host) for host in self.hosts(self._events_base))
        return not here and type(self).send is VWO.send

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
            timeout=self._settings_timeout,
            connection=self.connection,
            credentials=self.credentials,
            clock=client.clock,
        )
        client.spawn(self._polling.run(self.session), name=f"aiotrack {self.name} settings")

    async def refresh(self) -> Fetch:
        """Fetch the settings now, as after a webhook; return how that ended. Raises StartError before the start."""
        if self._polling is None or self.session is None:
            raise StartError(f"destination {self.name!r} is not started")
        return await self._polling.refresh(self.session, lambda: self._settings_url("v2-pull"))

    def _interval(self) -> float:
        own = self._settings.poll_interval if self._settings is not None else None
        return own if own is not None and self._poll_interval == POLL_INTERVAL else self._poll_interval

    def _settings_url(self, endpoint: str) -> str:
        return self._wire.settings_url(self._settings_base, endpoint)

    def _accept(self, settings: Settings) -> bool:
        """Take settings over if anything in them is new."""
        if self._settings is not None and self._settings.catalog.revision == settings.catalog.revision:
            return False
        self._settings = settings
        self.batch_header = settings.prefix.encode() if self._has_prefix else b""
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
        web = settings.web_connectivity
        problem = None
        if not event.user_id:
            problem = aiotrack.Problem("user_id", "a non-empty str", "an empty one")
        elif self._only_web_ids and web and not is_web_id(event.user_id):
            problem = aiotrack.Problem("user_id", "an id that VWO has given in the browser (use_id_for_web)", "another")
        elif not -LATEST <= event.timestamp <= LATEST:
            problem = aiotrack.Problem("timestamp", "Unix milliseconds of 64 bits", "more")
        if problem is not None:
            raise EventRefused(aiotrack.Refusal.of(aiotrack.Reason.INVALID_EVENT, (problem,)))
        return self._wire.encode(name, event, props, visitor_props, web=web)

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
            check_props(attributes)
            event = attrs.evolve(user.as_event(key), attributes=dict(attributes))
            aiotrack.check_attributes(event)
            event = await lane.change(event)
            if not event.attributes:
                raise EventRefused(aiotrack.Refusal(aiotrack.Reason.DROPPED_BY_PLUGIN, "plugins left no attribute"))
            check_props(event.attributes)
            props = {"isCustomEvent": True, "vwo_fs_environment": self._wire.key_then}
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
        if self._batch:
            return self._wire.batch(base, entries)
        user = None
        if self._aliases is not None and (own := self._wire.user_of(entries[0])) is not None:
            user = self._aliases.known(own)
        return self._wire.single(base, entries[0], user)

    async def send(self, batch: aiotrack.Batch) -> aiotrack.Answer:
        """Send the request; before the first of a user, ask the gateway who that is."""
        user = None if self._aliases is None else self._wire.user_of(batch.entries[0])
        if self._aliases is not None and user is not None and self._aliases.known(user) is None:
            if (no_help := await self._aliases.find(user)) is not None:
                return no_help
            batch = attrs.evolve(batch, request=self.frame(batch.entries, batch.batch_header))
        return await super().send(batch)

    async def _get(self, url: Callable[[], str]) -> aiotrack.Answer:
        return await self.request(lambda: aiotrack.Request(method="GET", url=url(), body=b""))
