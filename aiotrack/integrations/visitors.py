"""Whom a request is from: its user, the user agent, and the address, behind proxies that are trusted.

The library's own: what is here may change without notice. Import from the module of your framework.
"""

from __future__ import annotations

import contextlib
import inspect
import ipaddress
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from aiotrack.model.errors import ConfigError
from aiotrack.model.log import EpisodeLog
from aiotrack.model.tasks import PLUGIN_ERRORS, OwnTask, reraise_exit
from aiotrack.tracking.current import use_user
from aiotrack.tracking.user import User

__all__ = ["Answer", "Maker", "Visitor", "Visitors", "check_factory", "made_by"]

Made = TypeVar("Made")
Request = TypeVar("Request")
Answer = Any
"""What `user=` may return: a user's id (text, a number or a UUID), a pair of that and a mapping of attributes, a user
context, or None for nobody."""

UNIX = "unix"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_log = EpisodeLog(time.monotonic)


class Maker(Protocol):
    """What makes user contexts: a client, with an event loop or without."""

    def create_user_context(  # noqa: D102
        self, user_id: Any, attributes: Any = None, *, user_agent: str | None = None, ip_address: str | None = None
    ) -> User: ...


class Visitor(Protocol):
    """What a framework tells of a request."""

    @property
    def user_agent(self) -> str | None: ...  # noqa: D102
    @property
    def peer(self) -> str | None:
        """The address that the request came from; None where it came by a Unix socket."""
        ...

    @property
    def forwarded_for(self) -> str:
        """Its `X-Forwarded-For`, several joined with commas."""
        ...


def check_factory(make_client: object, kind: type) -> None:
    """Raise ConfigError for what makes no client: one that was made already, say, which could be started once only."""
    if not callable(make_client):
        got = type(make_client).__name__
        raise ConfigError(f"make_client: expected a function that returns a {kind.__name__}, got {got}")


def made_by(make_client: Callable[[], Made], kind: type[Made]) -> Made:
    """Make a client. Raises ConfigError where it is none of that kind."""
    check_factory(make_client, kind)
    client: object = make_client()
    if not isinstance(client, kind):
        got = type(client).__name__
        raise ConfigError(f"make_client: expected a function that returns a {kind.__name__}, and it returned {got}")
    return client


class Visitors(Generic[Request]):
    """Makes a user context of a request. What can't be had costs the request nothing: it is logged, once an episode.

    `user` is asked for each request. `trusted_proxies` are addresses and networks, or "unix" for a Unix socket, whose
    `X-Forwarded-For` counts: the address is the last in it that is none of them. Raises ConfigError.
    """

    def __init__(self, user: Callable[[Request], Answer] | None, trusted_proxies: Iterable[str]) -> None:
        if user is not None and not callable(user):
            raise ConfigError(f"user: expected a function of the request, got {type(user).__name__}")
        if isinstance(trusted_proxies, str):
            raise ConfigError("trusted_proxies: expected a list of addresses or networks, got text")
        self.user = user
        self._trusted: list[Network] = []
        self._trusts_unix = False
        for proxy in trusted_proxies:
            if proxy == UNIX:
                self._trusts_unix = True
                continue
            try:
                self._trusted.append(ipaddress.ip_network(proxy, strict=False))
            except ValueError:
                raise ConfigError(f"trusted_proxies: expected an address or a network, got {proxy!r}") from None

    def use(self, client: Maker | None, answer: Answer, visitor: Visitor) -> contextlib.AbstractContextManager[object]:
        """Return a context in which the user that was answered is the current one."""
        if client is None and not isinstance(answer, User | None):
            self._failed("there is no client here: is its lifespan, or setup, that of this application?")
            answer = None
        if client is None or answer is None or isinstance(answer, User):
            return use_user(answer)
        user_id, attributes = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
        address = self._address(visitor.peer, visitor.forwarded_for)
        return use_user(
            client.create_user_context(user_id, attributes, user_agent=visitor.user_agent, ip_address=address)
        )

    async def ask(self, request: Request) -> Answer:
        """Ask whom a request is from; what `user` raises means nobody."""
        own = OwnTask()
        try:
            answer = None if self.user is None else self.user(request)
            return await answer if inspect.isawaitable(answer) else answer
        except PLUGIN_ERRORS as exc:  # the application's code
            own.reraise(exc)
            self._failed(f"user= raised {type(exc).__name__}")
            return None

    def ask_now(self, request: Request) -> Answer:
        """Ask whom a request is from, where nobody can wait."""
        try:
            answer = None if self.user is None else self.user(request)
        except PLUGIN_ERRORS as exc:  # the application's code
            reraise_exit(exc)
            self._failed(f"user= raised {type(exc).__name__}")
            return None
        if inspect.iscoroutine(answer):
            answer.close()
            self._failed("user= is `async def`, and nobody can wait for it here")
            return None
        return answer

    @staticmethod
    def _failed(why: str) -> None:
        """Say why a request has no current user; the text of what `user` raises may hold whom it is about."""
        _log.once(logging.ERROR, ("request", why), "requests are tracked for nobody: %s", why)

    def _address(self, peer: str | None, forwarded_for: str) -> str | None:
        """Return the address of who sent a request, as far as those who passed it on are trusted."""
        address = peer or None
        if not (self._trusted or self._trusts_unix):
            return address
        hops = [hop.strip() for hop in forwarded_for.split(",") if hop.strip()]
        while hops and self._is_trusted(address):
            address = _bare(hops.pop())
        return address

    def _is_trusted(self, address: str | None) -> bool:
        if address is None:
            return self._trusts_unix
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._trusted)


def _bare(hop: str) -> str:
    """Return an address without its port."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
