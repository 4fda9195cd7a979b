"""A configuration, read and checked as a whole: all that is wrong with it is said at once, each by its path.

The top level holds the options of `Settings`; `[buffer]`, each `[destinations.NAME]` and each `[plugins.NAME]` hold a
`kind` and the options of its constructor. The environment goes over the document.
"""

from __future__ import annotations

import os
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiotrack.model.documents import FromEnv, json_object, shown, structure
from aiotrack.model.errors import ConfigError, DocumentError
from aiotrack.model.mistakes import Mistakes
from aiotrack.model.settings import ConfigSource, Settings
from aiotrack.model.suggestions import near

from .environment import laid_over, read_environment, variable_of
from .factories import BUFFER, DESTINATION, PLUGIN, Kind, make

__all__ = ["load"]

TABLES = ("buffer", "destinations", "plugins")


def load(source: ConfigSource = None, environ: Mapping[str, str] = os.environ) -> tuple[list[Any], dict[str, Any]]:
    """Return the plugins, destinations last, and the client's options. Raises ConfigError."""
    where = f"{os.fspath(source)}: " if isinstance(source, str | os.PathLike) and os.fspath(source) else ""
    document: Mapping[str, Any] = {}
    try:
        document = _read(source)
        known = (*typing.get_type_hints(Settings), *TABLES)
        document = laid_over(document, read_environment(environ, known))
        with Mistakes() as mistakes:
            for key in (key for key in document if key not in known):
                mistakes.add(f"{key}: no such setting; {near(str(key), known)}")
            plugins = [
                *_made(PLUGIN, "plugins", document, mistakes),
                *_made(DESTINATION, "destinations", document, mistakes),
            ]
            options = _settings(document, mistakes)
            if document.get("buffer") is not None:
                options["buffer"] = mistakes.check(_buffer, document["buffer"])
    except ConfigError as exc:
        raise ConfigError(*(f"{where}{_with_variable(one, document)}" for one in exc.mistakes)) from exc.__cause__
    return plugins, options


def _with_variable(mistake: str, document: Mapping[str, Any]) -> str:
    """Name the environment variable that a wrong value came from."""
    path, separator, _ = mistake.partition(": ")
    variable = variable_of(path, document) if separator else None
    return f"{mistake} (from {variable})" if variable is not None and variable not in mistake else mistake


def _read(source: ConfigSource) -> Mapping[str, Any]:
    if source is None or isinstance(source, Mapping):
        return source or {}
    if not isinstance(source, str | os.PathLike) or not os.fspath(source):
        raise ConfigError(f"expected the path of a TOML file, a mapping or None, got {_named(source)}")
    try:
        return tomllib.loads(Path(source).read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise ConfigError(f"can't be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"is not TOML: {exc}") from exc


def _named(source: object) -> str:
    return "an empty path" if isinstance(source, str) else type(source).__name__


def _settings(document: Mapping[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    """Return the client's own options, those that are right."""
    options: dict[str, Any] = {}
    for key, kind in typing.get_type_hints(Settings).items():
        if key in document:
            before = len(mistakes.found)
            value = mistakes.check(structure, document[key], kind, key)
            if len(mistakes.found) == before:
                mistakes.check(Settings, **{key: value})
                options[key] = value
    return options


def _made(kind: Kind, section: str, document: Mapping[str, Any], mistakes: Mistakes) -> list[Any]:
    """Make each object of a section."""
    tables = mistakes.check(_table, section, document.get(section, {})) or {}
    made: list[Any] = []
    for name, options in tables.items():
        path = f"{section}.{name}"
        table = mistakes.check(_table, path, options)
        if table is not None:
            made.append(mistakes.check(make, kind, path, table, name))
    return made


def _buffer(table: object) -> Any:
    return make(BUFFER, "buffer", _table("buffer", table))


def _table(path: str, value: object) -> dict[str, Any]:
    if isinstance(value, FromEnv):
        try:
            return json_object(value, path)
        except DocumentError:
            raise ConfigError(f"{path}: expected a table, as JSON, got other text") from None  # it may hold secrets
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path}: expected a table, got {shown(path, value)}")
    return dict(value)
