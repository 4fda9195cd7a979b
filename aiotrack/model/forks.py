"""What a forked child has of its parent, and must leave alone."""

from __future__ import annotations

__all__ = ["never_free"]


def never_free(thing: object) -> None:
    """In a forked child: keep what is the parent's for ever, through the interpreter's end, too.

    To free a copy of its database connection would write to the parent's file, and of its connections, take sockets
    from its event loop.
    """
    import ctypes  # noqa: PLC0415 - for forked children only

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
