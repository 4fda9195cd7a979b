"""Tracking without an event loop: scripts, notebooks, threads, pre-forked workers."""

from __future__ import annotations
