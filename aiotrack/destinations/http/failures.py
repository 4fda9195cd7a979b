"""What kept a request from being answered, in a word that an operator can look up, and without a secret."""

from __future__ import annotations

import errno
import ssl

import aiohttp

__all__ = ["failure_name"]


def failure_name(exc: Exception) -> str:
    """Return the exception's name, and what the system or TLS said: an errno's name or a phrase of theirs."""
    cause: object = exc
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        cause = exc.certificate_error
    elif isinstance(exc, aiohttp.ClientConnectorError):
        cause = exc.os_error
    name = type(exc).__name__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"{name}: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"{name}: {cause.reason}"
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return f"{name}: name not found"
    word = errno.errorcode.get(cause.errno or 0) if isinstance(cause, OSError) else None
    return f"{name}: {word}" if word else name
