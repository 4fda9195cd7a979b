"""What is done to which value of an event: paths, put together to a tree that an event is walked with."""

from __future__ import annotations

import functools
import socket
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from aiotrack.errors import ConfigError

__all__ = ["FIELDS", "REMOVED", "Action", "Path", "Rules", "paths", "short_address"]

FIELDS = ("user_id", "user_agent", "ip_address", "session_id")
SECTIONS = ("tags", "attributes")
UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0").union(map(chr, range(0xFE00, 0xFE10)))
"""Characters that are drawn as nothing, beside those of the categories Cc and Cf."""
MOST_SEEN = 1024  # keys of which is remembered what is done to their values, for each place
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
    """What is done below one place: to what is named there, and to anything (`*`).

    What may leave is named exactly. What must not is met in every form that a reader takes for the same name.
    """

    __slots__ = ("_below", "_inside", "_seen", "action", "alike", "exact", "is_leaf", "rest")

    def __init__(self) -> None:
        self.action: Action | None = None
        self.exact: dict[str, Node] = {}
        self.alike: dict[str, Node] = {}
        self.rest: Node | None = None
        self._below: dict[tuple[bool, str | None, str], Node] = {}
        self._inside: Node | None = None
        self._seen: dict[str, Node] = {}
        self.is_leaf = True
        """Whether nothing is said of what is below."""

    def at(self, step: str, action: Action) -> Node:
        """Return the node of a name, made where there is none."""
        self.is_leaf = False
        if step != "*":
            return (self.exact if action is Action.KEEP else self.alike).setdefault(
                step if action is Action.KEEP else form_of(step), Node()
            )
        self.rest = self.rest or Node()
        return self.rest

    def merged(self, other: Node | None) -> Node:
        """Return what is done where both say something: the stricter."""
        if other is None:
            return self
        both = Node()
        both.action = max(self.action, other.action, key=lambda action: STRICTNESS[action])
        both.rest = self.rest.merged(other.rest) if self.rest else other.rest
        both.exact = _merged(self.exact, other.exact)
        both.alike = _merged(self.alike, other.alike)
        both.is_leaf = self.is_leaf and other.is_leaf
        return both

    def of_key(self, key: object) -> Node:
        """Return what is done to a key's value; what the last keys were is remembered."""
        if type(key) is not str:
            return self.below(_name(key))
        found = self._seen.get(key)
        if found is None:
            if len(self._seen) >= MOST_SEEN:  # keys may come from outside
                self._seen.clear()
            found = self._seen[key] = self.below(_name(key))
        return found

    def below(self, key: str, *, in_list: bool = False) -> Node:
        """Return what is done to a key's value, or to an item of a list by its place."""
        rest = self.inside() if in_list else self.rest
        exact = self.exact.get(key)
        form = form_of(key) if self.alike else ""
        alike = self.alike.get(form)
        if exact is None and alike is None:
            return rest or NOTHING
        place = (in_list, None if exact is None else key, form)
        found = self._below.get(place)
        if found is None:
            found = exact.merged(alike) if exact is not None else alike or NOTHING
            found = self._below[place] = found.merged(rest)
        return found

    def inside(self) -> Node:
        """Return what is done to each item of a list: names, not places, reach through it; `*` is any place."""
        if self._inside is None:
            through = Node()
            through.exact = {name: node for name, node in self.exact.items() if not name.isdigit()}
            through.alike = {name: node for name, node in self.alike.items() if not name.isdigit()}
            through.is_leaf = not through.exact and not through.alike
            self._inside = through.merged(self.rest)
        return self._inside


def _merged(mine: dict[str, Node], theirs: dict[str, Node]) -> dict[str, Node]:
    return {
        **theirs,
        **{name: node.merged(theirs.get(name)) for name, node in mine.items()},
    }


NOTHING = Node()


