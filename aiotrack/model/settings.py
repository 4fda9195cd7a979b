"""The client's settings: validated in one place, whether they come as arguments, TOML or environment."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Self, get_args

import attrs

from .errors import ConfigError
from .mistakes import Mistakes

__all__ = [
    "CONSOLE",
    "DEFAULTS",
    "NO_SETTINGS",
    "PREFIX",
    "ConfigSource",
    "Overflow",
    "Settings",
    "at_least",
    "file_path",
    "one_of",
    "seconds",
]

PREFIX = "AIOTRACK_"
"""What the environment variables of options begin with."""
CONSOLE = "AIOTRACK_CONSOLE"
"""The environment variable that adds a `Console` to every client."""
NO_SETTINGS = frozenset({CONSOLE, "AIOTRACK_COMPILED", "AIOTRACK_DISABLED"})
"""Environment variables of ours that are no options."""

ConfigSource = str | os.PathLike[str] | Mapping[str, Any] | None
"""The path of a TOML file, a mapping, or None: the environment alone."""

Overflow = Literal["wait", "drop_newest", "drop_oldest"]

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], Any]


def at_least(least: int, key: str, value: object) -> int:
    """Return an integer that is no less than `least`. Raises ConfigError that names the key."""
    if type(value) is not int or value < least:
        raise _unfit(key, f"an integer >= {least}", value)
    return value


def seconds(key: str, value: object, *, zero: bool = False, infinite: bool = False) -> float:
    """Return a number of seconds above zero (`zero`: or zero itself; `infinite`: or `inf`). Raises ConfigError."""
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an int beyond all floats
        number = math.nan
    if math.isnan(number) or number < 0 or (number == 0 and not zero) or (math.isinf(number) and not infinite):
        raise _unfit(key, f"seconds {'>=' if zero else '>'} 0", value)
    return number


def one_of(words: Any, key: str, value: object) -> Any:
    """Return one of the words of a Literal. Raises ConfigError that names the key."""
    if not isinstance(value, str) or value not in get_args(words):
        raise _unfit(key, "one of " + ", ".join(map(repr, get_args(words))), value)
    return value


def file_path(key: str, what: str, value: object) -> str | os.PathLike[str]:
    """Return the path of a file or folder (`what`). Raises ConfigError that names the key."""
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise _unfit(key, f"the path of a {what}", value)
    return value


def _unfit(key: str, expected: str, value: object) -> ConfigError:
    return ConfigError(f"{key}: expected {expected}, got {type(value).__name__} {value!r}")


def _integer(least: int) -> Validator:
    return lambda _, field, value: at_least(least, field.name, value)


def _seconds(*, zero: bool = False) -> Validator:
    return lambda _, field, value: seconds(field.name, value, zero=zero)


def _one_of(words: Any) -> Validator:
    return lambda _, field, value: one_of(words, field.name, value)


def _flag(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if type(value) is not bool:
        raise _unfit(field.name, "true or false", value)


def _names(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"block: expected a list of plugin names, got {type(value).__name__} {value!r}")
    names = tuple(value)
    for index, name in enumerate(names):
        if not isinstance(name, str):
            raise ConfigError(f"block[{index}]: expected a plugin name, got {type(name).__name__} {name!r}")
    return names


@attrs.frozen(kw_only=True)
class Settings:
    """All options of a client. Times are seconds, sizes are bytes. Raises ConfigError, naming the key."""

    batch_size: int = attrs.field(default=500, validator=_integer(1))
    """The most events in one request."""
    batch_bytes: int = attrs.field(default=1_000_000, validator=_integer(1))
    """The most bytes of events in one request; a single larger event goes alone."""
    flush_interval: float = attrs.field(default=1.0, validator=_seconds())
    """The longest that an event waits for others to share a request."""
    overflow: Overflow = attrs.field(default="wait", validator=_one_of(Overflow))
    """When a buffer is full: hold the caller, refuse the new event, or drop the oldest."""
    overflow_timeout: float = attrs.field(default=5.0, validator=_seconds(zero=True))
    """The longest that a caller is held."""
    start_timeout: float = attrs.field(default=10.0, validator=_seconds())
    """The longest that `start` may take."""
    shutdown_timeout: float = attrs.field(default=10.0, validator=_seconds(zero=True))
    """The longest that `aclose` and `flush` take when they are given no timeout."""
    max_retries: int | None = attrs.field(default=None, validator=attrs.validators.optional(_integer(0)))
    """How often a batch is sent again before it is given up on; None: as often as it takes."""
    max_age: float | None = attrs.field(default=None, validator=attrs.validators.optional(_seconds()))
    """After how many seconds an event that can't be delivered is given up on; None: never."""
    plugin_timeout: float = attrs.field(default=5.0, validator=_seconds())
    """The longest that one call of a plugin's async hook may take."""
    plugin_budget: float = attrs.field(default=0.05, validator=_seconds())
    """How long one call of a plugin may hold the event loop up before it is named and counted."""
    strict: bool = attrs.field(default=False, validator=_flag)
    """Raise what is otherwise logged, counted and answered: for tests and development."""
    autoload: bool = attrs.field(default=False, validator=_flag)
    """Load installed plugins from the entry point group `aiotrack`."""
    block: tuple[str, ...] = attrs.field(default=(), converter=_names)
    """Names of plugins to leave out; an installed one is not even imported."""

    @classmethod
    def checked(cls, **given: Any) -> Self:
        """Make them; say of all that are wrong what is. Raises ConfigError."""
        try:
            return cls(**given)
        except ConfigError:
            with Mistakes() as mistakes:
                for key, value in given.items():
                    mistakes.check(cls, **{key: value})
            raise


DEFAULTS = Settings()
"""What a client's options are when they are not given."""
