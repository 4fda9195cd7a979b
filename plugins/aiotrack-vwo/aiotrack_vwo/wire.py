"""What VWO's service is sent, as its own Python SDK (vwo-fme-python-sdk 1.65.0) sends it."""

from __future__ import annotations

import functools
import random
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import orjson

import aiotrack
from aiotrack.extension import Credential, dumps

from .visitor import visitor_uuid

__all__ = ["Wire"]

KEY = b"\0"  # stands for the SDK key in an event, which a buffer may write to a disk; JSON never has this byte
WITH_USER = b'{"user":'
MOST_VISITORS = 10_000  # whose last message id is remembered


class Wire:
    """Encodes one account's events, and makes requests of them. `sdk` is what the service is told of its sender.

    With `aliases` a visitor is known only when its event is sent, so an event keeps its user's id until then.
    """

    def __init__(self, account: int | str, key: Credential, sdk: Mapping[str, str], *, aliases: bool) -> None:
        self.account = str(account)
        self.sdk = sdk
        self._aliases = aliases
        self._credential = key
        self.key_then = key.text or f"key {uuid.uuid4()}"
        """The SDK key as events are encoded with, before they are stored without it; any text where it may change."""
        self._then_in_json = orjson.dumps(self.key_then)[1:-1]
        self._visitor = functools.lru_cache(maxsize=MOST_VISITORS)(visitor_uuid)
        self._last_message: dict[str, int] = {}

    @property
    def key(self) -> str:
        """The SDK key of now."""
        return self._credential.text

    @property
    def _key_in_json(self) -> bytes:
        return orjson.dumps(self.key)[1:-1]

    # -- events -------------------------------------------------------------------------------------

    def encode(
        self, name: str, event: aiotrack.Event, props: Mapping[Any, Any], visitor_props: Mapping[str, Any], *, web: bool
    ) -> bytes:
        """Return an event's `{"d": ...}`; `web`: whether an id that VWO has given in the browser stays as it is."""
        # As in the vendor's SDK, which finds its users' variations by the same id: with aliases, every one is derived.
        visitor = self._visitor(event.user_id, self.account, web=web and not self._aliases)
        sdk = {"vwo_sdkName": self.sdk["sn"], "vwo_sdkVersion": self.sdk["sv"], "vwo_envKey": self.key_then}
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
        data["visitor"] = {"props": {"vwo_fs_environment": self.key_then, **visitor_props}}
        whole = {"user": event.user_id, "d": data} if self._aliases else {"d": data}
        return dumps(whole).replace(self._then_in_json, KEY)

    def _message_number(self, visitor: str, timestamp: int) -> int:
        """Return the event's milliseconds, or the next that this visitor has not used: message ids are unique."""
        last = self._last_message
        number = max(timestamp, last.pop(visitor, 0) + 1) if visitor in last else timestamp
        if len(last) >= MOST_VISITORS:
            del last[next(iter(last))]
        last[visitor] = number
        return number

    def user_of(self, entry: bytes) -> str | None:
        """Return the id of the user whose event this is, where it is kept."""
        user: str | None = self._read(entry).get("user")
        return user

    def _read(self, entry: bytes) -> dict[str, Any]:
        whole: dict[str, Any] = orjson.loads(entry.replace(KEY, self._key_in_json))
        return whole

    # -- requests -----------------------------------------------------------------------------------

    def batch(self, base: str, entries: Sequence[bytes]) -> aiotrack.Request:
        """Join events for the batch endpoint."""
        query = {"a": self.account, "env": self.key, **self.sdk}
        if any(entry.startswith(WITH_USER) for entry in entries):  # stored while there were aliases
            entries = [orjson.dumps({"d": self._read(entry)["d"]}) for entry in entries]
        return aiotrack.Request(
            url=f"{base}/server-side/batch-events-v2?{urlencode(query)}",
            body=b'{"ev":[' + b",".join(entries).replace(KEY, self._key_in_json) + b"]}",
            headers={"Content-Type": "application/json", "Authorization": self.key},
        )

    def single(self, base: str, entry: bytes, user: str | None) -> aiotrack.Request:
        """Make one event a request of its own, as that of `user` where its own is known under another id."""
        whole = self._read(entry)
        data = whole["d"]
        if user is not None:
            visitor = self._visitor(user, self.account)
            data["msgId"] = f"{visitor}-{data['msgId'].partition('-')[2]}"
            data["visId"] = visitor
        body = orjson.dumps({"d": data}) if "user" in whole else entry.replace(KEY, self._key_in_json)
        agent, address = data.get("visitor_ua"), data.get("visitor_ip")
        query = {
            "en": data["event"]["name"],
            "a": self.account,
            "eTime": data["event"]["time"],
            "random": random.random(),  # noqa: S311 - as in the vendor's SDK
            "p": "FS",
            **({} if agent is None else {"visitor_ua": agent}),
            **({} if address is None else {"visitor_ip": address}),
            **self.sdk,
            "env": self.key,
        }
        headers = {"Content-Type": "application/json"}
        for header, text in {"X-Device-User-Agent": agent, "VWO-X-Forwarded-For": address}.items():
            if text and (clean := "".join(character for character in text if character.isprintable()).strip()):
                headers[header] = clean
        return aiotrack.Request(url=f"{base}/events/t?{urlencode(query)}", body=body, headers=headers)

    def settings_url(self, base: str, endpoint: str) -> str:
        """Return the address of the settings."""
        query = {
            "i": self.key,
            "r": random.random(),  # noqa: S311 - it keeps caches from answering, as in the vendor's SDK
            "a": self.account,
            "platform": "server",
            "api-version": 1,
            **self.sdk,
            "s": "prod",
        }
        return f"{base}/server-side/{endpoint}?{urlencode(query)}"
