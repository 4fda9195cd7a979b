"""What is done to which value of an event: paths, put together to a tree that an event is walked with."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from aiotrack.errors import ConfigError

__all__ = ["FIELDS", "REMOVED", "Action", "Path", "Rules", "short_address"]

FIELDS = ("user_id", "user_agent", "ip_address", "session_id")
SECTIONS = ("tags", "attributes")
REMOVED = object()
"""What stands for a value that does not leave."""

Path = str | tuple[str, ...]
Apply = Callable[["Action", Any], Any]


class Action(Enum):
    """What is done to a value."""

    KEEP = "allow"
    DROP = "drop"
    HASH = "hash"
    TRUNCATE = "truncate"


class Node:
    """What is done below one place: to what is named there, and to the rest (`*`)."""

    __slots__ = ("action", "named", "rest")

    def __init__(self) -> None:
        self.action: Action | None = None
        self.named: dict[str, Node] = {}
        self.rest: Node | None = None

    def at(self, step: str) -> Node:
        """Return the node of a name, made where there is none."""
        if step != "*":
            return self.named.setdefault(step, Node())
        self.rest = self.rest or Node()
        return self.rest

    def merged(self, other: Node | None) -> Node:
        """Return what is done where both a name and `*` say something: the name's word goes first."""
        if other is None or self.action not in {None, Action.KEEP}:
            return self
        both = Node()
        both.action = self.action or other.action
        both.rest = self.rest.merged(other.rest) if self.rest else other.rest
        for name in {**self.named, **other.named}:
            mine, theirs = self.named.get(name), other.named.get(name)
            both.named[name] = mine.merged(theirs) if mine else theirs or Node()
        return both


NOTHING = Node()


class Rules:
    """The rules of all paths. With `closed`, what no rule keeps is dropped."""

    def __init__(self, rules: Mapping[Action, Iterable[Path]], *, closed: bool) -> None:
        self.root = Node()
        self.closed = closed
        for action, paths in rules.items():
            for path in _listed(action, paths):
                self._add(path, action)
        actions = {field: self._action(field) for field in FIELDS}
        self.fields = tuple((field, action) for field, action in actions.items() if action is not Action.KEEP)
        """An event's own fields that do not leave as they are, and what is done to each."""
        self.sections = tuple(section for section in SECTIONS if closed or section in self.root.named)
        """The sections that rules are for."""

    def _add(self, path: Path, action: Action) -> None:
        steps = path if isinstance(path, tuple) else tuple(path.split("."))
        if not steps or not all(isinstance(step, str) for step in steps):
            raise ConfigError(f"{action.value}: expected paths such as 'tags.email', got {path!r}")
        if steps[0] not in (*SECTIONS, *FIELDS) or (steps[0] in FIELDS and len(steps) > 1):
            expected = ", ".join((*FIELDS, *(f"{section}.NAME" for section in SECTIONS)))
            raise ConfigError(f"{action.value}: expected {expected}, got {path!r}")
        if steps == ("user_id",) and action is Action.DROP:
            raise ConfigError("drop: an event needs a user_id: hash it instead")
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
            steps = {key: self._below(node, key) for key in value}
            done = {key: self._walk(value[key], below, closed, apply) for key, below in steps.items()}
            if all(done[key] is value[key] for key in done):
                return value
            return {key: item for key, item in done.items() if item is not REMOVED}
        if isinstance(value, list | tuple):
            inner = node.rest or NOTHING
            items = [self._walk(item, inner, closed, apply) for item in value]
            return [item for item in items if item is not REMOVED]
        return REMOVED if closed else value

    @staticmethod
    def _below(node: Node, key: object) -> Node:
        named = node.named.get(key if isinstance(key, str) else str(key))
        return named.merged(node.rest) if named else node.rest or NOTHING


def _listed(action: Action, paths: Iterable[Path]) -> list[Path]:
    if isinstance(paths, str) or not isinstance(paths, Iterable):
        raise ConfigError(f"{action.value}: expected a list of paths, got {type(paths).__name__} {paths!r}")
    listed = list(paths)
    for path in listed:
        if not isinstance(path, str | tuple) or not path:
            raise ConfigError(f"{action.value}: expected paths such as 'tags.email', got {path!r}")
    return listed


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
    mapped = packed[:12] == b"\0" * 10 + b"\xff\xff"
    return socket.inet_ntop(socket.AF_INET6, packed[:15] + b"\0" if mapped else packed[:6] + b"\0" * 10)
