"""What `ssl=` may be: a context, the file of a private authority, or that and a client's certificate."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, TypeVar

from aiotrack.model.errors import ConfigError
from aiotrack.model.mistakes import Mistakes
from aiotrack.model.settings import file_path
from aiotrack.model.suggestions import near

T = TypeVar("T")

__all__ = ["TLSFiles", "TLSOption", "tls_context"]


class TLSFiles(TypedDict, total=False):
    """Files in PEM, read when the destination is made. Without `ca_file` the system's authorities count."""

    ca_file: str | os.PathLike[str]
    """The certificates of the authorities that the server's must come from."""
    cert_file: str | os.PathLike[str]
    """The certificate that this client shows; `key_file` may be in it."""
    key_file: str | os.PathLike[str]
    """The certificate's private key."""
    key_password: str
    """The private key's password."""


TLSOption = ssl.SSLContext | str | os.PathLike[str] | TLSFiles
"""A context, the path of a file of authorities, or files."""

EXPECTED = "an ssl.SSLContext, the path of a CA file, or a table of ca_file, cert_file and key_file"


def tls_context(given: TLSOption | None) -> ssl.SSLContext | None:
    """Return the context for `ssl=`; None is the system's. Raises ConfigError."""
    if given is None or isinstance(given, ssl.SSLContext):
        return given
    if isinstance(given, bool):
        why = "; TLS is always verified: give the CA file of a private authority" if given is False else ""
        raise ConfigError(f"ssl: expected {EXPECTED}, got {given}{why}")
    files: Mapping[str, Any] = {"ca_file": given} if isinstance(given, str | os.PathLike) else given
    if not isinstance(files, Mapping) or not files:
        raise ConfigError(f"ssl: expected {EXPECTED}, got {'an empty table' if files == {} else type(files).__name__}")
    known = TLSFiles.__optional_keys__
    with Mistakes() as mistakes:
        for key, path in files.items():
            if key not in known:
                mistakes.add(f"ssl.{key}: no such option; {near(str(key), sorted(known))}")
            elif key != "key_password":
                mistakes.check(file_path, f"ssl.{key}", "file", path)
        if "cert_file" not in files and files.keys() & {"key_file", "key_password"}:
            mistakes.add("ssl.cert_file: needed for a key")
    context = _read("ssl.ca_file", lambda: ssl.create_default_context(cafile=files.get("ca_file")))
    if "cert_file" in files:
        key_file, password = files.get("key_file"), files.get("key_password", "")
        # A password of "": OpenSSL would ask for one on the terminal, and wait.
        _read("ssl.cert_file", lambda: context.load_cert_chain(files["cert_file"], key_file, password))
    return context


def _read(option: str, read: Callable[[], T]) -> T:
    """Read files; raise ConfigError that names the option for what can't be read or used."""
    try:
        return read()
    except ssl.SSLError as exc:
        reason = (exc.reason or "no certificate in it").replace("_", " ").lower()
        raise ConfigError(f"{option}: can't be used as PEM: {reason}") from None
    except OSError as exc:
        raise ConfigError(f"{option}: can't be read: {exc.strerror}") from None
