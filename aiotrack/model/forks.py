"""What a forked child has of its parent: what it must do anew, and what it must leave alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

__all__ = ["in_child", "never_free", "notice_fork"]

_process = os.getpid()
_handlers: list[Callable[[], None]] = []
_noticing = threading.Lock()


def in_child(handler: Callable[[], None]) -> None:
    """Have something done in every forked child."""
    _handlers.append(handler)


def notice_fork() -> None:
    """Do it now, in a child that was not forked by Python and does not know that it is one: a worker of uWSGI, say."""
    global _process  # noqa: PLW0603 - a process has one
    if _process == os.getpid():
        return
    with _noticing:
        if _process != os.getpid():
            for handler in _handlers:
                handler()
            _process = os.getpid()


if hasattr(os, "register_at_fork"):  # not on Windows, which forks nothing
    os.register_at_fork(after_in_child=notice_fork)


def never_free(thing: object) -> None:
    """In a forked child: keep what is the parent's for ever, through the interpreter's end, too.

    To free a copy of its database connection would write to the parent's file, and of its connections, take sockets
    from its event loop.
    """
    import ctypes  # noqa: PLC0415 - for forked children only

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
