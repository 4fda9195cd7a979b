"""Events as classes that a type checker understands, and the JSON Schema of a class."""

from __future__ import annotations

import dataclasses
import enum
import re
import types
import typing
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, dataclass_transform

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

import aiotrack
from aiotrack.errors import ConfigError

from .grammar import Mode

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Event", "Property", "schema_of"]

SCALARS = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
LISTS = {list, tuple, Sequence}
MAPPINGS = {dict, Mapping}


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
        said = {_camel(key): value for key, value in attrs.asdict(self, recurse=False).items() if value is not None}
        own = {"name", "null", "schema"} | (set() if self.private else {"private"})
        return {key: value for key, value in said.items() if key not in own} | dict(self.schema)


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(word.capitalize() for word in rest)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(attrs.field,))
class Event:
    """The base of an event's class: its properties are annotated attributes.

        class Purchase(Event, key="purchase"):
            revenue: int
            category: Literal["shoes", "hats"]
            coupon: str | None = None  # may be left out

        await Purchase(revenue=4200, category="shoes").track(user)

    `key` is the event's key (the default is the class's name, `OrderCompleted` as `order_completed`), `mode` what
    becomes of one that does not fit, and `additional` allows properties that the class does not name.
    """

    event_key: ClassVar[str] = ""
    event_mode: ClassVar[Mode | None] = None
    event_additional: ClassVar[bool] = False

    def __init_subclass__(cls, *, key: str | None = None, mode: str | None = None, additional: bool = False) -> None:
        taken = [name for name in vars(cls).get("__annotations__", {}) if hasattr(Event, name)]
        if taken:
            raise TypeError(
                f"{cls.__name__}.{taken[0]} is a method's name: Annotated[..., Property(name={taken[0]!r})]"
            )
        cls.event_key = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower() if key is None else key
        cls.event_mode = None if mode is None else Mode(mode)
        cls.event_additional = additional
        attrs.define(cls, slots=False, frozen=True, kw_only=True)

    def tags(self) -> dict[str, Any]:
        """Return the properties as tags; those that are None and may be left out are."""
        tags: dict[str, Any] = CONVERTER.unstructure(self)
        return tags

    def track(
        self, user: aiotrack.UserContext, *, event_id: str | None = None, timestamp: int | None = None
    ) -> Coroutine[Any, Any, aiotrack.TrackResult]:
        """Track it for a user: `await event.track(user)`."""
        return user.track_event(self.event_key, self.tags(), event_id=event_id, timestamp=timestamp)

    def track_nowait(
        self, user: aiotrack.UserContext, *, event_id: str | None = None, timestamp: int | None = None
    ) -> aiotrack.TrackResult:
        """Track it for a user, without ever waiting."""
        return user.track_event_nowait(self.event_key, self.tags(), event_id=event_id, timestamp=timestamp)

    @classmethod
    def of(cls, event: aiotrack.Event) -> Self:
        """Return a tracked event as one of this class, for listeners. Raises ValueError for one that does not fit."""
        if event.key != cls.event_key:
            raise ValueError(f"expected an event {cls.event_key!r}, got {event.key!r}")
        try:
            return CONVERTER.structure(event.tags, cls)
        except cattrs.BaseValidationError as exc:
            raise ValueError("; ".join(cattrs.transform_error(exc, path="tags"))) from exc


# -- tags of an event ---------------------------------------------------------------------------------


@attrs.frozen
class _Field:
    """One field of a class: its type without the notes, the notes, and whether it may be left out."""

    attribute: str
    kind: Any
    notes: Property
    optional: bool

    @property
    def name(self) -> str:
        return self.notes.name or self.attribute

    @property
    def is_left_out(self) -> bool:
        """Whether None stands for a property that is not there."""
        return self.optional and type(None) in _options(self.kind)


def _fields(kind: type) -> Iterator[_Field]:
    hints = typing.get_type_hints(kind, include_extras=True)
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
        bare, notes = _split(hints[name])
        yield _Field(name, bare, notes, is_optional)


def _split(hint: Any) -> tuple[Any, Property]:
    """Take the notes off a type."""
    notes = Property()
    while typing.get_origin(hint) in {Annotated, typing.Required, typing.NotRequired}:
        bare, *extras = typing.get_args(hint)
        notes = next((extra for extra in extras if isinstance(extra, Property)), notes)
        hint = bare
    return hint, notes


