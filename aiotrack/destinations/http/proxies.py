"""The proxy that a request goes by: one that was given, or the environment's where that is to be trusted."""

from __future__ import annotations

from collections.abc import Mapping

from yarl import URL

from aiotrack.model.errors import ConfigError
from aiotrack.model.urls import http_url

__all__ = ["Proxies"]


class Proxies:
    """`proxy` is for all URLs. Else, with `trust_env`, `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` count.

    The environment is read once, here. Raises ConfigError.
    """

    def __init__(self, proxy: str | None, trust_env: bool) -> None:
        if type(trust_env) is not bool:
            raise ConfigError(f"trust_env: expected true or false, got {type(trust_env).__name__}")
        self._proxy = None if proxy is None else http_url("proxy", proxy)
        self._by_scheme: Mapping[str, str] = {}
        if trust_env and proxy is None:
            from urllib.request import getproxies_environment  # noqa: PLC0415 - only those who trust it pay for it

            found = getproxies_environment()
            for scheme in found.keys() & {"http", "https", "all"}:
                url = found[scheme] if "://" in found[scheme] else f"http://{found[scheme]}"  # as curl reads it
                found[scheme] = http_url(f"trust_env: {scheme.upper()}_PROXY", url)
            self._by_scheme = found

    def of(self, url: str) -> str | None:
        """Return the proxy for a URL, None where there is none."""
        if not self._by_scheme:
            return self._proxy
        import urllib.request  # noqa: PLC0415 - as above

        bypass = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]

        parsed = URL(url)
        if bypass(f"{parsed.host}:{parsed.port}", dict(self._by_scheme)):
            return None
        return self._by_scheme.get(parsed.scheme) or self._by_scheme.get("all")

    @property
    def any(self) -> bool:
        """Whether there are proxies at all."""
        return self._proxy is not None or bool(self._by_scheme.keys() - {"no"})
