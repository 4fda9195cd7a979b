"""What the environment says: `AIOTRACK_BATCH_SIZE` is `batch_size`, and two underscores go one table down.

Variables have one case and no dashes: a name is matched with those of the document in any case, with underscores for
its dashes. A variable whose first word is no option is somebody else's, and is warned of once: Kubernetes puts
`AIOTRACK_PORT` and others into every container where there is a Service called `aiotrack`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from aiotrack.model.documents import FromEnv
from aiotrack.model.errors import ConfigError
from aiotrack.model.log import logger
from aiotrack.model.settings import NO_SETTINGS, PREFIX
from aiotrack.model.suggestions import nearest

__all__ = ["laid_over", "read_environment", "variable_of"]

_warned: set[str] = set()


def read_environment(environ: Mapping[str, str], known: Collection[str]) -> dict[str, Any]:
    """Return the variables of the options that are known as a nested mapping. Raises ConfigError."""
    nested: dict[str, Any] = {}
    strange: list[str] = []
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable in NO_SETTINGS:
            continue
        *tables, key = variable.removeprefix(PREFIX).lower().split("__")
        if (*tables, key)[0] not in known:
            strange.append(variable)
            continue
        value = FromEnv(text)
        value.variable = variable
        table = nested
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{variable}: {name!r} is set as a value and as a table")
        table[key] = value
    _warn(strange, known)
    return nested


def _warn(strange: list[str], known: Collection[str]) -> None:
    new = [variable for variable in strange if variable not in _warned]
    if new:
        _warned.update(new)
        meant = {variable: nearest(variable.removeprefix(PREFIX), known) for variable in new}
        listed = ", ".join(
            f"{variable} (did you mean {PREFIX}{near.upper()}?)" if near else variable
            for variable, near in meant.items()
        )
        logger.warning("the environment has variables that are no option of aiotrack, and are passed over: %s", listed)


def laid_over(document: Mapping[str, Any], above: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Lay what the environment says over a document."""
    merged = dict(document)
    for key, value in above.items():
        name = _match(key, merged) or (key.replace("_", "-") if where == "headers" else key)
        below = merged.get(name)
        if isinstance(value, dict):
            merged[name] = laid_over(below if isinstance(below, Mapping) else {}, value, name)
        else:
            merged[name] = value
    return merged


def _match(key: str, names: Mapping[str, Any]) -> str | None:
    """Return the document's name that a variable's word means."""
    if key in names:
        return key
    return next((name for name in names if str(name).lower().replace("-", "_") == key.replace("-", "_")), None)


def variable_of(path: str, document: Mapping[str, Any]) -> str | None:
    """Return the variable that a path's value came from, if it came from one."""
    for at, value in _values(document, ""):
        if isinstance(value, FromEnv) and (path == at or path.startswith((f"{at}.", f"{at}["))):
            return value.variable
    return None


def _values(table: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        at = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from _values(value, at)
        else:
            yield at, value
