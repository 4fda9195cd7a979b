"""The options of VWO's own, checked."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from aiotrack.errors import ConfigError, DocumentError
from aiotrack.extension import http_url

from .settings import Settings

__all__ = ["BRANDS", "Brand", "check_account", "checked_base_url", "checked_key", "first_settings"]

Brand = Literal["vwo", "wingify"]
BRANDS: dict[Brand, tuple[str, str, str]] = {
    # settings, events, name of the SDK
    "vwo": ("https://dev.visualwebsiteoptimizer.com", "https://dev.visualwebsiteoptimizer.com", "vwo-fme-python-sdk"),
    "wingify": ("https://edge.wingify.net", "https://collect.wingify.net", "wingify-fme-python-sdk"),
}


def check_account(account_id: object) -> None:
    """Raise ConfigError for what is no account's id."""
    if isinstance(account_id, bool) or not isinstance(account_id, int | str) or not str(account_id):
        raise ConfigError(f"account_id: expected a number or text, got {type(account_id).__name__}")


def checked_key(option: str, given: object) -> str:
    """Return an SDK key as it is sent. Raises ConfigError, which does not show it."""
    if not isinstance(given, str) or not given.strip():
        raise ConfigError(
            f"{option}: expected text, got {'an empty one' if isinstance(given, str) else type(given).__name__}"
        )
    if not given.strip().isprintable():
        raise ConfigError(f"{option}: expected printable text, got something else")
    return given.strip()


def checked_base_url(given: object, *, batch: bool) -> str:
    """Return a proxy's address for settings and events. Raises ConfigError."""
    url = http_url("base_url", given)
    parts = urlsplit(url)
    if parts.query or parts.fragment or (batch and parts.username is not None):
        raise ConfigError("base_url: expected an address without query, fragment and, with batch=True, user")
    return url


def first_settings(settings: Any) -> Settings:
    """Read the settings that were given. Raises ConfigError."""
    try:
        return Settings.parse(settings)
    except DocumentError as exc:
        raise ConfigError(f"settings: {exc}") from exc.__cause__
