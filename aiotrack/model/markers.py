"""The two pluggy markers. They stand this low because destinations are plugins, and mark a hook of their own."""

from __future__ import annotations

import pluggy

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("aiotrack")
hookimpl = pluggy.HookimplMarker("aiotrack")
"""Marks a plugin's function or method as an implementation of the hook of the same name."""
