"""What is wrong with the options of one object, collected so that all of it is said at once."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, cast

from .errors import ConfigError, DocumentError

__all__ = ["Mistakes"]

P = ParamSpec("P")
T = TypeVar("T")


class Mistakes:
    """A context in which each option is checked; at its end, one ConfigError names all that are wrong.

    What `check` returns may be used after the context, where it is sure to be there.
    """

    def __init__(self) -> None:
        self.found: list[str] = []

    def check(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call what raises ConfigError for a wrong option, and go on either way."""
        try:
            return function(*args, **kwargs)
        except ConfigError as exc:
            self.found.extend(exc.mistakes)
        except DocumentError as exc:
            self.found.append(str(exc))
        return cast("T", None)

    def add(self, mistake: str) -> None:
        """Add a sentence."""
        self.found.append(mistake)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None and self.found:
            raise ConfigError(*self.found)
