"""The two pluggy markers; apart from the specs, so that a plugin module needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, overload

import pluggy

if TYPE_CHECKING:
    from .batch import Answer, Batch
    from .catalog import Catalog
    from .client import Client
    from .destination import Destination
    from .event import Event, Problem, Refusal
    from .tags import EventSchema, ReservedTag

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("aiotrack")

if TYPE_CHECKING:
    # A type checker does not tell a function's name to its decorator. What is marked must fit some hook, then: its
    # arguments by name and type, its answer by type. `aiotrack.Plugin` holds each against its own.
    Checked: TypeAlias = Problem | str | Iterable[Problem | str] | None
    OfEvent: TypeAlias = Checked | Event | Coroutine[Any, Any, Event | None]
    OfClient: TypeAlias = Destination | Coroutine[Any, Any, None] | None
    AtStart: TypeAlias = Destination | Mapping[str, ReservedTag] | Mapping[str, EventSchema] | OfEvent

    class _Nothing(Protocol):
        def __call__(self) -> AtStart: ...

    class _NothingMethod(Protocol):
        def __call__(self, plugin: Any, /) -> AtStart: ...

    class _Event(Protocol):
        def __call__(self, event: Event) -> OfEvent: ...

    class _EventMethod(Protocol):
        def __call__(self, plugin: Any, /, event: Event) -> OfEvent: ...

    class _Client(Protocol):
        def __call__(self, client: Client) -> OfClient: ...

    class _ClientMethod(Protocol):
        def __call__(self, plugin: Any, /, client: Client) -> OfClient: ...

    class _Refusal(Protocol):
        def __call__(self, *, event: Event, refusal: Refusal) -> None: ...

    class _RefusalMethod(Protocol):
        def __call__(self, plugin: Any, /, *, event: Event, refusal: Refusal) -> None: ...

    class _Batch(Protocol):
        def __call__(self, *, batch: Batch) -> None: ...

    class _BatchMethod(Protocol):
        def __call__(self, plugin: Any, /, *, batch: Batch) -> None: ...

    class _Answer(Protocol):
        def __call__(self, *, batch: Batch, answer: Answer) -> None: ...

    class _AnswerMethod(Protocol):
        def __call__(self, plugin: Any, /, *, batch: Batch, answer: Answer) -> None: ...

    class _Catalog(Protocol):
        def __call__(self, *, destination: Destination, catalog: Catalog) -> None: ...

    class _CatalogMethod(Protocol):
        def __call__(self, plugin: Any, /, *, destination: Destination, catalog: Catalog) -> None: ...

    Hook = TypeVar(
        "Hook",
        bound=_Nothing
        | _NothingMethod
        | _Event
        | _EventMethod
        | _Client
        | _ClientMethod
        | _Refusal
        | _RefusalMethod
        | _Batch
        | _BatchMethod
        | _Answer
        | _AnswerMethod
        | _Catalog
        | _CatalogMethod,
    )

    class _Hookimpl(Protocol):
        @overload
        def __call__(self, function: Hook, /) -> Hook: ...
        @overload
        def __call__(
            self, *, tryfirst: bool = ..., trylast: bool = ..., optionalhook: bool = ..., specname: str | None = ...
        ) -> Callable[[Hook], Hook]: ...

    hookimpl: _Hookimpl
else:
    hookimpl = pluggy.HookimplMarker("aiotrack")
"""Marks a plugin's function or method as an implementation of the hook of the same name."""
