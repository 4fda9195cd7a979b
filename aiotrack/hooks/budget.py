"""Who holds the event loop up: calls of foreign code are timed, and those over `plugin_budget` named and counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Generator, Iterator
from time import perf_counter
from typing import Any, cast

from aiotrack.model.errors import PluginError
from aiotrack.model.log import EpisodeLog
from aiotrack.model.settings import Settings

__all__ = ["Budget", "OverBudget", "whole"]


class OverBudget(PluginError):
    """Strict: a plugin held the event loop up for too long."""


class Budget:
    """Times foreign code."""

    def __init__(self, settings: Settings, log: EpisodeLog) -> None:
        self.slow: dict[str, int] = {}
        """Calls that were too slow, by plugin."""
        self.limit = settings.plugin_budget
        """The seconds that one call may take."""
        self._strict = settings.strict
        self._log = log

    def timed(
        self, name: str, hook: str, function: Callable[..., Any], *, may_raise: bool = True
    ) -> Callable[..., Any]:
        """Return a function as one whose slow calls are named and counted, and raise OverBudget where strict."""
        budget, over_budget = self.limit, self.over

        def timed(*args: object) -> Any:
            before = perf_counter()
            answer = function(*args)
            if perf_counter() - before > budget:
                over_budget(name, hook, perf_counter() - before, may_raise=may_raise)
            return answer

        return timed

    def timed_async(self, name: str, hook: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return an async function as one that is named and counted if it holds the loop up between two awaits."""
        budget, over_budget = self.limit, self.over

        def over(seconds: float) -> None:
            if seconds > budget:
                over_budget(name, hook, seconds)

        return lambda *args: _Steps(function(*args), over)

    def count(self, name: str) -> None:
        """Count a call that was too slow."""
        self.slow[name] = self.slow.get(name, 0) + 1

    def over(self, name: str, hook: str, seconds: float, *, may_raise: bool = True) -> None:
        """Name and count a call that took longer. Raises OverBudget where strict, and may."""
        self.count(name)
        message = "plugin %r held the event loop up for %.0f ms in %s; it may take %g ms (plugin_budget)"
        words = (name, seconds * 1000, hook, self.limit * 1000)
        self._log.once(logging.WARNING, ("slow plugin", name, hook), message, *words)
        if self._strict and may_raise:
            raise OverBudget(message % words)


class _Steps(Coroutine[Any, Any, Any]):
    """A coroutine that tells how long each of its steps took."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], over: Callable[[float], None]) -> None:
        self._coroutine = coroutine
        self._over = over

    def send(self, value: Any) -> Any:
        """Take one step."""
        return self._step(self._coroutine.send, value)

    def throw(self, *exc: Any) -> Any:
        """Take one step with an exception."""
        return self._step(self._coroutine.throw, *exc)

    def _step(self, step: Callable[..., Any], *args: Any) -> Any:
        before = perf_counter()
        try:
            return step(*args)
        finally:
            self._over(perf_counter() - before)

    def close(self) -> None:
        """End it."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return cast("Generator[Any, Any, Any]", self)

    def __next__(self) -> Any:
        return self.send(None)


def whole(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function as one that runs a generator to its end, so that the time counts as the function's."""

    def whole(*args: object) -> Any:
        answer = function(*args)
        return tuple(answer) if isinstance(answer, Iterator) else answer

    return whole
