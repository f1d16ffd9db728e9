"""The table of stages and measures in a terminal: at the end of a run, and `aha measures RUN...`.

Several runs must be seeds of one recipe: then a cell is the mean over them, with the range. Made from the
run folders alone, also of a run that was killed.

Holds not: the rows and cells (report/page/measures.py), measuring (measure.py).
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aha.config import Recipe
from aha.errors import ConfigError, RunError
from aha.report.console import Console
from aha.report.lines import clean, table_lines
from aha.report.page.measures import Cell, Column, beside, flat, read, rows
from aha.report.page.read import Reader, number, string, table
from aha.stages import dag
from aha.stages.run_folder import WHERE_AND_HOW, differences, stored_recipe

MAY_DIFFER = (*WHERE_AND_HOW, "name", "seed")
"""Keys in which runs of one recipe may differ."""
ENDS = ("value", "low", "high", "p10", "p90", "n")
HEAD = ("run", "seed", "stage", "source", "lang", "measure", *ENDS)
"""Columns of the CSV."""


def show(root: Path, console: Console) -> None:
    """The short table of one run."""
    columns = beside([_columns(root, stored_recipe(root), root.name)])
    if columns:
        head, cells = _cells(columns, brief=True)
        console.table("what each stage did, on held-out prompts", head, cells)


def show_runs(
    runs: Sequence[Path], *, as_json: bool, as_csv: bool, brief: bool, echo: Callable[[str], None]
) -> None:
    """Print the table of one run, or of several runs of one recipe.

    Raises:
        ConfigError: both forms at once.
        RunError: not a run folder; nothing is measured; runs of different recipes.
    """
    if as_json and as_csv:
        raise ConfigError("--json and --csv: ask for one of them")
    recipes = [stored_recipe(root) for root in runs]
    _same(runs, recipes)
    names = [root.resolve().name for root in runs]
    if len(set(names)) < len(names):
        names = [str(root) for root in runs]
    found = [_columns(*one) for one in zip(runs, recipes, names, strict=True)]
    if not any(found):
        raise RunError(
            f"nothing is measured in {', '.join(map(str, runs))}: add a [measures] table to the recipe "
            "(docs/measures.md) and run it again; stages that are done are only measured"
        )
    columns = beside(found)
    if as_csv:
        seeds = {name: recipe.seed for name, recipe in zip(names, recipes, strict=True)}
        echo(_csv(columns, seeds).rstrip("\n"))
    elif as_json:
        echo(json.dumps(_facts(columns, names), indent=2, ensure_ascii=False))
    else:
        head, cells = _cells(columns, brief=brief)
        for line in table_lines(head, cells):
            echo(clean(line))
        for line in _notes(columns):
            echo(clean(line))


def _columns(root: Path, recipe: Recipe, name: str) -> list[Column]:
    stages = [node.name for node in dag.graph(recipe)]
    return read(Reader(root), stages, run=name)


def _same(runs: Sequence[Path], recipes: Sequence[Recipe]) -> None:
    first = recipes[0].model_dump(exclude=set(MAY_DIFFER))
    for root, recipe in zip(runs, recipes, strict=True):
        changed = differences(first, recipe.model_dump(exclude=set(MAY_DIFFER)))
        if changed:
            raise RunError(
                f"{runs[0]} and {root} are runs of different recipes ({', '.join(changed[:3])}); give "
                "runs that differ in their seed only, or compare them on a page: aha report RUN RUN"
            )


def _cells(
    columns: Sequence[Sequence[Column]], *, brief: bool
) -> tuple[list[str], list[list[str]]]:
    head = ["held out", *(column[0].name for column in columns)]
    found = rows(columns, brief=brief)
    return head, [[row.label, *(_with_sign(cell) for cell in row.cells)] for row in found]


def _with_sign(cell: Cell) -> str:
    """An asterisk where it differs from the column that it is compared with by more than chance."""
    return f"{cell.shown}*" if cell.differs else cell.shown


def _notes(columns: Sequence[Sequence[Column]]) -> list[str]:
    first = [column[0] for column in columns]
    against = {one.name: string(one.measures.get("against")) for one in first}
    said = [f"{name} against {other}" for name, other in against.items() if other]
    lines = [f"compared: {', '.join(said)}"] if said else []
    lines += [
        f"{one.name} waits for the opinion of the {who}: {why}"
        for one in first
        for who, why in table(one.measures.get("waiting")).items()
    ]
    if max(len(column) for column in columns) > 1:
        return [*lines, "mean over the runs (smallest to largest); --csv has every run"]
    lines.append("* differs from the one before: the 95 % interval of the paired difference")
    return [*lines, "intervals: --csv, --json, or the report page"]


def _facts(columns: Sequence[Sequence[Column]], names: Sequence[str]) -> dict[str, Any]:
    return {
        "runs": list(names),
        "stages": [column[0].name for column in columns],
        "rows": [
            {
                "label": row.label,
                "source": row.key[0],
                "measure": row.key[1],
                "lang": row.key[2],
                "cells": [
                    {"shown": cell.shown, "about": cell.about, "differs": cell.differs}
                    for cell in row.cells
                ],
            }
            for row in rows(columns)
        ],
        "measures": [
            {"run": one.run, "cost": one.cost, **one.measures}
            for column in columns
            for one in column
        ],
    }


def _csv(columns: Sequence[Sequence[Column]], seeds: Mapping[str, int]) -> str:
    """Every number of every run, one a line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEAD)
    for one in (one for column in columns for one in column):
        start = [one.run, seeds[one.run], one.name]
        for source, lang, measure, found in flat(one):
            writer.writerow([*start, source, lang, measure, *(found.get(key, "") for key in ENDS)])
        for measure, value in one.cost.items():
            if number(value) is not None:
                writer.writerow([*start, "cost", "", measure, value, *[""] * 5])
    return out.getvalue()
