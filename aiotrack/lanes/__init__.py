"""One destination's queue: how events come in, when they are due, what became of them, and the senders that empty it.

The library's own: what is here may change without notice. Import from `aiotrack` or `aiotrack.extension`.
"""
