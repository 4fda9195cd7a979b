"""A client from a TOML file, a mapping or the environment alone.

The library's own: what is here may change without notice. Import from `aiotrack` or `aiotrack.extension`.
"""

from .factories import spill_buffer
from .load import load

__all__ = ["load", "spill_buffer"]
