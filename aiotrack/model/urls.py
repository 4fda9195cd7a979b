"""URLs: which ones requests can be sent to, how they are shown, and which are this machine's own."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from yarl import URL

from .errors import ConfigError

__all__ = ["http_url", "is_loopback", "origin"]


def http_url(key: str, url: object) -> str:
    """Return a URL that requests can be sent to; raise ConfigError that names the key for what is none."""
    if isinstance(url, str):
        try:
            parsed = URL(url)
        except ValueError:
            pass
        else:
            if parsed.scheme in {"http", "https"} and parsed.host:
                return str(parsed)
    raise ConfigError(f"{key}: expected an http:// or https:// URL, got {type(url).__name__}")


def origin(url: str) -> str:
    """Return what of a URL holds no secret, for logs and reprs: scheme and host, without user, path and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else url.partition("?")[0]


def is_loopback(host: str | None) -> bool:
    """Tell whether a host is this machine, by its name alone."""
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"
