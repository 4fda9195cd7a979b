"""Prints the lowest versions that the packages here say they work with, as pip takes them: `name==version`."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def lowest() -> list[str]:
    """Return a line for each dependency with a lower bound, the highest of several."""
    bounds: dict[str, str] = {}
    for project in (ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))):
        table = tomllib.loads(project.read_text())["project"]
        needed = [*table["dependencies"], *table.get("optional-dependencies", {}).get("cli", [])]
        for requirement in needed:
            if found := re.fullmatch(r"([\w-]+)(?:\[.*\])?>=([\d.]+)(,<.*)?", requirement):
                name, version = found[1], found[2]
                as_numbers = [int(part) for part in version.split(".")]
                if name not in bounds or as_numbers > [int(part) for part in bounds[name].split(".")]:
                    bounds[name] = version
    return [f"{name}=={version}" for name, version in bounds.items()]


if __name__ == "__main__":
    print("\n".join(lowest()))
