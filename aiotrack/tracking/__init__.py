"""One event: from the user's call through the plugins to the lanes.

The library's own: what is here may change without notice. Import from `aiotrack` or `aiotrack.extension`.
"""
