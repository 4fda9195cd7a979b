"""The tracking plan: a JSON Schema for the tags of each event, from TOML, YAML, JSON or a mapping."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs

from aiotrack.errors import ConfigError

from .grammar import DIALECT, Mode, Unlisted, event_schema, plain, plan_errors

__all__ = ["EventPlan", "Plan", "read"]

E = TypeVar("E", bound=StrEnum)


@attrs.frozen
class EventPlan:
    """One event of a plan: its key, the JSON Schema (draft 2020-12) of its tags, and its mode (None: the plan's)."""

    key: str
    schema: Mapping[str, Any] = attrs.field(repr=False)
    mode: Mode | None = None

    @property
    def description(self) -> str:
        """What the event means, in the plan's words."""
        return str(self.schema.get("description", ""))


@attrs.frozen
class Plan:
    """The events of a plan, by key. `mode` and `unlisted` are None where it does not say."""

    events: Mapping[str, EventPlan]
    mode: Mode | None = None
    unlisted: Unlisted | None = None

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any]) -> Plan:
        """Read a plan from a file (.toml, .yaml, .yml or .json) or a mapping.

        Raises ConfigError with all that is wrong, each with its path.
        """
        document = read(source)
        where = "" if isinstance(source, Mapping) else f"{source}: "
        try:
            problems = [f"{where}{problem}" for problem in plan_errors(document)]
        except RecursionError:
            raise ConfigError(f"{where}is nested too deeply, or contains itself") from None
        if problems:
            raise ConfigError(*problems)
        events: dict[str, EventPlan] = {}
        for key, given in document["events"].items():
            schema = event_schema(given, document.get("additionalProperties"), document.get("$defs", {}))
            standard = cast("dict[str, Any]", plain({"$schema": DIALECT, "type": "object", **schema}))
            events[key] = EventPlan(key, standard, _word(Mode, given.get("mode")))
        return cls(events, _word(Mode, document.get("mode")), _word(Unlisted, document.get("unlisted")))


def _word(kind: type[E], word: Any) -> E | None:
    return None if word is None else kind(word)


def read(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan's document, as it is. Raises ConfigError."""
    if isinstance(source, Mapping):
        return copy.deepcopy(dict(source))
    path = Path(source)
    readers: dict[str, Callable[[str], Any]] = {
        ".toml": tomllib.loads,
        ".json": _json,
        ".yaml": _yaml,
        ".yml": _yaml,
    }
    if path.suffix not in readers:
        raise ConfigError(f"{path}: expected a file that ends in {', '.join(readers)}")
    try:
        document = readers[path.suffix](path.read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise ConfigError(f"{path}: can't be read: {exc.strerror}") from exc
    except ValueError as exc:  # of all three, and of the decoder
        raise ConfigError(f"{path}: is not {path.suffix[1:].upper()}: {exc}") from exc
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a table with `events`, got {type(document).__name__}")
    return cast("dict[str, Any]", document)


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_table)


def _table(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Make a table; the second of two equal keys would silently win."""
    table: dict[Any, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"the key {key!r} is there twice")
        table[key] = value
    return table


def _yaml(text: str) -> Any:
    try:
        import yaml  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigError("a plan in YAML needs PyYAML: pip install 'aiotrack-schema[yaml]'") from None

    class Loader(yaml.SafeLoader):
        """YAML 1.2: `off`, `no` and dates are texts."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            self.flatten_mapping(node)
            return _table(
                [(self.construct_object(key, True), self.construct_object(one, True)) for key, one in node.value]
            )

    untold = {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"}
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in untold]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
    )
    try:
        return yaml.load(text, Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as exc:
        raise ValueError(str(exc)) from exc
