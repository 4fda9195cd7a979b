"""Events as classes that a type checker understands."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, dataclass_transform, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

import aiotrack
from aiotrack.errors import ConfigError

from .checker import Checker
from .classes import SCALARS, schema_of
from .fields import fields, options
from .grammar import DIALECT, Mode

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Event"]


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(attrs.field,))
class Event:
    """The base of an event's class: its properties are annotated attributes.

        class Purchase(Event, key="purchase"):
            revenue: int
            category: Literal["shoes", "hats"]
            coupon: str | None = None  # may be left out

        await Purchase(revenue=4200, category="shoes").track(user)

    `key` is the event's key (the default is the class's name, `OrderCompleted` as `order_completed`), `mode` what
    becomes of one that does not fit, `additional` allows properties that the class does not name, and `schema` has
    further keywords of JSON Schema for the event as a whole. A subclass of a subclass inherits the last three. The
    repr shows no values.
    """

    event_key: ClassVar[str] = ""
    event_mode: ClassVar[Mode | None] = None
    event_additional: ClassVar[bool] = False
    event_schema: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(
        cls,
        *,
        key: str | None = None,
        mode: str | None = None,
        additional: bool | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init_subclass__()
        taken = [name for name in vars(cls).get("__annotations__", {}) if hasattr(Event, name)]
        if taken:
            raise TypeError(
                f"{cls.__name__}.{taken[0]} is a method's name: Annotated[..., Property(name={taken[0]!r})]"
            )
        cls.event_key = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower() if key is None else key
        if mode is not None:
            if mode not in list(Mode):
                raise ConfigError(f"{cls.__name__}: mode: expected one of {', '.join(Mode)}, got {mode!r}")
            cls.event_mode = Mode(mode)
        if additional is not None:
            cls.event_additional = additional
        if schema is not None:
            cls.event_schema = {**cls.event_schema, **schema}
        attrs.define(cls, slots=False, frozen=True, kw_only=True, repr=False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.event_key!r}>"

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
        """Return a tracked event as one of this class, for listeners.

        Raises ValueError for one that does not fit, with the problems and without values.
        """
        if event.key != cls.event_key:
            raise ValueError(f"expected an event {cls.event_key!r}, got {event.key!r}")
        problems = Checker({"$schema": DIALECT, **schema_of(cls)}).check(event.tags)
        if problems:
            raise ValueError("; ".join(map(str, problems)))
        return CONVERTER.structure(event.tags, cls)


def _converter() -> cattrs.Converter:
    """Return what makes tags of events and back, with names as the notes say, and no value converted."""
    converter = cattrs.Converter()

    def to_tags(kind: type) -> Callable[[Any], dict[str, Any]]:
        known = list(fields(kind))
        left_out = {field.name for field in known if field.is_left_out}
        renamed: dict[str, Any] = {field.attribute: override(rename=field.name) for field in known}
        whole: Callable[[Any], dict[str, Any]] = make_dict_unstructure_fn(kind, converter, **renamed)
        if not left_out:
            return whole

        def without_none(value: Any) -> dict[str, Any]:
            return {key: one for key, one in whole(value).items() if one is not None or key not in left_out}

        return without_none

    def from_tags(kind: type) -> Callable[[Mapping[str, Any], Any], Any]:
        renamed: dict[str, Any] = {field.attribute: override(rename=field.name) for field in fields(kind)}
        return make_dict_structure_fn(kind, converter, **renamed)

    def is_record(kind: Any) -> bool:
        return attrs.has(kind) or (isinstance(kind, type) and dataclasses.is_dataclass(kind))

    def is_plain(kind: Any) -> bool:
        members = options(kind)
        return all(member in SCALARS or get_origin(member) is Literal for member in members)

    converter.register_unstructure_hook_factory(is_record, to_tags)
    converter.register_structure_hook_factory(is_record, from_tags)
    converter.register_structure_hook_func(is_plain, lambda value, _: value)  # the schema has looked at it
    return converter


CONVERTER = _converter()
