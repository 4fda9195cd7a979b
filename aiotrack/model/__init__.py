"""Values and small tools that everything else is made of: the event, what became of it, errors, time, tasks. No I/O.

The library's own: what is here may change without notice. Import from `aiotrack` or `aiotrack.extension`.
"""
