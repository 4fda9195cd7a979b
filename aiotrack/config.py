"""A client from a TOML file or a mapping, with the environment over it.

The top level holds the options of `Settings`; `[buffer]` and each `[destinations.NAME]` name a `kind` and
the options of its constructor. A kind is a word from the entry point group `aiotrack.destinations`
(`http`, `local`, and what is installed), or `package.module:Class`. `AIOTRACK_BATCH_SIZE=100` overrides
`batch_size`, and two underscores go one table down: `AIOTRACK_DESTINATIONS__MAIN__URL`.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
import tomllib
import typing
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

import attrs
import cattrs

from .buffer import MemoryBuffer
from .destination import Destination
from .errors import ConfigError
from .settings import Settings

__all__ = ["load"]

PREFIX = "AIOTRACK_"
BUFFERS: dict[str, Callable[..., Any]] = {"memory": MemoryBuffer}
SECRET = re.compile(r"key|token|secret|password|auth|header|url", re.IGNORECASE)


class _FromEnv(str):
    """Text from an environment variable, to be read as the type that its setting has."""

    __slots__ = ("variable",)
    variable: str


class _Wrong(Exception):
    """A value of the wrong type, before its path is known."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.value = value


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
    except ConfigError as exc:
        raise ConfigError(f"{where}{exc}") from exc.__cause__


def _read(source: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    try:
        return tomllib.loads(Path(source).read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"can't be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"is not TOML: {exc}") from exc


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the AIOTRACK_ variables as a nested mapping."""
    nested: dict[str, Any] = {}
    for variable, text in sorted(environ.items()):
        if variable.startswith(PREFIX):
            value = _FromEnv(text)
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
    settings: _Document = _structure(document, _Document, "")
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
        raise ConfigError(f"{path}.kind: expected text, got {_what('kind', kind)}")
    try:
        factory = find(kind)
    except ConfigError as exc:
        raise ConfigError(f"{path}.kind: {exc}") from exc.__cause__
    parameters = inspect.signature(factory).parameters
    hints = _hints(factory)
    arguments = {}
    for key, value in options.items():
        if key == "kind":
            continue
        if key not in parameters or key in given:
            raise ConfigError(f"{path}.{key}: {kind!r} has no such option; {_near(key, parameters)}")
        arguments[key] = _structure(value, hints.get(key, Any), f"{path}.{key}")
    for key, parameter in parameters.items():
        if (
            parameter.default is parameter.empty
            and key not in arguments
            and parameter.kind is not parameter.VAR_KEYWORD
        ):
            raise ConfigError(f"{path}.{key}: required by {kind!r}, and missing")
    try:
        return factory(**arguments, **given)
    except ConfigError as exc:
        raise ConfigError(f"{path}.{exc}") from exc.__cause__


def _destination_class(kind: str) -> Callable[..., Any]:
    if ":" in kind:
        module, _, name = kind.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as exc:
            raise ConfigError(f"{kind!r} can't be imported: {exc}") from exc
    else:
        points = {point.name: point for point in entry_points(group="aiotrack.destinations")}
        if kind not in points:
            raise ConfigError(f"there is no destination {kind!r}; {_near(kind, points)}")
        found = points[kind].load()
    if not (isinstance(found, type) and issubclass(found, Destination)):
        raise ConfigError(f"{kind!r} is not a Destination class")
    return found


def _buffer_class(kind: str) -> Callable[..., Any]:
    if kind not in BUFFERS:
        raise ConfigError(f"there is no buffer {kind!r}; {_near(kind, BUFFERS)}")
    return BUFFERS[kind]


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(factory.__init__ if isinstance(factory, type) else factory)  # type: ignore[misc]
    except NameError:  # a type that is imported for type checkers only
        return {}


def _near(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


# -- cattrs: no silent conversions, and errors with a path --------------------------------------------


def _scalar(expected: str, kinds: tuple[type, ...], parse: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if isinstance(value, _FromEnv):
            try:
                return parse(value)
            except (KeyError, ValueError):
                raise _Wrong(expected, value) from None
        if type(value) not in kinds:
            raise _Wrong(expected, value)
        return value

    return structure


def _table(value: Any, _: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _Wrong("a table", value)
    return dict(value)


def _tables(value: Any, _: Any) -> dict[str, dict[str, Any]]:
    tables = _table(value, None)
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            raise ConfigError(f"destinations.{name}: expected a table, got {_what(name, table)}")
    return tables


def _texts(value: Any, _: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, _FromEnv) else value


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    text = _scalar("text", (str,), str)
    converter.register_structure_hook(int, _scalar("an integer", (int,), int))
    converter.register_structure_hook(float, _scalar("a number", (int, float), float))
    flags = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    converter.register_structure_hook(bool, _scalar("true or false", (bool,), lambda word: flags[word.lower()]))
    converter.register_structure_hook(str, text)
    converter.register_structure_hook_func(lambda kind: kind == str | os.PathLike[str], text)
    converter.register_structure_hook_func(lambda kind: typing.get_origin(kind) == Literal, text)  # type: ignore[comparison-overlap]
    converter.register_structure_hook_func(lambda kind: kind == tuple[str, ...], _texts)
    converter.register_structure_hook_func(lambda kind: kind == dict[str, dict[str, Any]], _tables)
    converter.register_structure_hook_func(lambda kind: kind == dict[str, Any], _table)
    return converter


_CONVERTER = _converter()


def _structure(value: Any, kind: Any, path: str) -> Any:
    try:
        return _CONVERTER.structure(value, kind)
    except Exception as exc:  # noqa: BLE001 - cattrs lets through whatever a type raises
        raise _explain(exc, path) from None


def _explain(exc: BaseException, path: str) -> ConfigError:
    """Turn cattrs' tree of errors into one sentence about the first of them, with its path."""
    if isinstance(exc, cattrs.ForbiddenExtraKeysError):
        key = min(exc.extra_fields)
        fields = [field.name for field in attrs.fields(exc.cl)]
        return ConfigError(f"{_join(path, key)}: no such setting; {_near(key, fields)}")
    if isinstance(exc, cattrs.BaseValidationError):
        inner = exc.exceptions[0]
        for note in getattr(inner, "__notes__", ()):
            name = getattr(note, "name", None)
            if name is not None:
                return _explain(inner, _join(path, name))
            if hasattr(note, "index"):
                return _explain(inner, f"{path}[{note.index}]")
        return _explain(inner, path)
    if isinstance(exc, _Wrong):
        return ConfigError(f"{path}: expected {exc.expected}, got {_what(path, exc.value)}")
    if isinstance(exc, ConfigError):
        return exc
    if isinstance(exc, cattrs.StructureHandlerNotFoundError):
        return ConfigError(f"{path}: can't be set in a config; give it in code")
    return ConfigError(f"{path}: {exc}")


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _what(path: str, value: object) -> str:
    """Describe a value that came, without showing what may be a secret."""
    origin = f" from {value.variable}" if isinstance(value, _FromEnv) else ""
    kind = "str" if isinstance(value, _FromEnv) else type(value).__name__
    hidden = SECRET.search(path) or isinstance(value, Mapping)
    return f"{kind}{origin}" if hidden else f"{kind} {str(value) if value is None else repr(value)}{origin}"
