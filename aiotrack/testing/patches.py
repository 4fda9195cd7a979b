"""What a test run wraps around the library's own classes, from outside; without a session they do as in production."""

from __future__ import annotations

import contextlib
import functools
import socket
import weakref
from collections.abc import Callable, Generator
from typing import Any

import attrs
from aiohttp.abc import ResolveResult

from aiotrack.client import Client
from aiotrack.destinations.base import Destination
from aiotrack.destinations.http import HTTPDestination
from aiotrack.destinations.http.resolver import Resolver
from aiotrack.lifecycle import ClientLifecycle
from aiotrack.model.batch import Answer, Request
from aiotrack.model.state import State

from .session import activate, active

__all__ = ["in_production", "replace_destinations"]

_replaced: weakref.WeakKeyDictionary[Client, list[Destination]] = weakref.WeakKeyDictionary()
_made: weakref.WeakKeyDictionary[Client, tuple[tuple[Any, ...], dict[str, Any]]] = weakref.WeakKeyDictionary()


@attrs.define(eq=False)
class _Listener:
    """One listener of a client that many tests may start, and what removes it from the client as it is now."""

    hook: str
    callback: Callable[..., object]
    remove: Callable[[], None]


_listeners: weakref.WeakKeyDictionary[Client, list[_Listener]] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def in_production() -> Generator[None]:
    """Let clients and destinations be themselves within a test run."""
    before = activate(None)
    try:
        yield
    finally:
        activate(before)


def replace_destinations(client: Client, destinations: list[Destination]) -> None:
    """Have a client send to these destinations, whatever its plugins bring."""
    _replaced[client] = destinations


def _wrap(owner: Any, name: str) -> Callable[[Callable[..., Any]], object]:
    """Put a function around a method, which it gets as its first argument."""

    def wrap(wrapper: Callable[..., Any]) -> object:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return wrapper(original, *args, **kwargs)

        setattr(owner, name, wrapped)
        return wrapper

    return wrap


@_wrap(Client, "__init__")
def _client_made(original: Callable[..., None], client: Client, *plugins: object, **options: Any) -> None:
    """Give a client the test's clock; remember how one that no test owns was made, since many tests may start it."""
    session = active()
    if session is not None and session.shared:
        _made[client] = plugins, options
    if session is not None and options.get("clock") is None and (clock := session.clock()) is not None:
        options = {**options, "clock": clock}
    original(client, *plugins, **options)


@_wrap(Client, "on")
def _client_heard(
    original: Callable[..., Callable[[], None]], client: Client, hook: str, callback: Callable[..., object]
) -> Callable[[], None]:
    """Remember the listeners of a client that many tests may start."""
    remove = original(client, hook, callback)
    session = active()
    if session is None or not session.shared:
        return remove
    listener = _Listener(hook, callback, remove)
    listeners = _listeners.setdefault(client, [])
    listeners.append(listener)

    def forget() -> None:
        if listener in listeners:
            listeners.remove(listener)
        listener.remove()

    return forget


@_wrap(Client, "start")
async def _client_started(original: Callable[..., Any], client: Client) -> None:
    """Start anew, as a new process would, a closed client of a module or a wide fixture: a lifespan after another."""
    if active() is not None and client in _made and client._state.current is State.CLOSED:  # noqa: SLF001 - of this package
        _make_anew(client)
    await original(client)


def _make_anew(client: Client) -> None:
    """Give a closed client a new life. User contexts refer to its pipeline, so that stays, with all that is new."""
    plugins, options = _made[client]
    lasting = client._pipeline, client._threads  # noqa: SLF001 - of this package
    Client.__init__(client, *plugins, **options)
    for old, new in zip(lasting, (client._pipeline, client._threads), strict=True):  # noqa: SLF001 - see above
        old.__dict__ = new.__dict__
    client._pipeline, client._threads = lasting  # noqa: SLF001 - see above
    for listener in _listeners.get(client, ()):
        listener.remove = client.on(listener.hook, listener.callback)


@_wrap(ClientLifecycle, "destinations")
def _destinations(
    original: Callable[..., list[Destination]], lifecycle: ClientLifecycle, client: Client
) -> list[Destination]:
    """Replace what would send to where this test run may not."""
    if client in _replaced:
        return _replaced[client]
    destinations = original(lifecycle, client)
    session = active()
    if session is None:
        return destinations
    return session.starting(client, client._state, lifecycle, destinations)  # noqa: SLF001 - of this package


@_wrap(HTTPDestination, "_exchange")
async def _exchange(original: Callable[..., Any], destination: HTTPDestination, request: Request) -> Answer:
    """Keep a request here that goes to where this test run may not."""
    session = active()
    if session is not None and any(map(session.holds_back, destination.hosts(request.url))):
        return Answer()
    answer: Answer = await original(destination, request)
    return answer


@_wrap(Resolver, "resolve")
async def _resolve(
    original: Callable[..., Any], resolver: Resolver, host: str, port: int = 0, family: Any = socket.AF_INET
) -> list[ResolveResult]:
    """Look no name up of where this test run may not send."""
    session = active()
    if session is not None and session.holds_back(host):
        raise OSError(f"{host} is not looked up in a test run: @pytest.mark.aiotrack(network=True)")
    found: list[ResolveResult] = await original(resolver, host, port, family)
    return found
