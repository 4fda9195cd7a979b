"""What a plugin must be to be registered: refused with a sentence, where pluggy would be silent or obscure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from aiotrack.destinations.base import Destination
from aiotrack.model.errors import ConfigError, PluginError
from aiotrack.model.suggestions import near
from aiotrack.model.tasks import is_async

from .hookspecs import HOOKS

__all__ = ["check_names", "hooks_of", "is_ours", "name_of", "near_hook", "positional", "shown", "validate"]

BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
THE_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def name_of(plugin: object) -> str:
    """Return a plugin's name: its attribute `name`, or that of its class or module."""
    if isinstance(plugin, ModuleType):
        return plugin.__name__
    name = getattr(plugin, "name", None)
    return name if isinstance(name, str) and name else type(plugin).__name__


def check_names(plugins: Iterable[object]) -> None:
    """Raise ConfigError where two destinations bear one name, which is that of their lane."""
    found: dict[str, Destination] = {}
    for plugin in plugins:
        if isinstance(plugin, Destination):
            other = found.setdefault(plugin.name, plugin)
            if other is not plugin:
                raise ConfigError(f"name: two destinations are called {plugin.name!r}: give one another name=")


def is_ours(plugin: object) -> bool:
    """Tell whether a plugin is the library's own, whose time nobody need look at."""
    return type(plugin).__module__.startswith("aiotrack.")


def hooks_of(plugin: object) -> dict[str, tuple[Callable[..., Any], dict[str, Any] | None]]:
    """Return the functions that are marked or named as hooks, by attribute; options of None: not marked."""
    found: dict[str, tuple[Callable[..., Any], dict[str, Any] | None]] = {}
    for attribute in dir(plugin):
        if isinstance(inspect.getattr_static(plugin, attribute, None), property):
            continue
        function: Any = getattr(plugin, attribute, None)
        if inspect.isroutine(function) and getattr(function, "aiotrack_spec", None) is None:
            options = getattr(function, "aiotrack_impl", None)
            if options is not None or attribute.startswith("aiotrack_"):
                found[attribute] = (function, options)
    return found


def validate(name: str, plugin: object) -> None:
    """Raise PluginError for what can't work."""
    if isinstance(plugin, str):
        raise PluginError("plugins and destinations are objects, got text; for a URL it is HTTPDestination(url)")
    if isinstance(plugin, list | tuple | set):
        raise PluginError("plugins are given one by one, Client(*plugins), and not in a list")
    if isinstance(plugin, type):
        raise PluginError(f"plugin {plugin.__name__!r} is a class: give an instance, {plugin.__name__}()")
    hooks = hooks_of(plugin)
    for attribute, (function, options) in hooks.items():
        if options is None:
            raise PluginError(f"plugin {name!r}: {attribute} lacks the marker @aiotrack.hookimpl")
        _validate_hook(name, options.get("specname") or attribute, function, options)
    if not hooks:
        raise PluginError(f"plugin {name!r} ({shown(plugin)}) implements no aiotrack hook")


def _validate_hook(name: str, hook: str, function: Callable[..., Any], options: dict[str, Any]) -> None:
    if hook not in HOOKS:
        if not options.get("optionalhook"):
            raise PluginError(f"plugin {name!r}: there is no hook {hook!r}; {near_hook(hook)}")
        return
    if options.get("wrapper") or options.get("hookwrapper"):
        raise PluginError(f"plugin {name!r}: {hook} can't be a wrapper; use tryfirst or trylast for the order")
    if hook == "aiotrack_process_event" and options.get("trylast"):
        raise PluginError(
            f"plugin {name!r}: {hook} can't be trylast, since async hooks come after it, and what it raises stops "
            "nothing; aiotrack_finalize_event has the last word, and drops the event if it raises"
        )
    expected = inspect.iscoroutinefunction(HOOKS[hook])
    if inspect.iscoroutinefunction(function) != expected:
        want, came = ("async def", "def") if expected else ("def", "async def")
        raise PluginError(f"plugin {name!r}: {hook} must be a plain `{want}`, got `{came}`")
    offered = tuple(inspect.signature(HOOKS[hook]).parameters)
    for parameter in inspect.signature(function).parameters.values():
        by_position = parameter.kind in BY_POSITION and parameter.name in offered
        if not by_position and parameter.kind not in THE_REST and parameter.default is parameter.empty:
            odd = "by keyword only" if parameter.name in offered else "which it does not offer"
            raise PluginError(
                f"plugin {name!r}: {hook} is called as {hook}({', '.join(offered)}), "
                f"and this one wants {parameter.name!r}, {odd}"
            )


def near_hook(hook: str) -> str:
    """Suggest which hook may have been meant."""
    return near(hook, HOOKS)


def shown(value: object) -> str:
    """Describe what came in place of a plugin or a listener."""
    kind = "an async function" if is_async(value) else "a value"
    return f"{kind} of type {type(value).__name__}"


def positional(function: Callable[..., Any], spec: tuple[str, ...]) -> Callable[..., Any]:
    """Return a plugin's function as one that takes all of the hook's arguments by position."""
    parameters = inspect.signature(function).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind in BY_POSITION]
    wanted = [name for name in names if name in spec]
    if tuple(wanted) == tuple(names[: len(spec)]) == spec:
        return function
    places = [(name, spec.index(name)) for name in wanted]
    if wanted == names[: len(wanted)]:
        return lambda *args: function(*[args[place] for _, place in places])
    return lambda *args: function(**{name: args[place] for name, place in places})
