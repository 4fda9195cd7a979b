"""Personal data out of aiotrack's events, as the last step before they are encoded."""

from .plugin import Privacy
from .pseudonyms import Pseudonyms

__all__ = ["Privacy", "Pseudonyms"]
