"""Connections that keep what a server said, so that an answer which the HTTP parser rejects is an answer still.

aiohttp raises ClientResponseError for an answer that it can't parse (a 204 with a body, two lengths, bytes after the
end), and its status is always 400, the parser's own. Here the first bytes that came are kept and hung on the exception.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict

__all__ = ["Connector", "status_of"]

KEPT = 4096  # bytes of an answer, from its start
STATUS_LINE = re.compile(rb"^HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r?$", re.MULTILINE)
HEADER = re.compile(rb"^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*?)[ \t]*\r?$", re.MULTILINE)


class _Handler(ResponseHandler):
    """Keeps the first bytes of an answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._kept = bytearray()

    def set_response_params(self, **params: Any) -> None:
        """Begin anew: another request is sent on this connection."""
        self._kept = bytearray()
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Keep what comes first, and parse it."""
        if len(self._kept) < KEPT:
            self._kept += data[: KEPT - len(self._kept)]
        super().data_received(data)

    def set_exception(self, exc: BaseException, *args: Any, **kwargs: Any) -> None:
        """Hang what was kept on the error that the request will end in."""
        if self._kept:
            exc.aiotrack_answer = bytes(self._kept)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        super().set_exception(exc, *args, **kwargs)


class Connector(aiohttp.TCPConnector):
    """A connector whose connections keep what a server said."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.keeps_answers = hasattr(self, "_factory")
        """Whether this aiohttp has the seam for it, which is no public one: tests hold the oldest and the newest to
        it."""
        if self.keeps_answers:
            self._factory = functools.partial(_Handler, loop=asyncio.get_running_loop())  # type: ignore[assignment]


def status_of(exc: aiohttp.ClientResponseError) -> tuple[int, Mapping[str, str]] | None:
    """Return status and headers of an answer that can't be parsed; None where they are not known."""
    kept: bytes = getattr(exc.__cause__, "aiotrack_answer", b"")
    final = [line for line in STATUS_LINE.finditer(kept) if not line[1].startswith(b"1")]
    if not final:
        return None
    line = final[0]
    head = re.split(rb"\r?\n\r?\n", kept[line.end() :], maxsplit=1)[0]
    headers = CIMultiDict((name.decode(), text.decode("latin-1")) for name, text in HEADER.findall(head))
    return int(line[1]), headers
