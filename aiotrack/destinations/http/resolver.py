"""Looking names up where nobody waits: a name server that hangs holds up neither the loop, a close nor the exit."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

__all__ = ["Resolver"]

Key = tuple[str, int, int]


class Resolver(AbstractResolver):
    """Asks the system, in a thread of its own for each name that is being looked up.

    The loop's own threads are joined when the loop and the interpreter end, and a lookup can't be cancelled; these
    threads are left behind.
    """

    def __init__(self) -> None:
        self._under_way: dict[Key, asyncio.Future[list[Any]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return a host's addresses. Raises OSError."""
        key = (host, port, family)
        found = self._under_way.get(key)
        if found is None:
            found = self._under_way[key] = asyncio.get_running_loop().create_future()
            found.add_done_callback(lambda _: self._under_way.pop(key, None))
            threading.Thread(
                target=_look_up, args=(key, found, found.get_loop()), name=f"aiotrack resolver {host}", daemon=True
            ).start()
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=address[1],
                family=kind,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, proto, _, address in await asyncio.shield(found)
        ]

    async def close(self) -> None:
        """Wait for nothing."""


def _look_up(key: Key, found: asyncio.Future[list[Any]], loop: asyncio.AbstractEventLoop) -> None:
    host, port, family = key
    answer: list[Any] | OSError
    try:
        answer = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except OSError as exc:
        answer = exc
    except Exception as exc:  # noqa: BLE001 - a name that is none raises UnicodeError, and who knows what else
        answer = OSError(f"{type(exc).__name__}: {exc}")

    def tell() -> None:
        if found.done():
            return
        if isinstance(answer, OSError):
            found.set_exception(answer)
            found.exception()  # whoever asked may be gone
        else:
            found.set_result(answer)

    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(tell)
