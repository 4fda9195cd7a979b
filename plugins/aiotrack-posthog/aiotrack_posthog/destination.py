"""The destination: events for PostHog's batch endpoint, as its server SDKs send them (posthog-python 7.91.1)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any, ClassVar, Literal

import orjson

import aiotrack

__all__ = ["PostHog"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LIBRARY = {"$lib": "aiotrack", "$lib_version": version("aiotrack")}


class PostHog(aiotrack.HTTPDestination):
    """Send events to PostHog.

    `api_key` is the project's API key, and `host` where it lives: `https://us.i.posthog.com`,
    `https://eu.i.posthog.com` or a server of yours. Tags become an event's properties, attributes the person's
    (`$set`; not with `person_properties=False`), and `session_id` its `$session_id`. An IP address is only sent,
    and looked up for a place, with `geoip=True`. A batch that fails is sent again at most `max_retries` times
    (None: as the client says). With `historical=True` events are imported as old ones. Raises ConfigError.
    """

    kind = "posthog"
    max_batch_bytes: ClassVar[int | None] = 5_000_000
    compress_from: ClassVar[int] = 0

    def __init__(
        self,
        api_key: str,
        *,
        host: str = "https://us.i.posthog.com",
        compression: Literal["gzip"] | None = "gzip",
        person_properties: bool = True,
        geoip: bool = False,
        historical: bool = False,
        max_retries: int | None = None,
        timeout: float = 15.0,
        name: str | None = None,
    ) -> None:
        if not isinstance(api_key, str) or not api_key.strip():
            raise aiotrack.errors.ConfigError(f"api_key: expected text, got {type(api_key).__name__}")
        if not isinstance(host, str):
            raise aiotrack.errors.ConfigError(f"host: expected an http:// or https:// URL, got {type(host).__name__}")
        super().__init__(f"{host.strip().rstrip('/')}/batch/", name=name, timeout=timeout, compression=compression)
        if max_retries is not None and (type(max_retries) is not int or max_retries < 0):
            raise aiotrack.errors.ConfigError(f"max_retries: expected an integer >= 0 or None, got {max_retries!r}")
        self.max_retries = max_retries
        self._person_properties = person_properties
        self._geoip = geoip
        head: dict[str, Any] = {"api_key": api_key.strip()}
        if historical:
            head["historical_migration"] = True
        self._head = orjson.dumps(head)[:-1]

    def encode(self, event: aiotrack.Event) -> bytes:
        """Return the event as one of a batch, its id as `uuid` and its time in UTC."""
        properties: dict[str, Any] = {**event.tags, **LIBRARY}
        if event.attributes and self._person_properties:
            properties["$set"] = event.attributes
        if event.session_id is not None:
            properties["$session_id"] = str(event.session_id)
        if event.user_agent is not None:
            properties["$raw_user_agent"] = event.user_agent
        if self._geoip and event.ip_address is not None:
            properties["$ip"] = event.ip_address
        if not self._geoip:
            properties["$geoip_disable"] = True
        return aiotrack.dumps(
            {
                "event": event.key,
                "distinct_id": event.user_id,
                "uuid": event.event_id,
                "timestamp": (EPOCH + timedelta(milliseconds=event.timestamp)).isoformat(timespec="milliseconds"),
                "properties": properties,
            }
        )

    def frame(self, entries: Sequence[bytes], envelope: bytes) -> aiotrack.Request:
        """Join the events with the key, which is in none of them."""
        request = super().frame(entries, envelope)
        return aiotrack.Request(
            url=request.url, headers=request.headers, body=self._head + b',"batch":' + request.body + b"}"
        )

    def judge(self, answer: aiotrack.Answer, now: float) -> aiotrack.Verdict:
        """Say what an answer means: a wrong key and a spent quota are final, and the events dead letters."""
        verdict = super().judge(answer, now)
        if verdict.action == "pause" or (verdict.action == "delivered" and _quota_is_spent(answer.body)):
            return aiotrack.Verdict("dead")
        return verdict


def _quota_is_spent(body: bytes) -> bool:
    """Tell whether a 200 says that events are over the project's quota, and were thrown away."""
    if b"quota_limited" not in body:
        return False
    try:
        limited = json.loads(body).get("quota_limited")
    except (ValueError, AttributeError):
        return False
    return isinstance(limited, list) and "events" in limited
