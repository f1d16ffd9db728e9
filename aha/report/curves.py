"""Curves in a terminal: how a few metrics went over the steps of a run, 80 columns wide.

Holds:     pure functions of values and metric rows; text out.
Holds not: reading files, colours, a terminal's size.
A gap (a value that is not known) is a blank. A column that stands for several values shows their
mean. `first -> last` and the range are those of the raw values, not of the columns.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from aha.report.metrics import metric

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = ".:-=+*%#"
"""Fillings of one character cell, from nearly empty to full."""

SHOWN = (
    ("reward", "reward/mean", ".2f"),
    ("right", "reward/accuracy/mean", "%"),
    ("asked form", "reward/format/mean", "%"),
    ("answer tokens", "rollout/tokens/mean", ".0f"),
    ("reflection", "text/reflection/share", "%"),
    ("reflection, zh", "text/reflection_zh/share", "%"),
    ('"wait"', "text/wait/share", "%"),
    ("mixed languages", "text/mixed/share", "%"),
    ("entropy, nats", "policy/entropy/mean", ".2f"),
)
"""Label, metric, form of the curves that are drawn after a run."""

LABEL, NUMBER, WIDTH = 15, 5, 32
"""Columns of a label, of a number, of a curve."""


def mean(values: Sequence[float]) -> float:
    """The mean, also of numbers whose sum is beyond the largest float."""
    try:
        return fmean(values)
    except OverflowError:
        return math.fsum(value / len(values) for value in values)


def curve(
    values: Sequence[float | None], width: int, height: int = 1, *, plain: bool = False
) -> list[str]:
    """`height` lines of `width` characters, top line first: bars between least and largest value.

    More values than columns: a column is the mean of its share of them. Fewer: each takes several
    columns. A constant series is drawn at half height. `plain` draws with ASCII only.

    Raises:
        ValueError: width or height below 1.
    """
    if width < 1 or height < 1:
        raise ValueError(f"width={width}, height={height}: both must be at least 1")
    ramp = ASCII if plain else BLOCKS
    columns = binned(values, width)
    known = [value for value in columns if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    most = len(ramp) * height
    levels = []
    for value in columns:
        if value is None:
            levels.append(0)
        elif high > low:  # halved first: a range beyond the largest float is a range too
            share = (value / 2 - low / 2) / (high / 2 - low / 2)
            levels.append(1 + round(share * (most - 1)))
        else:
            levels.append(most // 2)
    lines = []
    for row in reversed(range(height)):
        fill = [min(max(level - row * len(ramp), 0), len(ramp)) for level in levels]
        lines.append("".join(ramp[f - 1] if f else " " for f in fill))
    return lines


def binned(values: Sequence[float | None], width: int) -> list[float | None]:
    """`width` means over equal shares of the values in order; None where nothing is known."""
    count = len(values)
    found: list[float | None] = []
    for column in range(width):
        start = column * count // width
        end = max((column + 1) * count // width, start + 1)
        part = [value for value in values[start:end] if value is not None and _known(value)]
        found.append(mean(part) if part else None)
    return found


def curves(rows: Sequence[Mapping[str, Any]], *, plain: bool = False) -> list[str]:
    """The curves of a run from the rows of metrics.jsonl; [] with fewer than two steps.

    One line each: label, first value, curve, last value, range. The last line is the axis. Every
    line fits 80 columns.
    """
    steps = [row for row in rows if "reward/mean" in row]
    if len(steps) < 2:
        return []
    lines = []
    for label, name, form in SHOWN:
        metric(name)  # declared
        values = [row.get(name) for row in steps]
        known = [float(value) for value in values if value is not None and _known(value)]
        if not known:
            continue
        first, last, low, high = (
            _show(value, form) for value in (known[0], known[-1], min(known), max(known))
        )
        drawn = curve(values, WIDTH, plain=plain)[0]
        lines.append(f"{label:<{LABEL}} {first:>{NUMBER}} {drawn} {last:>{NUMBER}}  {low}..{high}")
    begin, end = f"step {steps[0]['step']}", str(steps[-1]["step"])
    dashes = "-" if plain else "─"
    axis = f"{begin} {dashes * (WIDTH - len(begin) - len(end) - 2)} {end}"
    return [*lines, " " * (LABEL + NUMBER + 2) + axis + " " * (NUMBER + 3) + "least..most"]


def _known(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _show(value: float, form: str) -> str:
    """At most five characters for anything below 100,000."""
    return f"{100 * value:.0f}%" if form == "%" else format(value, form)
