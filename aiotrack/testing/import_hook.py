"""Do something when a module is imported, if it ever is."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

__all__ = ["when_imported"]


def when_imported(module: str, callback: Callable[[], object]) -> Callable[[], None]:
    """Call back once the module is imported, at once if it is already; return a function that takes this back."""
    if module in sys.modules:
        callback()
        return lambda: None
    finder = _Finder(module, callback)
    sys.meta_path.insert(0, finder)
    return finder.remove


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module, as the others would, and calls back after its loader has run it."""

    def __init__(self, module: str, callback: Callable[[], object]) -> None:
        self._module = module
        self._callback = callback

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        self.remove()
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._callback)
        return spec

    def remove(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)


class _Loader(importlib.abc.Loader):
    """Loads a module as another loader does, which may be one for many modules; then calls back."""

    def __init__(self, loader: importlib.abc.Loader, callback: Callable[[], object]) -> None:
        self._loader = loader
        self._callback = callback

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._callback()
