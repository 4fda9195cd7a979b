"""What a destination knows of its events: the revision of a datafile or settings document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["Catalog"]


@attrs.frozen
class Catalog:
    """The events that one revision of a destination's document knows, by key."""

    revision: str
    events: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
