"""The headers that a user gives: checked when they are given, since aiohttp refuses them only when they are sent."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiotrack.destinations.credentials import Credential, Credentials, SecretText
from aiotrack.model.errors import ConfigError
from aiotrack.model.mistakes import Mistakes

__all__ = ["Headers", "header_value"]

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token, RFC 9110, 5.6.2
FRAMING = frozenset(
    {"connection", "content-encoding", "content-length", "expect", "te", "trailer", "transfer-encoding"}
)


class Headers:
    """Headers by name, over some that are sent where nothing else is said. Raises ConfigError, without a value."""

    def __init__(
        self, given: Mapping[str, SecretText] | None, credentials: Credentials, standard: Mapping[str, str]
    ) -> None:
        if given is not None and not isinstance(given, Mapping):
            raise ConfigError(f"headers: expected a mapping of names to values, got {type(given).__name__}")
        self._secret: dict[str, Credential] = {}
        names: dict[str, str] = {}
        with Mistakes() as mistakes:
            for name, value in (given or {}).items():
                mistakes.check(_check_name, name, names)
                credential = mistakes.check(credentials.add, f"headers.{name}", value, header_value)
                self._secret[name] = credential
        standard = {name: value for name, value in standard.items() if name.lower() not in names}
        self._plain = {**standard, **{name: one.text for name, one in self._secret.items() if not one.changes}}
        self._secret = {name: one for name, one in self._secret.items() if one.changes}
        self.names = frozenset(map(str.lower, (*self._plain, *self._secret)))
        """In lower case."""

    def now(self) -> Mapping[str, str]:
        """Return them with the secrets of now."""
        if not self._secret:
            return self._plain
        return {**self._plain, **{name: credential.text for name, credential in self._secret.items()}}


def _check_name(name: object, names: dict[str, str]) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(f"headers: expected a name of letters, digits and dashes, got {str(name)[:80]!r}")
    if name.lower() in FRAMING:
        raise ConfigError(f"headers.{name}: is set by the sender, from what it sends")
    if name.lower() in names:
        raise ConfigError(f"headers.{name}: is there twice, as {names[name.lower()]!r}, too")
    names[name.lower()] = name


def header_value(option: str, value: object) -> str:
    """Return a header's value; raise ConfigError, that does not show it, for one that can't be sent."""
    if not isinstance(value, str):
        raise ConfigError(f"{option}: expected text, or a function that returns it, got {type(value).__name__}")
    if value != value.strip():
        raise ConfigError(f"{option}: expected text on one line, got some with spaces or a line break at an end")
    if any(character < " " or character == "\x7f" for character in value if character != "\t"):
        raise ConfigError(
            f"{option}: expected text on one line, got some with a line break or another control character"
        )
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(f"{option}: expected text that UTF-8 can carry, got some with a lone surrogate")
    return value
