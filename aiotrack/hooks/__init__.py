"""Plugins: the hooks they may have, how they are found and registered, and how they are called.

The library's own: what is here may change without notice. Import from `aiotrack` or `aiotrack.extension`.
"""
