"""What may have been meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["near", "nearest"]


def near(key: str, known: Iterable[str]) -> str:
    """Suggest what may have been meant."""
    known = list(known)
    meant = nearest(key, known)
    return f"did you mean {meant!r}?" if meant else f"there are {', '.join(known)}"


def nearest(key: str, known: Iterable[str]) -> str | None:
    """Return the name that is most like another, None where none is."""
    import difflib  # noqa: PLC0415 - only for an error's text

    in_lower_case = {name.lower(): name for name in known}
    close = difflib.get_close_matches(key.lower(), in_lower_case, n=1, cutoff=0.7)
    return in_lower_case[close[0]] if close else None