def _options(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union; any other type alone."""
    return typing.get_args(kind) if typing.get_origin(kind) in {types.UnionType, typing.Union} else (kind,)


def _overrides(kind: type) -> dict[str, Any]:
    return {field.attribute: override(rename=field.name, omit_if_default=field.is_left_out) for field in _fields(kind)}


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(prefer_attrib_converters=True)

    def to_tags(kind: type) -> Callable[[Any], dict[str, Any]]:
        return make_dict_unstructure_fn(kind, converter, **_overrides(kind))

    def from_tags(kind: type) -> Callable[[Mapping[str, Any], Any], Any]:
        return make_dict_structure_fn(kind, converter, **_overrides(kind))

    converter.register_unstructure_hook_factory(attrs.has, to_tags)
    converter.register_structure_hook_factory(attrs.has, from_tags)
    return converter


CONVERTER = _converter()


# -- the schema of a class ----------------------------------------------------------------------------


def schema_of(kind: type) -> dict[str, Any]:
    """Return the JSON Schema of an attrs class, a dataclass or a TypedDict.

    Raises ConfigError for a type that has none.
    """
    if not (attrs.has(kind) or dataclasses.is_dataclass(kind) or typing.is_typeddict(kind)):
        raise ConfigError(f"{kind.__name__}: expected an attrs class, a dataclass or a TypedDict")
    return _object(kind, ())


def _object(kind: type, above: tuple[type, ...]) -> dict[str, Any]:
    if kind in above:
        raise ConfigError(f"{kind.__name__}: contains itself")
    properties: dict[str, Any] = {}
    required: list[str] = []
    for field in _fields(kind):
        wanted = field.kind
        if field.is_left_out and not field.notes.null:
            wanted = typing.Union[tuple(one for one in _options(wanted) if one is not type(None))]  # noqa: UP007
        try:
            properties[field.name] = {**_schema(wanted, (*above, kind)), **field.notes.keywords()}
        except ConfigError as exc:
            raise ConfigError(f"{kind.__name__}.{field.attribute}: {exc}") from None
        if not field.optional:
            required.append(field.name)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    if not getattr(kind, "event_additional", False):
        schema["additionalProperties"] = False
    description = (vars(kind).get("__doc__") or "").strip().partition("\n")[0]
    if description and not description.startswith(f"{kind.__name__}("):  # a dataclass's own
        schema["description"] = description
    return schema


def _schema(hint: Any, above: tuple[type, ...]) -> dict[str, Any]:
    kind, notes = _split(hint)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or kind is object:
        schema: dict[str, Any] = {}
    elif kind in SCALARS:
        schema = {"type": SCALARS[kind]}
    elif origin is Literal:
        schema = {"enum": list(arguments)}
    elif origin in {types.UnionType, typing.Union}:
        schema = _union([_schema(one, above) for one in arguments])
    elif origin in LISTS or kind in LISTS:
        if origin is tuple and arguments[1:] != (...,):
            raise ConfigError("a tuple must be tuple[T, ...]")
        schema = {"type": "array", **({"items": _schema(arguments[0], above)} if arguments else {})}
    elif origin in MAPPINGS or kind in MAPPINGS:
        schema = {"type": "object", **({"additionalProperties": _schema(arguments[1], above)} if arguments else {})}
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        schema = {"enum": [member.value for member in kind]}
    elif isinstance(kind, type) and (attrs.has(kind) or dataclasses.is_dataclass(kind) or typing.is_typeddict(kind)):
        schema = _object(kind, above)
    else:
        raise ConfigError(f"a tag can't hold {getattr(kind, '__name__', kind)}")
    return {**schema, **notes.keywords()}


def _union(members: list[dict[str, Any]]) -> dict[str, Any]:
    """Join the schemas of a union: bare types to one list, anything else to anyOf."""
    if all(member.keys() == {"type"} for member in members):
        kinds = [member["type"] for member in members]
        return {"type": kinds[0] if len(kinds) == 1 else kinds}
    return members[0] if len(members) == 1 else {"anyOf": members}
