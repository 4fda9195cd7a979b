"""What a hook may answer: anything else is the plugin's mistake, and is said in words that it can be mended by."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from aiotrack.model.encoding import find_problems
from aiotrack.model.errors import PluginError
from aiotrack.model.event import Event
from aiotrack.model.refusal import Problem

__all__ = ["WrongAnswer", "changed_event", "converted", "problems_of"]

PLAIN = frozenset({int, float, str, bool})
RESERVED: Mapping[str, tuple[type, ...]] = {"revenue": (int,), "value": (int, float)}


class WrongAnswer(PluginError):
    """A plugin's answer is none. Its text is the library's own, and may be shown."""


def _wrong(expected: str, answer: object) -> NoReturn:
    if inspect.iscoroutine(answer):
        answer.close()  # or Python would warn of it, too
    raise WrongAnswer(f"must return {expected}, got {type(answer).__name__}")


def problems_of(answer: Any) -> tuple[Problem, ...]:
    """Bring what a check may answer into one form; a text is a sentence that says what is wrong. Raises WrongAnswer."""
    if answer is None:
        return ()
    if isinstance(answer, Problem):
        return (answer,)
    if isinstance(answer, str):
        return (Problem("event", "", answer),) if answer else ()
    if not isinstance(answer, Iterable):
        _wrong("None or problems", answer)
    return tuple(item if isinstance(item, Problem) else Problem("event", "", str(item)) for item in answer)


def changed_event(answer: Any, before: Event) -> Event:
    """Return the event that a plugin has made of another. Raises WrongAnswer."""
    if not isinstance(answer, Event):
        _wrong("an Event or None", answer)
    for name in ("tags", "attributes", "reserved"):
        values = getattr(answer, name)
        if values is not getattr(before, name) and not isinstance(values, Mapping):
            raise WrongAnswer(f"must return an event whose {name} are a mapping, got {type(values).__name__}")
    if answer.reserved is not before.reserved:
        _check_reserved(answer.reserved)
    return answer


def _check_reserved(reserved: Mapping[Any, Any]) -> None:
    for name, value in reserved.items():
        kinds = RESERVED.get(name) if isinstance(name, str) else ()
        if kinds is not None and type(value) not in kinds:
            expected = kinds[-1].__name__ if kinds else "a name that is a str"
            raise WrongAnswer(f"must return an event with reserved.{name} of {expected}, got {type(value).__name__}")


def converted(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a reserved tag's conversion as one that answers with JSON's values alone, or raises WrongAnswer."""

    def convert_to_json(raw: Any) -> Any:
        value = convert(raw)
        if type(value) not in PLAIN and (inspect.iscoroutine(value) or find_problems(value, "value")):
            _wrong("a JSON value from a reserved tag's conversion", value)
        return value

    return convert_to_json