class Rules:
    """The rules of all paths; of several that fit the strictest counts. With `closed`, what none keeps is dropped."""

    def __init__(self, rules: Mapping[Action, Iterable[Steps]], *, closed: bool) -> None:
        self.root = Node()
        self.closed = closed
        self._given: dict[Steps, Action] = {}
        for action, listed in rules.items():
            for steps in listed:
                self._add(steps, action)
        actions = {field: self._action(field) for field in FIELDS}
        self.fields = tuple((field, action) for field, action in actions.items() if action is not Action.KEEP)
        """An event's own fields that do not leave as they are, and what is done to each."""
        self.sections = tuple(section for section in SECTIONS if closed or section in self.root.exact)
        """The sections that rules are for."""

    def _add(self, steps: Steps, action: Action) -> None:
        path = ".".join(steps)
        if steps == ("user_id",) and action is Action.DROP:
            raise ConfigError("drop: an event needs a user_id: hash it instead")
        if len(steps) == 1 and steps[0] in SECTIONS and action in {Action.HASH, Action.TRUNCATE}:
            raise ConfigError(f"{action.value}: {path!r} is all of them: {path}.NAME, or {path}.*")
        other = self._given.setdefault(steps, action)
        if other is not action:
            raise ConfigError(f"{action.value}: {path!r} is in {other.value}, too")
        for names in [steps[1:]] if action is Action.KEEP else _spellings(steps[1:]):
            node = self.root.exact.setdefault(steps[0], Node())
            for name in names:
                node = node.at(name, action)
            node.action = max(node.action, action, key=lambda one: STRICTNESS[one])

    def _action(self, field: str) -> Action:
        node = self.root.exact.get(field)
        if node is not None and node.action is not None:
            return node.action
        return Action.DROP if self.closed and field != "user_id" else Action.KEEP

    def apply(self, section: str, values: Mapping[str, Any], apply: Apply) -> Any:
        """Return a section's values as they may leave; the same object where nothing changes."""
        done = self._walk(values, self.root.exact.get(section) or NOTHING, self.closed, apply)
        return {} if done is REMOVED else done

    def _walk(self, value: Any, node: Node, closed: bool, apply: Apply) -> Any:
        if node.action is Action.DROP:
            return REMOVED
        if node.action is Action.KEEP:
            closed = False
        elif node.action is not None:
            return apply(node.action, value)
        if node.is_leaf:
            return REMOVED if closed else value
        if isinstance(value, Mapping):
            return self._walk_mapping(value, node, closed, apply)
        if isinstance(value, list | tuple):
            places = ((node.below(str(index), in_list=True), item) for index, item in enumerate(value))
            walked = [self._walk(item, below, closed, apply) for below, item in places]
            return [item for item in walked if item is not REMOVED]
        return REMOVED if closed else value

    def _walk_mapping(self, value: Mapping[Any, Any], node: Node, closed: bool, apply: Apply) -> Any:
        kept: dict[Any, Any] = {}
        same = True
        for key, item in list(dict.items(value) if isinstance(value, dict) else value.items()):
            below = node.of_key(key)
            action = below.action
            if below.is_leaf and (action is None or action is Action.KEEP):
                if action is None and closed:
                    same = False
                else:
                    kept[key] = item
                continue
            done = self._walk(item, below, closed, apply)
            same = same and done is item
            if done is not REMOVED:
                kept[key] = done
        return value if same else kept


def _name(key: object) -> str:
    """Spell a key as JSON will."""
    if isinstance(key, str):
        text = str.__str__(key)
        return text if text.isascii() else unicodedata.normalize("NFC", text)
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    return int.__repr__(key) if isinstance(key, int) else str(key)


@functools.lru_cache(maxsize=4096)
def form_of(name: str) -> str:
    """Return the form that names which look alike share: in any case and width, without what can't be seen."""
    if not (name.isascii() and name.isprintable()):
        name = "".join(one for one in unicodedata.normalize("NFKC", name) if not _is_unseen(one))
    return unicodedata.normalize("NFKC", name.casefold()).strip()


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf"} or character in UNSEEN


def _spellings(names: Steps) -> Iterator[Steps]:
    """Give the ways to read names: one below the other, or one name with dots in it."""
    if len(names) < 2:
        yield names
        return
    for rest in _spellings(names[1:]):
        yield (names[0], *rest)
        if "*" not in (names[0], rest[0]):
            yield (f"{names[0]}.{rest[0]}", *rest[1:])


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
