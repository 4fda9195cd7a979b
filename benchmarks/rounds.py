"""Cases in turn, round by round, so that a machine that drifts is the same for all; medians, ratios, tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple

Figures = dict[str, float]
"""What one run of one case measured, by the name of the figure."""
Results = dict[str, list[Figures]]
"""By case, round by round. The first case is what the others are compared with."""


class Column(NamedTuple):
    figure: str
    form: str = "{:,.1f}"


class Section(NamedTuple):
    """One table. `compared` is the figure whose ratio to the first case's is shown."""

    title: str
    columns: tuple[Column, ...]
    compared: str | None
    measure: Callable[[int, int], Results]
    """Called with a number of rounds and the number of events for one run end to end."""


def in_turn(cases: Mapping[str, Callable[[], Figures]], rounds: int, *, warm: bool = False) -> Results:
    """Run every case once a round; the first of `warm` rounds does not count."""
    results: Results = {name: [] for name in cases}
    for number in range(rounds + warm):
        for name, run in cases.items():
            figures = run()
            if number >= warm:
                results[name].append(figures)
    return results


def median(several: list[Figures], figure: str) -> float | None:
    """Return the middle of what the rounds have measured."""
    values = [one[figure] for one in several if figure in one]
    return statistics.median(values) if values else None


def ratio(several: list[Figures], base: list[Figures], figure: str) -> float | None:
    """Return the middle of the rounds' ratios, each taken within one round."""
    ratios = [
        one[figure] / other[figure]
        for one, other in zip(several, base, strict=False)
        if figure in one and other.get(figure)
    ]
    return statistics.median(ratios) if ratios else None


def show(section: Section, results: Results, before: Results | None = None) -> None:
    """Print a section's table; with `before`, the ratio that a saved run had, too."""
    names = [column.figure for column in section.columns]
    heads = [*names, *([f"x first ({section.compared})"] if section.compared else []), *(["saved"] if before else [])]
    width = max(map(len, (*results, section.title)))
    print(f"\n{section.title:{width}}", *(f"{head:>{max(len(head), 9)}}" for head in heads), sep="  ")
    base = next(iter(results.values()))
    for name, several in results.items():
        cells = [_cell(median(several, column.figure), column.form) for column in section.columns]
        if section.compared:
            cells.append(_cell(ratio(several, base, section.compared), "{:.2f}"))
        if before:
            old = before.get(name, [])
            compared = section.compared or names[0]
            figure = ratio(old, next(iter(before.values())), compared) if section.compared else median(old, compared)
            cells.append(_cell(figure, "{:.2f}"))
        aligned = (f"{cell:>{max(len(head), 9)}}" for cell, head in zip(cells, heads, strict=True))
        print(f"{name:{width}}", *aligned, sep="  ")


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
