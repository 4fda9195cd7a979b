"""A client from a TOML file or a mapping, with the environment over it.

The top level holds the options of `Settings`; `[buffer]` and each `[destinations.NAME]` name a `kind` and
the options of its constructor. A kind is a word from the entry point group `aiotrack.destinations` or
`aiotrack.buffers` (`http`, `local`; `memory`, `file`, `spill`; and what is installed), or `package.module:Class`.
`AIOTRACK_BATCH_SIZE=100` overrides `batch_size`, and two underscores go one table down:
`AIOTRACK_DESTINATIONS__MAIN__URL`.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, cast

import attrs

from .buffers.base import MIB
from .buffers.file import FileBuffer
from .buffers.spill import SpillBuffer
from .destinations.base import Destination
from .model.documents import FromEnv, shown, structure
from .model.errors import ConfigError, DocumentError
from .model.settings import CONSOLE, Settings, at_least
from .model.suggestions import near

__all__ = ["load"]

PREFIX = "AIOTRACK_"


def spill_buffer(
    path: str | os.PathLike[str],
    max_bytes: int = 64 * MIB,
    file_max_bytes: int = 1024 * MIB,
    sync: Literal["full", "normal"] = "full",
    fallback: Literal["memory"] | None = None,
) -> SpillBuffer:
    """Return a buffer of the kind "spill": memory first, then files in a folder."""
    at_least(1, "file_max_bytes", file_max_bytes)
    return SpillBuffer(FileBuffer(path, file_max_bytes, sync, fallback), max_bytes)


@attrs.frozen(kw_only=True)
class _Document(Settings):
    buffer: dict[str, Any] | None = None
    destinations: dict[str, dict[str, Any]] = attrs.field(factory=dict)


def load(
    source: str | Path | Mapping[str, Any], environ: Mapping[str, str] = os.environ
) -> tuple[list[Destination], dict[str, Any]]:
    """Return the destinations and the client's options. Raises ConfigError."""
    where = "" if isinstance(source, Mapping) else f"{source}: "
    try:
        return _build(_over(_read(source), _environment(environ)))
    except DocumentError as exc:
        raise ConfigError(f"{where}{exc}") from exc.__cause__


def _read(source: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    try:
        return tomllib.loads(Path(source).read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise ConfigError(f"can't be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"is not TOML: {exc}") from exc


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the AIOTRACK_ variables as a nested mapping."""
    nested: dict[str, Any] = {}
    for variable, text in sorted(environ.items()):
        if variable.startswith(PREFIX) and variable != CONSOLE:
            value = FromEnv(text)
            value.variable = variable
            *tables, key = variable.removeprefix(PREFIX).lower().split("__")
            table = nested
            for name in tables:
                table = table.setdefault(name, {})
                if not isinstance(table, dict):
                    raise ConfigError(f"{variable}: {name!r} is set as a value and as a table")
            table[key] = value
    return nested


def _over(document: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one document over another; names match in any case, since variables have only one."""
    merged = dict(document)
    for key, value in above.items():
        name = next((known for known in merged if str(known).lower() == key), key)
        below = merged.get(name)
        merged[name] = _over(below if isinstance(below, Mapping) else {}, value) if isinstance(value, dict) else value
    return merged


def _build(document: Mapping[str, Any]) -> tuple[list[Destination], dict[str, Any]]:
    settings = structure(document, _Document, closed=True)
    destinations = [
        _make(_destination_class, options, f"destinations.{name}", name=name)
        for name, options in settings.destinations.items()
    ]
    options = {field.name: getattr(settings, field.name) for field in attrs.fields(Settings)}
    if settings.buffer is not None:
        options["buffer"] = _make(_buffer_class, settings.buffer, "buffer")
    return destinations, options


def _make(find: Callable[[str], Callable[..., Any]], options: Mapping[str, Any], path: str, **given: Any) -> Any:
    """Call the class that `kind` names with the other options, structured by the types of its parameters."""
    kind = options.get("kind")
    if not isinstance(kind, str) or not kind:
        raise ConfigError(f"{path}.kind: expected text, got {shown('kind', kind)}")
    try:
        factory = find(kind)
    except DocumentError as exc:
        raise ConfigError(f"{path}.kind: {exc}") from exc.__cause__
    known = _options(factory)
    arguments = {}
    for key, value in options.items():
        if key == "kind":
            continue
        if key not in known or key in given:
            raise ConfigError(f"{path}.{key}: {kind!r} has no such option; {near(key, known)}")
        arguments[key] = structure(value, known[key].type, f"{path}.{key}")
    for key in given.keys() - known.keys():
        raise ConfigError(f"{path}: {kind!r} takes no {key}=, so it can't be named")
    for key, option in known.items():
        if option.required and key not in {*arguments, *given}:
            raise ConfigError(f"{path}.{key}: required by {kind!r}, and missing")
    try:
        return factory(**arguments, **given)
    except DocumentError as exc:
        raise ConfigError(f"{path}.{exc}") from exc.__cause__


def _destination_class(kind: str) -> Callable[..., Any]:
    found = _found(kind, "destination")
    if not (isinstance(found, type) and issubclass(found, Destination)):
        raise ConfigError(f"{kind!r} is not a Destination class")
    return found


def _buffer_class(kind: str) -> Callable[..., Any]:
    found = _found(kind, "buffer")
    if not callable(found):
        raise ConfigError(f"{kind!r} makes no buffer")
    return cast(Callable[..., Any], found)


def _found(kind: str, what: str) -> object:
    """Return what a kind names: an entry point, or a class in a module."""
    if ":" in kind:
        module, _, name = kind.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as exc:
            raise ConfigError(f"{kind!r} can't be imported: {exc}") from exc
    points = {point.name: point for point in entry_points(group=f"aiotrack.{what}s")}
    if kind not in points:
        raise ConfigError(f"there is no {what} {kind!r}; {near(kind, points)}")
    return points[kind].load()


@attrs.frozen
class _Option:
    type: Any
    required: bool = False


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
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
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
