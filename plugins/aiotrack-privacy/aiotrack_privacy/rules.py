"""What is done to which value of an event: paths, put together to a tree that an event is walked with."""

from __future__ import annotations

import socket
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from aiotrack.errors import ConfigError

__all__ = ["FIELDS", "REMOVED", "Action", "Path", "Rules", "paths", "short_address"]

FIELDS = ("user_id", "user_agent", "ip_address", "session_id")
SECTIONS = ("tags", "attributes")
REMOVED = object()
"""What stands for a value that does not leave."""

Steps = tuple[str, ...]
Path = str | Steps
Apply = Callable[["Action", Any], Any]


class Action(Enum):
    """What is done to a value."""

    KEEP = "allow"
    DROP = "drop"
    HASH = "hash"
    TRUNCATE = "truncate"


STRICTNESS = {None: 0, Action.KEEP: 1, Action.TRUNCATE: 2, Action.HASH: 3, Action.DROP: 4}


class Node:
    """What is done below one place: to what is named there, and to anything (`*`)."""

    __slots__ = ("_below", "_inside", "action", "named", "rest")

    def __init__(self) -> None:
        self.action: Action | None = None
        self.named: dict[str, Node] = {}
        self.rest: Node | None = None
        self._below: dict[str, Node] = {}
        self._inside: Node | None = None

    def at(self, step: str) -> Node:
        """Return the node of a name, made where there is none."""
        if step != "*":
            return self.named.setdefault(step, Node())
        self.rest = self.rest or Node()
        return self.rest

    def merged(self, other: Node | None) -> Node:
        """Return what is done where both say something: the stricter."""
        if other is None:
            return self
        both = Node()
        both.action = max(self.action, other.action, key=lambda action: STRICTNESS[action])
        both.rest = self.rest.merged(other.rest) if self.rest else other.rest
        for name in {**self.named, **other.named}:
            mine, theirs = self.named.get(name), other.named.get(name)
            both.named[name] = mine.merged(theirs) if mine else theirs or Node()
        return both

    def below(self, key: str) -> Node:
        """Return what is done to a key's value."""
        named = self.named.get(key)
        if named is None:
            return self.rest or NOTHING
        found = self._below.get(key)
        if found is None:
            found = self._below[key] = named.merged(self.rest)
        return found

    def inside(self) -> Node:
        """Return what is done to each item of a list: names, not places, reach through it; `*` is any place."""
        if self._inside is None:
            through = Node()
            through.named = {name: node for name, node in self.named.items() if not name.isdigit()}
            self._inside = through.merged(self.rest)
        return self._inside


NOTHING = Node()


class Rules:
    """The rules of all paths; of several that fit the strictest counts. With `closed`, what none keeps is dropped."""

    def __init__(self, rules: Mapping[Action, Iterable[Steps]], *, closed: bool) -> None:
        self.root = Node()
        self.closed = closed
        for action, listed in rules.items():
            for steps in listed:
                self._add(steps, action)
        actions = {field: self._action(field) for field in FIELDS}
        self.fields = tuple((field, action) for field, action in actions.items() if action is not Action.KEEP)
        """An event's own fields that do not leave as they are, and what is done to each."""
        self.sections = tuple(section for section in SECTIONS if closed or section in self.root.named)
        """The sections that rules are for."""

    def _add(self, steps: Steps, action: Action) -> None:
        path = ".".join(steps)
        if steps == ("user_id",) and action is Action.DROP:
            raise ConfigError("drop: an event needs a user_id: hash it instead")
        if len(steps) == 1 and steps[0] in SECTIONS and action in {Action.HASH, Action.TRUNCATE}:
            raise ConfigError(f"{action.value}: {path!r} is all of them: {path}.NAME, or {path}.*")
        node = self.root
        for step in steps:
            node = node.at(step)
        if node.action is not None and node.action is not action:
            raise ConfigError(f"{action.value}: {path!r} is in {node.action.value}, too")
        node.action = action

    def _action(self, field: str) -> Action:
        node = self.root.named.get(field)
        if node is not None and node.action is not None:
            return node.action
        return Action.DROP if self.closed and field != "user_id" else Action.KEEP

    def apply(self, section: str, values: Mapping[str, Any], apply: Apply) -> Any:
        """Return a section's values as they may leave; the same object where nothing changes."""
        done = self._walk(values, self.root.named.get(section) or NOTHING, self.closed, apply)
        return {} if done is REMOVED else done

    def _walk(self, value: Any, node: Node, closed: bool, apply: Apply) -> Any:
        if node.action is Action.DROP:
            return REMOVED
        if node.action is Action.KEEP:
            closed = False
        elif node.action is not None:
            return apply(node.action, value)
        if not node.named and node.rest is None:
            return REMOVED if closed else value
        if isinstance(value, Mapping):
            items = list(dict.items(value) if isinstance(value, dict) else value.items())
            kept = {key: self._walk(item, node.below(_name(key)), closed, apply) for key, item in items}
            if all(kept[key] is item for key, item in items):
                return value
            return {key: item for key, item in kept.items() if item is not REMOVED}
        if isinstance(value, list | tuple):
            inside = node.inside()
            walked = [self._walk(item, _at(node, inside, index), closed, apply) for index, item in enumerate(value)]
            return [item for item in walked if item is not REMOVED]
        return REMOVED if closed else value


def _at(node: Node, inside: Node, index: int) -> Node:
    """Return what is done to one item of a list, which may be named by its place."""
    named = node.named.get(str(index))
    return inside if named is None else inside.merged(named)


def _name(key: object) -> str:
    """Spell a key as JSON will."""
    if isinstance(key, str):
        text = str.__str__(key)
        return text if text.isascii() else unicodedata.normalize("NFC", text)
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    return int.__repr__(key) if isinstance(key, int) else str(key)


def paths(option: str, given: Iterable[Path]) -> list[Steps]:
    """Return an option's paths as steps. Raises ConfigError."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"{option}: expected a list of paths, got {type(given).__name__} {given!r}")
    found: list[Steps] = []
    for path in given:
        steps = list(path) if isinstance(path, tuple) else path.split(".") if isinstance(path, str) else []
        if not steps or not all(isinstance(step, str) and step for step in steps):
            raise ConfigError(f"{option}: expected paths such as 'tags.email', got {path!r}")
        if steps[0] not in (*SECTIONS, *FIELDS) or (steps[0] in FIELDS and len(steps) > 1):
            expected = ", ".join((*FIELDS, *(f"{section}.NAME" for section in SECTIONS)))
            raise ConfigError(f"{option}: expected {expected}, got {path!r}")
        found.append((steps[0], *(unicodedata.normalize("NFC", step) for step in steps[1:])))
    return found


def short_address(address: object) -> str | None:
    """Return an IP address without its last 8 (IPv4) or 80 bits (IPv6); None for what is none."""
    if not isinstance(address, str):
        return None
    text = address.strip().partition("%")[0]
    try:
        return socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, text)[:3] + b"\0")
    except (OSError, ValueError):
        pass
    try:
        packed = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return None
    if packed[:12] == b"\0" * 10 + b"\xff\xff":  # an IPv4 address, mapped
        return socket.inet_ntop(socket.AF_INET6, packed[:15] + b"\0")
    kept = 5 if packed[:2] == b"\x20\x02" else 6  # 6to4 has an IPv4 address in its first 48 bits
    return socket.inet_ntop(socket.AF_INET6, packed[:kept] + b"\0" * (16 - kept))
