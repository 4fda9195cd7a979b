"""The visitor: VWO's id for one, and the properties that it may have."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping

import aiotrack
from aiotrack.errors import EventRefused

__all__ = ["check_props", "is_web_id", "visitor_uuid"]

_WEB_ID = re.compile(r"^[DJ][0-9A-Fa-f]{32}$")
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://vwo.com")


def is_web_id(user_id: str) -> bool:
    """Tell whether an id is one that VWO has given in the browser: D or J, and 32 hexadecimal digits."""
    return _WEB_ID.match(user_id) is not None


def visitor_uuid(user_id: str, account_id: str, *, web: bool = False) -> str:
    """Return VWO's id for a visitor: a name-based UUID, upper case without dashes.

    With `web` an id that VWO has given in the browser (D or J and 32 hexadecimal digits) is returned as it is.
    """
    if web and is_web_id(user_id):
        return user_id
    return uuid.uuid5(uuid.uuid5(_NAMESPACE, account_id), user_id).hex.upper()


def check_props(attributes: object) -> None:
    """Raise EventRefused for what can't be a visitor's properties."""
    problems = tuple(_unfit(attributes))
    if problems:
        raise EventRefused(aiotrack.Refusal.of(aiotrack.Reason.INVALID_EVENT, problems))


def _unfit(attributes: object) -> Iterator[aiotrack.Problem]:
    """Name what can't be a visitor's properties."""
    if not isinstance(attributes, Mapping) or not attributes:
        yield aiotrack.Problem("attributes", "a mapping with at least one", type(attributes).__name__)
        return
    for name, value in attributes.items():
        if not isinstance(name, str):
            yield aiotrack.Problem("attributes", "keys that are str", f"a key of type {type(name).__name__}")
        elif not isinstance(value, str | int | float):
            yield aiotrack.Problem(f"attributes.{name}", "text, a number or a bool", type(value).__name__)
        elif any(text.encode("utf-8", "replace").decode() != text for text in (name, value) if isinstance(text, str)):
            yield aiotrack.Problem("attributes", "text that UTF-8 can carry", "a lone surrogate")
