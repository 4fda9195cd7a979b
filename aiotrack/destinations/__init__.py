"""Where events go: how they are encoded, framed and sent.

The library's own: what is here may change without notice. Import from `aiotrack` or `aiotrack.extension`.
"""
