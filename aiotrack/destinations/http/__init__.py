"""Destinations that send by HTTP, and what they need: compression, name lookups."""

from .destination import HTTPDestination, HTTPOptions

__all__ = ["HTTPDestination", "HTTPOptions"]
