"""VWO's gateway service: its address, and the users that it knows under other ids."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson

import aiotrack
from aiotrack.errors import ConfigError
from aiotrack.extension import http_url

__all__ = ["Aliases", "gateway_url"]

FIELDS = {"url", "protocol", "port"}
MOST_USERS = 10_000  # whose id is remembered


def gateway_url(gateway: object) -> str:
    """Return the address of a `gateway_service`, in the vendor's form: `url`, and perhaps `protocol` and `port`.

    What the URL itself says counts; the protocol is https where nothing says another. Raises ConfigError.
    """
    if isinstance(gateway, str):
        gateway = {"url": gateway}
    if not isinstance(gateway, Mapping) or not isinstance(gateway.get("url"), str) or not gateway["url"]:
        raise ConfigError(f"gateway_service: expected a mapping with a url, got {type(gateway).__name__}")
    if unknown := sorted(map(str, gateway.keys() - FIELDS)):
        raise ConfigError(f"gateway_service.{unknown[0]}: no such key, expected one of {', '.join(sorted(FIELDS))}")
    url, protocol, port = gateway["url"], gateway.get("protocol", "https"), gateway.get("port")
    if protocol not in ("http", "https"):
        raise ConfigError(f"gateway_service.protocol: expected 'http' or 'https', got {type(protocol).__name__}")
    if port is not None and (type(port) is not int or not 0 < port < 1 << 16):
        raise ConfigError(f"gateway_service.port: expected a port number, got {type(port).__name__}")
    url = http_url("gateway_service.url", url if "://" in url else f"{protocol}://{url}")
    parts = urlsplit(url)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigError("gateway_service.url: expected an address without a path, query or fragment")
    bare = url.rstrip("/")
    return bare if port is None or parts.port is not None else f"{bare}:{port}"


class Aliases:
    """Which user an id is another name of, as the gateway says; it is asked once for each id.

    `key` returns the SDK key of now; `get` sends a GET request to the URL that a function returns.
    """

    def __init__(
        self,
        base: str,
        account: str,
        key: Callable[[], str],
        get: Callable[[Callable[[], str]], Awaitable[aiotrack.Answer]],
    ) -> None:
        self._base = f"{base}/user-alias/getAliasUserId"
        self._account = account
        self._key = key
        self._get = get
        self._users: dict[str, str] = {}  # by id
        self._asking: dict[str, asyncio.Lock] = {}

    def known(self, user_id: str) -> str | None:
        """Return the user behind an id, None where the gateway has not been asked."""
        return self._users.get(user_id)

    async def find(self, user_id: str) -> aiotrack.Answer | None:
        """Ask for the user behind an id; return None if it is known now, else the answer that was no help."""
        lock = self._asking.setdefault(user_id, asyncio.Lock())
        try:
            async with lock:
                if user_id in self._users:
                    return None
                answer = await self._get(lambda: self._url(user_id))
                if answer.error is not None or answer.status is None or not 200 <= answer.status < 300:
                    return answer
                user = _user_of(user_id, answer.body)
        except ValueError:
            return aiotrack.Answer(error="the gateway's answer about an alias can't be read")
        finally:
            self._asking.pop(user_id, None)
        if len(self._users) >= MOST_USERS:
            del self._users[next(iter(self._users))]
        self._users[user_id] = user
        return None

    def _url(self, user_id: str) -> str:
        query = {"accountId": self._account, "sdkKey": self._key(), "userId": json.dumps([user_id])}
        return f"{self._base}?{urlencode(query)}"


def _user_of(user_id: str, body: bytes) -> str:
    """Read the user behind an id from the gateway's answer, as the vendor's SDK does. Raises ValueError."""
    found: Any = orjson.loads(body)
    if not isinstance(found, list):
        raise ValueError("expected an array")  # noqa: TRY004 - of a document, not of an argument
    for item in found:
        if isinstance(item, Mapping) and item.get("aliasId") == user_id:
            user = item.get("userId")
            return user if isinstance(user, str) and user else user_id
    return user_id
