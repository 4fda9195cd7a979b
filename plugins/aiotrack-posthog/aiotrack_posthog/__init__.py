"""PostHog's capture API, as a destination for aiotrack. It uses nothing but aiotrack's public API."""

from .destination import PostHog

__all__ = ["PostHog"]
