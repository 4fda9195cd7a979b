"""The plugin host: registration with clear refusals, and hooks frozen to tuples of guarded functions.

pluggy gives the specs, the validation, the ordering and the blocking. Its call path is not used per
event: at start each hook becomes a plain tuple of (plugin name, function) in call order.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import pluggy

from . import hookspecs
from .errors import PluginError
from .log import EpisodeLog, logger
from .stats import PluginStats

__all__ = ["LISTENER_HOOKS", "Call", "Plugins"]

Call = tuple[str, Callable[..., Any]]

ENTRY_POINTS = "aiotrack"
HOOKS: dict[str, Any] = {n: f for n, f in vars(hookspecs).items() if n.startswith("aiotrack_")}
LISTENER_HOOKS = (
    "aiotrack_event_tracked",
    "aiotrack_event_refused",
    "aiotrack_batch_sending",
    "aiotrack_batch_delivered",
    "aiotrack_batch_failed",
    "aiotrack_catalog_updated",
)


class Plugins:
    """The plugins of one client."""

    def __init__(
        self,
        plugins: Iterable[object],
        *,
        block: Iterable[str],
        autoload: bool,
        strict: bool,
        log: EpisodeLog,
    ) -> None:
        self._strict = strict
        self._log = log
        self._blocked = frozenset(block)
        self._manager = pluggy.PluginManager("aiotrack")
        self._manager.add_hookspecs(hookspecs)
        self._errors: dict[str, int] = {}
        self._drops: dict[str, int] = {}
        named = [(_name_of(plugin), plugin) for plugin in plugins]
        if autoload:
            named += self._discovered()
        # pluggy calls the last registered first; a client's plugins run in the order they were given.
        for name, plugin in reversed([entry for entry in named if entry[0] not in self._blocked]):
            self._register(name, plugin)
        self.calls: dict[str, tuple[Call, ...]] = {}
        """The functions of each hook, plugins first, then listeners, in call order."""
        self._freeze()

    def _discovered(self) -> Iterator[tuple[str, object]]:
        from importlib.metadata import entry_points  # noqa: PLC0415 - only those who autoload pay for it

        for point in entry_points(group=ENTRY_POINTS):
            if point.name in self._blocked:
                continue
            try:
                plugin = point.load()
                _validate(point.name, plugin)
            except Exception as exc:
                if self._strict:
                    raise PluginError(f"plugin {point.name!r} can't be loaded from {point.value!r}: {exc}") from exc
                self._errors[point.name] = 1
                logger.error("plugin %r can't be loaded and is left out: %s", point.name, type(exc).__name__)
            else:
                yield point.name, plugin

    def _register(self, name: str, plugin: object) -> None:
        _validate(name, plugin)
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
        for hook in HOOKS:
            caller = getattr(self._manager.hook, hook)
            spec = tuple(caller.spec.argnames)
            impls = reversed(caller.get_hookimpls())
            self.calls[hook] = tuple((impl.plugin_name, _positional(impl, spec)) for impl in impls)

    def names(self) -> tuple[str, ...]:
        """Return the names of the registered plugins, in call order."""
        return tuple(name for name, _ in reversed(self._manager.list_name_plugin()))

    def on(self, hook: str, callback: Callable[..., object]) -> Callable[[], None]:
        """Add a listener; return what removes it."""
        if hook not in LISTENER_HOOKS:
            hint = "it belongs in a plugin, given to the client when it is made" if hook in HOOKS else _near(hook)
            raise PluginError(f"{hook!r} is not a listener hook: {hint}. Listeners: {', '.join(LISTENER_HOOKS)}")
        if not callable(callback) or _is_async(callback):
            raise PluginError(f"{hook} takes a plain function, got {_describe(callback)}")
        call: Call = (f"listener {getattr(callback, '__qualname__', type(callback).__name__)}", callback)
        self.calls[hook] = (*self.calls[hook], call)

        def remove() -> None:
            self.calls[hook] = tuple(other for other in self.calls[hook] if other is not call)

        return remove

    def notify(self, hook: str, *args: object) -> None:
        """Call every listener of a hook; one that raises does not stop the others."""
        for name, function in self.calls[hook]:
            try:
                function(*args)
            except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 - foreign code, and nothing was awaited
                self.record(name, hook, exc)

    def failed(self, name: str, hook: str, exc: BaseException) -> None:
        """Count and name a plugin that raised during a call; strict: raise PluginError to the caller."""
        self.record(name, hook, exc)
        if self._strict:
            raise PluginError(f"plugin {name!r} raised {type(exc).__name__} in {hook}") from exc

    def record(self, name: str, hook: str, exc: BaseException) -> None:
        """Count a plugin that raised, and name it in the log; its own text may hold a payload and is left out."""
        self._errors[name] = self._errors.get(name, 0) + 1
        where = exc.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        self._log.once(
            logging.ERROR,
            ("plugin", name, hook),
            "plugin %r raised %s in %s (%s:%s); aiotrack goes on without it. strict=True raises it",
            *(name, type(exc).__name__, hook, where and where.tb_frame.f_code.co_filename, where and where.tb_lineno),
        )

    def dropped(self, name: str) -> None:
        """Count an event that a plugin dropped."""
        self._drops[name] = self._drops.get(name, 0) + 1

    def stats(self) -> dict[str, PluginStats]:
        """Return the counters of every plugin that is registered, failed or a listener that raised."""
        names = dict.fromkeys((*self.names(), *self._errors))
        return {n: PluginStats(errors=self._errors.get(n, 0), dropped=self._drops.get(n, 0)) for n in names}


def _name_of(plugin: object) -> str:
    if isinstance(plugin, ModuleType):
        return plugin.__name__
    name = getattr(plugin, "name", None)
    return name if isinstance(name, str) and name else type(plugin).__name__


def _validate(name: str, plugin: object) -> None:
    """Refuse, with a sentence, what pluggy would accept in silence or explain badly."""
    if isinstance(plugin, type):
        raise PluginError(f"plugin {plugin.__name__!r} is a class: give an instance, {plugin.__name__}()")
    marked = 0
    for attribute in dir(plugin):
        if isinstance(inspect.getattr_static(plugin, attribute, None), property):
            continue
        function = getattr(plugin, attribute, None)
        if not inspect.isroutine(function):
            continue
        options = getattr(function, "aiotrack_impl", None)
        if options is None:
            if attribute.startswith("aiotrack_"):
                raise PluginError(f"plugin {name!r}: {attribute} lacks the marker @aiotrack.hookimpl")
            continue
        marked += 1
        _validate_hook(name, options.get("specname") or attribute, function, options)
    if not marked:
        raise PluginError(f"plugin {name!r} ({_describe(plugin)}) implements no aiotrack hook")


def _validate_hook(name: str, hook: str, function: Callable[..., Any], options: dict[str, Any]) -> None:
    if hook not in HOOKS:
        if not options.get("optionalhook"):
            raise PluginError(f"plugin {name!r}: there is no hook {hook!r}; {_near(hook)}")
        return
    if options.get("wrapper") or options.get("hookwrapper"):
        raise PluginError(f"plugin {name!r}: {hook} can't be a wrapper; use tryfirst or trylast for the order")
    expected = inspect.iscoroutinefunction(HOOKS[hook])
    if inspect.iscoroutinefunction(function) != expected:
        want, came = ("async def", "def") if expected else ("def", "async def")
        raise PluginError(f"plugin {name!r}: {hook} must be a plain `{want}`, got `{came}`")


def _near(hook: str) -> str:
    import difflib  # noqa: PLC0415 - only for an error's text

    close = difflib.get_close_matches(hook, HOOKS, n=1)
    return f"did you mean {close[0]!r}?" if close else f"the hooks are {', '.join(HOOKS)}"


def _is_async(value: object) -> bool:
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(getattr(type(value), "__call__", None))  # noqa: B004


def _describe(value: object) -> str:
    kind = "an async function" if _is_async(value) else "a value"
    return f"{kind} of type {type(value).__name__}"


def _positional(impl: Any, spec: tuple[str, ...]) -> Callable[..., Any]:
    """Return the plugin's function as one that takes all of the hook's arguments by position."""
    function: Callable[..., Any] = impl.function
    named = tuple(name for name in inspect.signature(function).parameters if name in spec)  # pluggy leaves out defaults
    if named == spec:
        return function
    wanted = [spec.index(name) for name in named]

    def call(*args: object) -> object:
        return function(*[args[index] for index in wanted])

    return call
