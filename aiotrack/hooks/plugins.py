"""The plugins of a client: registered with clear refusals, their hooks frozen to tuples of functions.

pluggy gives the specs, the validation, the ordering and the blocking. Its call path is not used per
event: when the client is made, each hook becomes a plain tuple of (plugin name, function) in call order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pluggy

from aiotrack.model.errors import PluginError
from aiotrack.model.log import EpisodeLog, logger
from aiotrack.model.settings import Settings
from aiotrack.model.stats import PluginStats
from aiotrack.model.suggestions import near
from aiotrack.model.tasks import PLUGIN_ERRORS, Overdue, is_async, reraise_exit

from .answers import WrongAnswer
from .budget import Budget, OverBudget, whole
from .hookspecs import HOOKS, Plugin
from .registration import check_names, is_ours, name_of, near_hook, positional, shown, validate

if TYPE_CHECKING:
    from aiotrack.model.event import Event

__all__ = ["LISTENER_HOOKS", "TRACKED", "Call", "Plugins"]

Call = tuple[str, Callable[..., Any]]

LISTENER_HOOKS = (
    "aiotrack_event_tracked",
    "aiotrack_event_refused",
    "aiotrack_event_lost",
    "aiotrack_batch_sending",
    "aiotrack_batch_delivered",
    "aiotrack_batch_failed",
    "aiotrack_catalog_updated",
)
ASYNC_HOOKS = ("aiotrack_enrich_event", "aiotrack_startup", "aiotrack_shutdown")
CHANGE_HOOKS = ("aiotrack_check_event", "aiotrack_process_event", "aiotrack_finalize_event")
TRACKED = "aiotrack_event_tracked"


class Plugins:
    """The plugins of one client."""

    def __init__(self, plugins: Iterable[object], settings: Settings, log: EpisodeLog) -> None:
        self._strict = settings.strict
        self._log = log
        self._budget = Budget(settings, log)
        self._limit = settings.plugin_budget
        self.timed = self._budget.timed
        self._blocked = frozenset(settings.block)
        self._manager = pluggy.PluginManager("aiotrack")
        self._manager.add_hookspecs(Plugin)
        self._errors: dict[str, int] = {}
        self._drops: dict[str, int] = {}
        given = [(name_of(plugin), plugin) for plugin in plugins]
        check_names(plugin for name, plugin in given if name not in self._blocked)
        for name, plugin in given:
            if name not in self._blocked:
                self._register(name, plugin)
        known = {name for name, _ in given}
        if settings.autoload:
            for name, plugin in self._discovered(known):
                try:
                    self._register(name, plugin)
                except PluginError as exc:
                    self._left_out(name, exc)
        for name in sorted(self._blocked - known):
            logger.warning("block: there is no plugin %r to leave out; %s", name, near(name, sorted(known)))
        self.calls: dict[str, tuple[Call, ...]] = {}
        """The functions of each hook, plugins first, then listeners, in call order."""
        self._freeze()

    def _discovered(self, given: set[str]) -> Iterator[tuple[str, object]]:
        """Give the installed plugins; one that was given, under the same name, takes an installed one's place."""
        from .discovery import installed  # noqa: PLC0415 - only those who autoload pay for it

        for found in installed(self._blocked | given):
            given.add(found.name)
            if found.error is not None:
                self._left_out(found.name, found.error)
            elif not found.blocked:
                yield found.name, found.plugin

    def _left_out(self, name: str, exc: Exception) -> None:
        if self._strict:
            raise PluginError(f"plugin {name!r} can't be loaded: {exc}") from exc
        self._errors[name] = 1
        logger.error("plugin %r can't be loaded and is left out: %s", name, type(exc).__name__)

    def _register(self, name: str, plugin: object) -> None:
        validate(name, plugin)
        unique, number = name, 2
        while self._manager.has_plugin(unique):
            unique, number = f"{name}-{number}", number + 1
        try:
            self._manager.register(plugin, unique)
        except ValueError as exc:
            raise PluginError(f"plugin {name!r} is given twice") from exc
        except pluggy.PluginValidationError as exc:
            raise PluginError(f"plugin {name!r}: {' '.join(str(exc).split())}") from exc

    def _freeze(self) -> None:
        """Check for hooks that no spec knows, and turn each hook into a tuple of functions."""
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as exc:
            raise PluginError(" ".join(str(exc).split())) from exc
        given = {name: number for number, name in enumerate(self.names())}

        def order(impl: Any) -> tuple[bool, bool, int]:
            return not impl.tryfirst, impl.trylast, given[impl.plugin_name]

        for hook in HOOKS:
            caller = getattr(self._manager.hook, hook)
            spec = tuple(caller.spec.argnames)
            impls = sorted(caller.get_hookimpls(), key=order)
            self.calls[hook] = tuple((impl.plugin_name, self._timed_if_foreign(impl, hook, spec)) for impl in impls)

    def _timed_if_foreign(self, impl: Any, hook: str, spec: tuple[str, ...]) -> Callable[..., Any]:
        function = positional(impl.function, spec)
        if is_ours(impl.plugin) or hook not in (*CHANGE_HOOKS, *ASYNC_HOOKS):  # listeners are timed by who calls them
            return function
        if hook in ASYNC_HOOKS:
            return self._budget.timed_async(impl.plugin_name, hook, function)
        return self.timed(impl.plugin_name, hook, whole(function) if hook == "aiotrack_check_event" else function)

    def names(self) -> tuple[str, ...]:
        """Return the names of the registered plugins, in the order in which they were given."""
        return tuple(name for name, _ in self._manager.list_name_plugin())

    def on(self, hook: str, callback: Callable[..., object]) -> Callable[[], None]:
        """Add a listener; return what removes it."""
        if hook not in LISTENER_HOOKS:
            hint = "it belongs in a plugin, given to the client when it is made" if hook in HOOKS else near_hook(hook)
            raise PluginError(f"{hook!r} is not a listener hook: {hint}. Listeners: {', '.join(LISTENER_HOOKS)}")
        if not callable(callback) or is_async(callback):
            raise PluginError(f"{hook} takes a plain function, got {shown(callback)}")
        name = f"listener {getattr(callback, '__qualname__', type(callback).__name__)}"
        call: Call = (name, callback)
        self.calls[hook] = (*self.calls[hook], call)

        def remove() -> None:
            self.calls[hook] = tuple(other for other in self.calls[hook] if other is not call)

        return remove

    def announce(self, event: Event) -> None:
        """Tell the listeners of an event that it was accepted; strict: one that raises, or is slow, raises here."""
        began = perf_counter()
        for name, listener in self.calls[TRACKED]:
            try:
                listener(event)
            except PLUGIN_ERRORS as exc:
                self.failed(name, TRACKED, exc)
            ended = perf_counter()
            if ended - began > self._limit:
                self._budget.over(name, TRACKED, ended - began)
            began = ended

    def notify(self, hook: str, *args: object) -> None:
        """Call every listener of a hook; one that raises, or is slow, does not stop the others."""
        for name, function in self.calls[hook]:
            began = perf_counter()
            try:
                function(*args)
            except PLUGIN_ERRORS as exc:
                self.record(name, hook, exc)
            if perf_counter() - began > self._limit:
                self._budget.over(name, hook, perf_counter() - began, may_raise=False)

    def failed(self, name: str, hook: str, exc: BaseException) -> None:
        """Count and name a plugin that raised during a call; strict: raise PluginError to the caller."""
        self.record(name, hook, exc)
        if isinstance(exc, OverBudget):
            raise exc
        if self._strict:
            why = f": it {exc}" if isinstance(exc, WrongAnswer) else ""
            raise PluginError(f"plugin {name!r} raised {type(exc).__name__} in {hook}{why}") from exc

    def record(self, name: str, hook: str, exc: BaseException) -> None:
        """Count a plugin that raised, and name it in the log; its own text may hold a payload and is left out."""
        reraise_exit(exc)
        if isinstance(exc, OverBudget):
            return
        self._errors[name] = self._errors.get(name, 0) + 1
        if isinstance(exc, Overdue):
            self._budget.count(name)
            message = "plugin %r did not answer in %s within %g s (plugin_timeout); aiotrack goes on without it"
            self._log.once(logging.ERROR, ("plugin", name, hook), message, name, hook, exc.seconds)
            return
        if isinstance(exc, WrongAnswer):
            message = "plugin %r: %s %s; aiotrack goes on without it. strict=True raises it to a caller"
            self._log.once(logging.ERROR, ("plugin", name, hook), message, name, hook, str(exc))
            return
        where = exc.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where is not None else "unknown"
        message = "plugin %r raised %s in %s (%s); aiotrack goes on without it. strict=True raises it to a caller"
        if not hook.startswith("aiotrack_"):  # a destination, or its buffer
            message = "destination %r raised %s in %s (%s); aiotrack goes on, and tries again where it can"
        self._log.once(logging.ERROR, ("plugin", name, hook), message, name, type(exc).__name__, hook, place)

    def dropped(self, name: str) -> None:
        """Count an event that a plugin dropped."""
        self._drops[name] = self._drops.get(name, 0) + 1

    def stats(self) -> dict[str, PluginStats]:
        """Return the counters of every plugin that is registered or failed, and of listeners that did harm."""
        errors, dropped, slow = self._errors, self._drops, self._budget.slow
        return {
            name: PluginStats(errors=errors.get(name, 0), dropped=dropped.get(name, 0), slow=slow.get(name, 0))
            for name in dict.fromkeys((*self.names(), *errors, *slow))
        }
