"""Destinations that send by HTTP, and what they need: compression, name lookups."""

from .destination import HTTPDestination

__all__ = ["HTTPDestination"]
