"""Where encoded events wait between the call and the request: in memory, in a file, or in both.

The library's own: what is here may change without notice. Import from `aiotrack` or `aiotrack.extension`.
"""
