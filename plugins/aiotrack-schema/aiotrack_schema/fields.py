"""What a class says about its properties: types, and the notes beside them."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import attrs

from aiotrack.errors import ConfigError

__all__ = ["WORDS", "Field", "Property", "fields", "is_class", "options", "split"]


@attrs.frozen(kw_only=True, eq=False)  # by identity, so that a type annotated with it can be a key
class Property:
    """What a property's type does not say: `revenue: Annotated[int, Property(minimum=0)]`.

    `name` is its name where that is no Python name. What is `private` is shown in no message. With `null`, a property
    that may be left out may be null, too. The others are JSON Schema's keywords; `schema` takes any further ones.
    """

    name: str | None = None
    private: bool = False
    null: bool = False
    description: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    exclusive_maximum: float | None = None
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    format: str | None = None
    min_items: int | None = None
    max_items: int | None = None
    unique_items: bool | None = None
    schema: Mapping[str, Any] = attrs.field(factory=dict)

    def keywords(self) -> dict[str, Any]:
        """Return them as JSON Schema spells them."""
        said = {word: getattr(self, name) for word, name in WORDS.items()}
        unsaid = {word for word, value in said.items() if value is None or (word == "private" and not value)}
        return {word: value for word, value in said.items() if word not in unsaid} | dict(self.schema)


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(word.capitalize() for word in rest)


WORDS = {_camel(one.name): one.name for one in attrs.fields(Property) if one.name not in {"name", "null", "schema"}}
"""JSON Schema's words, and ours, for what a `Property` says."""


@attrs.frozen
class Field:
    """One field of a class: its type without the notes, the notes, and whether it may be left out."""

    attribute: str
    kind: Any
    notes: Property
    optional: bool

    @property
    def name(self) -> str:
        """The property's name."""
        return self.notes.name or self.attribute

    @property
    def is_left_out(self) -> bool:
        """Whether None stands for a property that is not there."""
        return self.optional and type(None) in options(self.kind)


def is_class(kind: Any) -> bool:
    """Tell whether something is an attrs class, a dataclass or a TypedDict."""
    return isinstance(kind, type) and (attrs.has(kind) or dataclasses.is_dataclass(kind) or typing.is_typeddict(kind))


def fields(kind: type) -> Iterator[Field]:
    """Give a class's fields. Raises ConfigError for one whose annotations can't be understood."""
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except (NameError, TypeError) as exc:
        raise ConfigError(f"{kind.__name__}: {exc}; its types must be known in its module") from exc
    if attrs.has(kind):
        optional = {field.name: field.default is not attrs.NOTHING for field in attrs.fields(kind)}
    elif dataclasses.is_dataclass(kind):
        missing = dataclasses.MISSING
        optional = {
            field.name: field.default is not missing or field.default_factory is not missing
            for field in dataclasses.fields(kind)
        }
    else:
        optional = {name: name in kind.__optional_keys__ for name in hints}  # type: ignore[attr-defined]
    for name, is_optional in optional.items():
        bare, notes = split(hints[name])
        yield Field(name, bare, notes, is_optional)


def split(hint: Any) -> tuple[Any, Property]:
    """Take the notes off a type; several are one."""
    notes: dict[str, Any] = {}
    plain = attrs.asdict(Property(), recurse=False)
    while typing.get_origin(hint) in {Annotated, typing.Required, typing.NotRequired}:
        hint, *extras = typing.get_args(hint)
        for extra in extras:
            if isinstance(extra, Property):
                notes |= {key: said for key, said in attrs.asdict(extra, recurse=False).items() if said != plain[key]}
    return hint, Property(**notes)


def options(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union; any other type alone."""
    return typing.get_args(kind) if typing.get_origin(kind) in {types.UnionType, typing.Union} else (kind,)
