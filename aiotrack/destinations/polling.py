"""A document at a URL, kept fresh: what destinations do with a datafile or a settings file."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import aiohttp
import attrs
from yarl import URL

from aiotrack.model.batch import Answer
from aiotrack.model.clock import Clock
from aiotrack.model.errors import DocumentError
from aiotrack.model.log import EpisodeLog
from aiotrack.model.tasks import wake
from aiotrack.model.urls import origin
from aiotrack.model.verdict import backoff, judge
from aiotrack.model.worker import off_loop

from .credentials import CredentialError, Credentials

__all__ = ["Fetch", "Polling"]

T = TypeVar("T")

TIMEOUT = 10.0  # seconds for one attempt, unless its owner says otherwise
REFUSED = 60.0  # seconds after a first answer that says that address or key are wrong; twice as long after each more
LONGEST_REFUSED = 600.0
LARGEST = 64 * 1024 * 1024  # bytes; no document is larger
PASSING = frozenset({408, 425, 429})  # 4xx that may be another one soon
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 10
JITTER = 0.1  # of the interval, either way


@attrs.frozen
class Fetch:
    """How one attempt ended: accepted, unchanged or failed; `why` is a short sentence."""

    outcome: str
    why: str = ""
    retry_after: float | None = None
    is_refusal: bool = False
    """Whether the server says that the request is wrong: another address, or another key, may help."""


class Polling(Generic[T]):
    """Fetches a document again and again, on request too, and hands on each that can be used.

    `parse` turns a body into a document, in a thread; it raises DocumentError (or any ValueError) for one that
    can't be used, and the one before stays. `accept` takes a document over, on the event loop, and tells
    whether it is a new one. Requests are conditional (`If-None-Match`, `If-Modified-Since`) on the validators
    of the last document that could be used, at the address that it came from. A failure is retried sooner than the
    interval, with backoff and jitter, and logged once per episode; one that the server explains by address or key
    (4xx) is retried after a minute, and then ever more rarely. `connection` and `credentials` are a destination's, so
    that its proxy, its TLS and its secrets count here, too: `url` and `headers` are called when these are known, and
    once more with others where a server refuses them. `timeout` is for one attempt, in seconds.
    """

    def __init__(
        self,
        name: str,
        url: Callable[[], str],
        parse: Callable[[bytes], T],
        accept: Callable[[T], bool],
        *,
        interval: Callable[[], float],
        headers: Callable[[], Mapping[str, str]] = dict,
        timeout: float = TIMEOUT,
        connection: Callable[[str], Mapping[str, Any]] = lambda url: {},
        credentials: Credentials | None = None,
        clock: Clock,
    ) -> None:
        self.last: Fetch | None = None
        self._name = name
        self._url = url
        self._parse = parse
        self._accept = accept
        self._interval = interval
        self._headers = headers
        self._clock = clock
        self._log = EpisodeLog(clock.monotonic)
        self._timeout = timeout
        self._connection = connection
        self._credentials = credentials or Credentials()
        self._validators: dict[str, str] = {}
        self._validators_of = ""  # the address, without its query, that they came from
        self._failures = 0
        self._random = random.Random()  # noqa: S311 - jitter, no secret
        self._digest = b""  # of the document that was last accepted
        self._one_at_a_time = asyncio.Lock()
        self._begun = 0  # fetches
        self._last_of: dict[str, tuple[int, Fetch]] = {}  # by address: the number of the last one that began, its end
        self._sleep: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> bool:
        """Whether the next fetch is only due later."""
        return self._sleep is not None and not self._sleep.done()

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Keep the document fresh until cancelled."""
        while True:
            fetch = await self.refresh(session)
            self._sleep = asyncio.get_running_loop().create_future()
            timer = self._clock.call_later(self._delay(fetch), lambda: wake(self._sleep))
            try:
                await self._sleep
            finally:
                timer.cancel()

    def _delay(self, fetch: Fetch) -> float:
        if fetch.outcome != "failed":
            return self._interval() * self._random.uniform(1 - JITTER, 1 + JITTER)
        soon = min(self._interval(), max(0.1, backoff(self._failures, self._random)))
        if fetch.is_refusal:
            soon = min(REFUSED * 2 ** min(self._failures - 1, 10), LONGEST_REFUSED)
        return max(soon, fetch.retry_after or 0.0)

    async def refresh(self, session: aiohttp.ClientSession, url: Callable[[], str] | None = None) -> Fetch:
        """Fetch the document now, from another address where one is given; one at a time.

        Those who ask for the same address while a fetch is under way share the next.
        """
        url = url or self._url
        address, asked = url().partition("?")[0], self._begun
        async with self._one_at_a_time:
            number, fetch = self._last_of.get(address, (0, Fetch("failed")))
            if number > asked:
                return fetch
            self._begun = number = self._begun + 1
            self.last = fetch = await self._fetch_as_known(session, url)
            self._last_of[address] = number, fetch
        if fetch.outcome == "failed":
            self._failures += 1
            host = origin(self._url()).partition("://")[2]
            message = "%s: the document at %s: %.300s"
            self._log.once(logging.ERROR, "polling", message, self._name, host, fetch.why, until_over=True)
        else:
            self._failures = 0
            self._log.over("polling")
        return fetch

    async def _fetch_as_known(self, session: aiohttp.ClientSession, url: Callable[[], str]) -> Fetch:
        """Fetch it with the secrets of now; with new ones once more, where these are refused."""
        try:
            await self._credentials.refresh(self._timeout)
            version = self._credentials.version
            fetch = await self._fetch(session, url())
            if fetch.is_refusal and await self._credentials.renew(version, self._timeout):
                fetch = await self._fetch(session, url())
        except CredentialError as exc:
            return Fetch("failed", str(exc))
        return fetch

    async def _fetch(self, session: aiohttp.ClientSession, url: str) -> Fetch:
        timeout = aiohttp.ClientTimeout(total=self._timeout, connect=self._timeout / 2)
        address = url.partition("?")[0]
        conditions = self._validators if self._validators_of == address else {}
        try:
            async with await self._follow(session, URL(url, encoded=True), timeout, conditions) as response:
                if response.status == 304 and conditions:
                    return Fetch("unchanged")
                if response.status != 200:
                    verdict = judge(Answer(status=response.status, headers=response.headers), self._clock.time())
                    is_refusal = 400 <= response.status < 500 and response.status not in PASSING
                    return Fetch("failed", f"HTTP {response.status}", verdict.delay, is_refusal)
                body = await _read(response)
                validators = _validators(response.headers)
        except TimeoutError:
            return Fetch("failed", f"no answer within {self._timeout:g} s")
        except DocumentError as exc:
            return Fetch("failed", str(exc))
        except Exception as exc:  # noqa: BLE001 - whatever a URL or a server makes aiohttp raise, the next try may go well
            return Fetch("failed", type(exc).__name__)
        return await self._use(body, address, validators)

    async def _follow(
        self, session: aiohttp.ClientSession, url: URL, timeout: aiohttp.ClientTimeout, conditions: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """Ask, and follow redirects: never from https to http, and to another origin without headers of ours."""
        first, headers = url, {**self._headers(), **conditions}
        for _ in range(MOST_REDIRECTS):
            response = await session.get(
                url, headers=headers, timeout=timeout, allow_redirects=False, **self._connection(str(url))
            )
            target = response.headers.get("Location")
            if response.status not in REDIRECTS or not target:
                return response
            response.release()
            before, url = url, url.join(URL(target))
            if before.scheme == "https" and url.scheme != "https":
                raise DocumentError("redirects from https to http, which is not followed")
            if url.origin() != first.origin():
                headers = dict(conditions)
        raise DocumentError(f"redirects more than {MOST_REDIRECTS} times")

    async def _use(self, body: bytes, address: str, validators: dict[str, str]) -> Fetch:
        try:
            digest, document = await off_loop("parsing", lambda: self._parsed(body))
        except Exception as exc:  # noqa: BLE001 - a document of any shape
            why = str(exc) if isinstance(exc, DocumentError) else type(exc).__name__
            return Fetch("failed", f"can't be used: {why}")
        # Kept only now: the validators of a broken document would hide its mending behind a 304.
        self._validators, self._validators_of = validators, address
        if document is None:
            return Fetch("unchanged")
        accepted = self._accept(document)
        self._digest = digest
        return Fetch("accepted" if accepted else "unchanged")

    def _parsed(self, body: bytes) -> tuple[bytes, T | None]:
        """Return a document, or None if its bytes are those of the last; off the event loop."""
        digest = hashlib.blake2b(body).digest()
        return digest, None if digest == self._digest else self._parse(body)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > LARGEST:
            raise DocumentError(f"is larger than {LARGEST} bytes")
    return bytes(body)


def _validators(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the conditional headers for the next request, verbatim from this answer."""
    names = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}
    return {condition: headers[name] for condition, name in names.items() if name in headers}
