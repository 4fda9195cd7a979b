"""One batch on its way: send, send again, divide, give up; and when a failing destination gets only probes.

The library's own: what is here may change without notice. Import from `aiotrack` or `aiotrack.extension`.
"""
