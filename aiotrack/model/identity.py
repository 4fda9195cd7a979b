"""What a destination's events are for: durable buffers keep them apart by it."""

from __future__ import annotations

import hashlib

import attrs

__all__ = ["Identity"]


@attrs.frozen
class Identity:
    """What a destination's events are for, wherever they pass on their way there; a proxy is no part of it.

    What has waited for one identity is never sent to another.
    """

    kind: str = ""
    """The kind of destination."""
    account: str = ""
    """Its account, project, host or file; people may read it."""
    key: str = attrs.field(default="", repr=False)
    """What else tells it from others; may be a secret, and is never stored in clear."""

    @property
    def fingerprint(self) -> str:
        """Sixteen characters that tell it from others."""
        parts = (self.kind, self.account, self.key)
        return hashlib.sha256("\0".join(map(repr, parts)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
