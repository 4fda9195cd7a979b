"""Tracking without an event loop: scripts, notebooks, threads, pre-forked workers.

The library's own: what is here may change without notice. Import from `aiotrack` or `aiotrack.extension`.
"""
