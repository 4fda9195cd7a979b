"""What aiotrack does, in your log. `Client(autoload=True)` finds `plugin`, which has the default options."""

from .plugin import EventLog

__all__ = ["EventLog", "plugin"]

plugin = EventLog()
