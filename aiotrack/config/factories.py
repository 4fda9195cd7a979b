"""Objects by name: what a table of a configuration names by `kind`, made with the table's other options.

A kind is a word, `http`, `local`, `console`; `memory`, `file`, `spill`; or one from the entry point groups
`aiotrack.destinations`, `aiotrack.buffers` and `aiotrack.plugins` of what is installed; or `package.module:Class`.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import entry_points
from typing import Any, Literal

import attrs

from aiotrack.buffers.base import MIB
from aiotrack.buffers.file import FileBuffer
from aiotrack.buffers.spill import SpillBuffer
from aiotrack.destinations.base import Destination
from aiotrack.hooks.registration import name_of, validate
from aiotrack.model.documents import shown, structure
from aiotrack.model.errors import ConfigError, DocumentError, PluginError
from aiotrack.model.mistakes import Mistakes
from aiotrack.model.settings import at_least
from aiotrack.model.suggestions import near

__all__ = ["BUFFER", "DESTINATION", "PLUGIN", "Kind", "make", "spill_buffer"]


def spill_buffer(
    path: str | os.PathLike[str],
    max_bytes: int = 64 * MIB,
    file_max_bytes: int = 1024 * MIB,
    sync: Literal["full", "normal"] = "full",
    fallback: Literal["memory"] | None = None,
) -> SpillBuffer:
    """Return a buffer of the kind "spill": memory first, then files in a folder."""
    with Mistakes() as mistakes:
        mistakes.check(at_least, 1, "max_bytes", max_bytes)
        mistakes.check(at_least, 1, "file_max_bytes", file_max_bytes)
        files = mistakes.check(FileBuffer, path, max(file_max_bytes, 1), sync, fallback)
    return SpillBuffer(files, max_bytes)


@attrs.frozen
class Kind:
    """A sort of objects that a configuration can name."""

    what: str
    groups: tuple[str, ...]
    """The entry points, the first group's before the others'."""
    built_in: Mapping[str, str] = attrs.field(factory=dict)
    """Those of the library itself, which are there in a frozen program, too, where there are no entry points."""
    is_named: bool = True
    """Whether the name of its table becomes its own; one of plugins is the kind, too, where none is given."""


BUFFERS = {"file": "aiotrack:FileBuffer", "memory": "aiotrack:MemoryBuffer", "spill": f"{__name__}:spill_buffer"}
DESTINATIONS = {"console": "aiotrack:Console", "http": "aiotrack:HTTPDestination", "local": "aiotrack:LocalStore"}

BUFFER = Kind("buffer", ("aiotrack.buffers",), BUFFERS, is_named=False)
DESTINATION = Kind("destination", ("aiotrack.destinations",), DESTINATIONS)
PLUGIN = Kind("plugin", ("aiotrack.plugins", "aiotrack"))


def make(kind: Kind, path: str, options: Mapping[str, Any], name: str | None = None) -> Any:
    """Make what a table names, with its options structured by the types of the constructor's parameters.

    Raises ConfigError with all that is wrong, each by its path.
    """
    word = options.get("kind", name if kind is PLUGIN else None)
    if not isinstance(word, str) or not word:
        raise ConfigError(f"{path}.kind: expected text, got {shown('kind', word)}")
    found = _found(kind, word, f"{path}.kind" if "kind" in options else path)
    given = {key: value for key, value in options.items() if key != "kind"}
    if not callable(found):
        if given:
            raise ConfigError(f"{path}.{next(iter(given))}: {word!r} is an object already, and takes no options")
        return found
    known = _options(found)
    named: dict[str, Any] = {"name": name} if kind.is_named and "name" in known else {}
    with Mistakes() as mistakes:
        if kind is DESTINATION and not named:
            mistakes.add(f"{path}: {word!r} takes no name=, so it can't be named")
        arguments = _arguments(given, known, named, path, word, mistakes)
        required = {key for key, option in known.items() if option.required} - named.keys()
        for key in (key for key in known if key in required - given.keys()):
            mistakes.add(f"{path}.{key}: required by {word!r}, and missing")
        if required <= arguments.keys():
            made = mistakes.check(_call, word, found, known, {**arguments, **named}, path)
            if kind is PLUGIN and made is not None:
                mistakes.check(_check_plugin, path, made)
            return made
    return None


def _arguments(
    given: Mapping[Any, Any],
    known: Mapping[str, _Option],
    named: Collection[str],
    path: str,
    word: str,
    mistakes: Mistakes,
) -> dict[str, Any]:
    """Return those of the options that are known and of the right type."""
    arguments: dict[str, Any] = {}
    for key, value in given.items():
        if key in named:
            mistakes.add(f"{path}.{key}: the table's name is the name: [{path.rpartition('.')[0]}.NAME]")
        elif key not in known:
            mistakes.add(f"{path}.{key}: {word!r} has no such option; {near(str(key), known)}")
        else:
            before = len(mistakes.found)
            structured = mistakes.check(structure, value, known[key].type, f"{path}.{key}")
            if len(mistakes.found) == before:
                arguments[key] = structured
    return arguments


def _check_plugin(path: str, plugin: object) -> None:
    try:
        validate(name_of(plugin), plugin)
    except PluginError as exc:
        raise ConfigError(f"{path}: {exc}") from exc


def _call(
    word: str, factory: Callable[..., Any], known: Mapping[str, _Option], arguments: dict[str, Any], path: str
) -> Any:
    listed = [item for key, option in known.items() if option.is_list for item in arguments.pop(key, ())]
    try:
        return factory(*listed, **arguments)
    except DocumentError as exc:
        found = exc.mistakes if isinstance(exc, ConfigError) else (str(exc),)
        raise ConfigError(*(_at(path, known, mistake) for mistake in found)) from exc.__cause__
    except Exception as exc:
        raise ConfigError(f"{path}: {word!r} raised {type(exc).__name__}") from exc  # its text may hold what is secret


def _at(path: str, known: Collection[str], mistake: str) -> str:
    """Put a path before a mistake; one of an option goes on from there, and one of a file that it names does not."""
    option = re.match(r"\w*", mistake)
    return f"{path}.{mistake}" if option is not None and option[0] in known else f"{path}: {mistake}"


def _found(kind: Kind, word: str, path: str) -> Any:
    """Return what a word names: an entry point, or something in a module."""
    word = kind.built_in.get(word, word)
    if ":" in word:
        module, _, name = word.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as exc:
            raise ConfigError(f"{path}: {word!r} can't be imported: {exc}") from exc
        except Exception as exc:
            raise ConfigError(f"{path}: {word!r} can't be imported: {type(exc).__name__}") from exc
    else:
        points = {point.name: point for group in reversed(kind.groups) for point in entry_points(group=group)}
        if word not in points:
            known = sorted({*points, *kind.built_in})
            raise ConfigError(f"{path}: there is no {kind.what} {word!r}; {near(word, known)}")
        try:
            found = points[word].load()
        except Exception as exc:
            raise ConfigError(f"{path}: {word!r} can't be imported: {type(exc).__name__}") from exc
    if kind is DESTINATION and not (isinstance(found, type) and issubclass(found, Destination)):
        raise ConfigError(f"{path}: {word!r} is not a Destination class")
    if kind is BUFFER and not callable(found):
        raise ConfigError(f"{path}: {word!r} makes no buffer")
    return found


@attrs.frozen
class _Option:
    type: Any
    required: bool = False
    is_list: bool = False
    """Whether it is `*name`: as many as there are in an array."""


def _options(factory: Callable[..., Any]) -> dict[str, _Option]:
    """Return what can be set of a constructor: its parameters, and those that it takes as `**http: Unpack[...]`."""
    hints = _hints(factory.__init__ if isinstance(factory, type) else factory)  # type: ignore[misc]
    options: dict[str, _Option] = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        hint = hints.get(name, Any)
        if parameter.kind is inspect.Parameter.VAR_KEYWORD and typing.get_origin(hint) is typing.Unpack:
            (shared,) = typing.get_args(hint)
            options |= {key: _Option(kind) for key, kind in typing.get_type_hints(shared).items()}
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:  # any; what is sure to be understood is a name
            options.setdefault("name", _Option(str))
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            options[name] = _Option(types.GenericAlias(tuple, (hint, ...)), is_list=True)
        else:
            options[name] = _Option(hint, parameter.default is parameter.empty)
    return options


def _hints(function: Any) -> dict[str, Any]:
    """Return the types of a function's parameters; Any for one that is imported for type checkers only."""
    try:
        return typing.get_type_hints(function)
    except NameError:
        hints: dict[str, Any] = {}
        for name, hint in function.__annotations__.items():
            alone = types.FunctionType((lambda: None).__code__, function.__globals__)
            alone.__annotations__ = {name: hint}
            with contextlib.suppress(NameError):
                hints |= typing.get_type_hints(alone)
        return hints
