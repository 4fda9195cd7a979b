"""The two pluggy markers; apart from the specs, so that a plugin module needs nothing else."""

import pluggy

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("aiotrack")
hookimpl = pluggy.HookimplMarker("aiotrack")
"""Marks a plugin's function or method as an implementation of the hook of the same name."""
