"""The destination: events for PostHog's batch endpoint, as its server SDKs send them (posthog-python 7.91.1)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal, Unpack

import orjson
from yarl import URL

import aiotrack
from aiotrack.errors import ConfigError
from aiotrack.extension import HTTPOptions, Identity, Mistakes, SecretText, at_least, http_url, one_of

__all__ = ["PostHog"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
VERSION = "0.1.0"
LIBRARY = {"$lib": "aiotrack", "$lib_version": aiotrack.__version__, "$is_server": True}
MOST_BYTES = 900 * 1024  # of one event; PostHog's own SDK drops larger ones (posthog-python 7.91.1, consumer.py)
NAMESPACE = uuid.UUID("a2f0f2a4-6f6c-5f6e-9d0c-6a6f0c7d4b10")  # of ids that are no UUID
INGESTION = {  # addresses of the web application, and where events go instead (request.py)
    "https://app.posthog.com": "https://us.i.posthog.com",
    "https://us.posthog.com": "https://us.i.posthog.com",
    "https://eu.posthog.com": "https://eu.i.posthog.com",
}


class PostHog(aiotrack.HTTPDestination):
    """Send events to PostHog.

    `api_key` is the project's API key, or a function that returns it (see `aiotrack.Secret`), and `host` where it
    lives: `https://us.i.posthog.com`, `https://eu.i.posthog.com` or a server of yours. Tags become an event's
    properties, attributes the person's (`$set`; not with `person_properties=False`), and `session_id` its
    `$session_id`. An IP address is only sent, and looked up for a place, with `geoip=True`. A batch that fails is sent
    again at most `max_retries` times (None: as the client says). With `historical=True` events are imported as old
    ones. `http` are the options of every HTTP destination (`HTTPOptions`); `compression` is "gzip" here, or None.
    Raises ConfigError.

    An `event_id` that is no UUID becomes one, always the same; an event without a user id has no person.
    """

    kind = "posthog"
    max_batch_bytes: ClassVar[int | None] = 5_000_000
    compress_from: ClassVar[int] = 0

    def __init__(
        self,
        api_key: SecretText,
        *,
        host: str = "https://us.i.posthog.com",
        person_properties: bool = True,
        geoip: bool = False,
        historical: bool = False,
        max_retries: int | None = None,
        name: str | None = None,
        **http: Unpack[HTTPOptions],
    ) -> None:
        compression = http.setdefault("compression", "gzip")
        headers: dict[str, SecretText] = {"User-Agent": f"aiotrack-posthog/{VERSION}"}
        with Mistakes() as mistakes:
            url = mistakes.check(_batch_url, host)
            if compression is not None and mistakes.check(one_of, Literal["gzip"], "compression", compression) is None:
                http["compression"] = None
            mistakes.check(
                super().__init__, url or INGESTION["https://us.posthog.com"], name=name, headers=headers, **http
            )
            flags = {"person_properties": person_properties, "geoip": geoip, "historical": historical}
            for option, flag in flags.items():
                if type(flag) is not bool:
                    mistakes.add(f"{option}: expected true or false, got {flag!r}")
            if max_retries is not None:
                mistakes.check(at_least, 0, "max_retries", max_retries)
            self._key = mistakes.check(self.credentials.add, "api_key", api_key, _key)
        self.max_retries = max_retries
        self._person_properties = person_properties
        self._geoip = geoip
        self._historical = historical

    @property
    def identity(self) -> Identity:
        """What its events are for: the project that the API key is of; of a key that changes, by the name."""
        return Identity(self.kind, self.name) if self._key.changes else Identity(self.kind, key=self._key.text)

    def encode(self, event: aiotrack.Event) -> bytes:
        """Return the event as one of a batch, its id as `uuid` and its time in UTC."""
        identity = _uuid(event.event_id)
        entry = aiotrack.dumps(
            {
                "event": event.key,
                "distinct_id": event.user_id or identity,
                "uuid": identity,
                "timestamp": _time(event.timestamp),
                "properties": self._properties(event),
            }
        )
        if len(entry) > MOST_BYTES:
            raise _refused(aiotrack.Reason.TOO_LARGE, "event", f"at most {MOST_BYTES} bytes", str(len(entry)))
        return entry

    def _properties(self, event: aiotrack.Event) -> dict[str, Any]:
        properties: dict[str, Any] = {**event.tags, **LIBRARY}
        if event.attributes and self._person_properties:
            aiotrack.check_attributes(event)
            given = properties.get("$set")
            properties["$set"] = {**event.attributes, **given} if isinstance(given, dict) else event.attributes
        if not event.user_id:
            properties["$process_person_profile"] = False  # an event of nobody, as PostHog's own SDK sends it
        if event.session_id is not None and event.session_id != "":
            properties["$session_id"] = _text(event.session_id)
        if event.user_agent:
            properties["$raw_user_agent"] = event.user_agent
        if self._geoip and event.ip_address:
            properties["$ip"] = event.ip_address
        else:
            properties["$geoip_disable"] = True  # or PostHog would look up where this server stands
        return properties

    def frame(self, entries: Sequence[bytes], batch_header: bytes, /) -> aiotrack.Request:
        """Join the events with the key, which is in none of them."""
        request = super().frame(entries, batch_header)
        head: dict[str, Any] = {"api_key": self._key.text}
        if self._historical:
            head["historical_migration"] = True
        body = orjson.dumps(head)[:-1] + b',"batch":' + request.body + b"}"
        return aiotrack.Request(url=request.url, headers=request.headers, body=body)

    def judge(self, answer: aiotrack.Answer, now: float) -> aiotrack.Verdict:
        """Say what an answer means: a wrong key pauses, and what a spent quota turns away is dead letters."""
        verdict = super().judge(answer, now)
        if verdict.action == "delivered" and _quota_is_spent(answer.body):
            return aiotrack.Verdict("dead")
        if answer.status == 403:  # about the key, as 401 is
            return super().judge(aiotrack.Answer(status=401, headers=answer.headers), now)
        return verdict


def _refused(reason: str, path: str, expected: str, got: str) -> aiotrack.errors.EventRefused:
    return aiotrack.errors.EventRefused(aiotrack.Refusal.of(reason, (aiotrack.Problem(path, expected, got),)))


def _key(option: str, given: object) -> str:
    """Return the key as it is sent; its text is shown in no error."""
    if not isinstance(given, str):
        raise ConfigError(f"{option}: expected text, got {type(given).__name__}")
    key = given.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"{option}: expected printable ASCII text, got something else or nothing")
    return key


def _batch_url(host: object) -> str:
    """Return the endpoint at a host, which may be that of the web application."""
    trimmed = host.strip().rstrip("/") if isinstance(host, str) else host
    url = URL(http_url("host", trimmed))
    if url.query_string or url.fragment:
        raise ConfigError("host: expected an http:// or https:// URL without query or fragment")
    return f"{INGESTION.get(str(trimmed), str(trimmed))}/batch/"


def _text(value: str | int) -> str:
    """Return a value as text; an enum's member as its value."""
    return str.__str__(value) if isinstance(value, str) else int.__repr__(value)


def _uuid(event_id: str) -> str:
    """Return an event's id as PostHog takes it: a caller's own id becomes a UUID, always the same."""
    try:
        return str(uuid.UUID(event_id))
    except ValueError:
        return str(uuid.uuid5(NAMESPACE, event_id))


def _time(timestamp: int) -> str:
    try:
        return (EPOCH + timedelta(milliseconds=timestamp)).isoformat(timespec="milliseconds")
    except OverflowError:
        reason = aiotrack.Reason.INVALID_EVENT
        raise _refused(reason, "timestamp", "Unix milliseconds of the years 1 to 9999", str(timestamp)) from None


def _quota_is_spent(body: bytes) -> bool:
    """Tell whether a 200 says that events are over the project's quota, and were thrown away."""
    if b"quota_limited" not in body:
        return False
    try:
        limited = json.loads(body).get("quota_limited")
    except (ValueError, AttributeError):
        return False
    return isinstance(limited, list) and "events" in limited
