"""URLs: which ones requests can be sent to, how they are shown, and which are this machine's own."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from yarl import URL

from .errors import ConfigError

__all__ = ["http_url", "is_loopback", "origin"]

LONGEST = 80  # characters of a wrong URL that are shown
HOW = "http:// or https://"


def http_url(key: str, url: object) -> str:
    """Return a URL that requests can be sent to; raise ConfigError that names the key for what is none."""
    if isinstance(url, URL):
        url = str(url)
    if not isinstance(url, str):
        raise ConfigError(f"{key}: expected an {HOW} URL, got {type(url).__name__}")
    if not url.isprintable() or url != url.strip():
        raise ConfigError(f"{key}: expected an {HOW} URL, got one with spaces or line breaks around or in it")
    scheme, separator, _ = url.partition("://")
    if separator and scheme.lower() not in {"http", "https"}:
        kind = "a SOCKS proxy" if scheme.lower().startswith("socks") else f"{_shown(url)}"
        raise ConfigError(f"{key}: expected an {HOW} URL, got {kind}; no other kind is spoken")
    try:
        parsed = URL(url)
        host, port = parsed.host, parsed.port
    except ValueError:
        raise ConfigError(f"{key}: expected an {HOW} URL, got {_shown(url)}") from None
    if not separator:
        raise ConfigError(f"{key}: expected an {HOW} URL, got {_shown(url)}{_meant(url)}")
    if not host or port == 0 or any(character in host for character in " {}<>\\"):
        raise ConfigError(f"{key}: expected an {HOW} URL with a host and a port above 0, got {_shown(url)}")
    return str(parsed)


def _meant(url: str) -> str:
    """Suggest the URL that was meant by one without a scheme."""
    try:
        host = URL(f"http://{url}").host
    except ValueError:
        return ""
    scheme = "http" if is_loopback(host) else "https"
    return f"; did you mean {_shown(f'{scheme}://{url}')}?" if host else ""


def _shown(url: str) -> str:
    """Show what somebody took for a URL, without what may be a secret: user, password and query."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    text = f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"
    return repr(text[:LONGEST]) + ("..." if len(text) > LONGEST else "")


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
