"""Curves of a stage as plain series with units, thinned: which metrics stand in one chart, and how.

A chart has steps, and series over them; a value that is not known is None. More than `MOST` steps are
joined: a point is the mean of its share of them. Metrics that no chart names stand in charts of their
own, by the first part of their name, so that a stage of any kind has its curves.

Holds not: drawing (draw.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

from aha.report.curves import mean
from aha.report.metrics import metric

MOST = 300
"""Points of a series."""
Values = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Series:
    label: str
    values: Values
    low: Values = ()
    high: Values = ()
    """A band around the values, as long as they are; () for none."""
    band: str = ""
    """What the band is."""


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    unit: str
    steps: tuple[int, ...]
    series: tuple[Series, ...]
    stacked: bool = False
    note: str = ""


SPECS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("Loss", "nats/token", (
        ("learned", "sft/loss"),
        ("held out", "sft/heldout/loss"),
    )),
    ("Pretraining loss", "nats/token", (
        ("all", "pretrain/loss"),
        ("*", "pretrain/loss/*"),
    )),
    ("Pairs: loss", "nats", (("learned", "dpo/loss"), ("held out", "dpo/heldout/loss"))),
    ("Pairs: accuracy", "share (0..1)", (
        ("learned", "dpo/accuracy"), ("held out", "dpo/heldout/accuracy"),
    )),
    ("Pairs: log-probability", "nats/token", (
        ("chosen", "dpo/chosen/mean"), ("rejected", "dpo/rejected/mean"),
    )),
    ("Reward model: loss", "nats", (("learned", "rm/loss"), ("held out", "rm/heldout/loss"))),
    ("Reward model: accuracy", "share (0..1)", (
        ("learned", "rm/accuracy"), ("held out", "rm/heldout/accuracy"),
    )),
    ("Held-out against reward", "reward, share (0..1)", (
        ("held-out pass@1", "heldout/pass_at_1"),
        ("majority vote", "heldout/cons_at_k"),
        ("reward", "reward/mean"),
        ("right in training", "grade/correct/share"),
    )),
    ("Components of the reward", "before their weights", (("*", "reward/*/mean"),)),
    ("Length of answers", "tokens", (
        ("mean", "rollout/tokens/mean"),
        ("mean of ended ones", "rollout/terminated_tokens/mean"),
        ("thinking", "rollout/think_tokens/mean"),
    )),
    ("Group mix", "share of groups", (
        ("all right", "group/all_right/share"),
        ("right and others", "group/informative/share"),
        ("none right", "group/all_wrong/share"),
    )),
    ("Verdicts", "share of answers", (
        ("right", "grade/correct/share"),
        ("wrong", "grade/wrong/share"),
        ("no answer found", "grade/unparsed/share"),
        ("grader out of time", "grade/timeout/share"),
        ("grader failed", "grade/error/share"),
    )),
    ("Reflection", "share of answers", (
        ("any reflection word", "text/reflection/share"),
        ("wait", "text/wait/share"),
        ("Chinese ones", "text/reflection_zh/share"),
    )),
    ("Language of the thinking", "share (0..1)", (
        ("answers that mix languages", "text/mixed/share"),
        ("Chinese characters", "text/han/share"),
        ("language reward", "reward/language/mean"),
    )),
    ("KL to the reference", "nats/token", (("KL", "policy/kl/mean"),)),
    ("Entropy", "nats/token", (("entropy", "policy/entropy/mean"),)),
    ("Throughput", "tokens/s", (
        ("sampling", "rate/rollout_tokens_per_s"),
        ("update", "rate/update_tokens_per_s"),
    )),
    ("Where the time goes", "s/step", (
        ("sampling", "time/rollout_s"),
        ("update", "time/update_s"),
        ("waiting for graders", "time/grade_wait_s"),
        ("evaluation", "time/eval_s"),
        ("checkpoint", "time/checkpoint_s"),
    )),
    ("Held-out pass@1 by area", "share (0..1)", (("*", "area/*/heldout"),)),
    ("Right answers by area", "share (0..1)", (("*", "area/*/correct"),)),
    ("Length by area", "tokens", (("*", "area/*/tokens"),)),
    ("How answers end", "share of answers", (
        ("cut at the cap", "rollout/cut/share"),
        ("end token", "rollout/eos/share"),
        ("stop string", "rollout/stop/share"),
    )),
    ("Suspicious answers", "share of answers", (("*", "suspect/*/share"),)),
    ("Norm of the gradient", "", (("before clipping", "optim/grad_norm"),)),
    ("Learning rate", "", (("learning rate", "optim/lr"),)),
)  # fmt: skip
"""Title, unit, (label, metric) of each chart; `*` stands for the part of a name that differs."""
STACKED = ("Group mix", "Verdicts", "How answers end")
BANDS = {"heldout/pass_at_1": ("heldout/pass_at_1_low", "heldout/pass_at_1_high", "95 % interval")}
KNOWN = ("step", "attempt", "time", "heldout/pass_at_1_low", "heldout/pass_at_1_high")


def charts(stage: Mapping[str, Any]) -> list[Chart]:
    """The named charts of a stage (as gather.py has it) that have something to show."""
    rows = _with_rollouts(stage)
    names = _names(rows)
    found = []
    for title, unit, lines in SPECS:
        series = [
            one
            for label, pattern in lines
            for name in _matching(pattern, names)
            if (one := _series(_label(label, pattern, name), name, rows)) is not None
        ]
        if series:
            steps = tuple(int(row["step"]) for row in rows)
            found.append(_thin(Chart(title, unit, steps, tuple(series), title in STACKED)))
    return found


def other_charts(stage: Mapping[str, Any]) -> list[Chart]:
    """Every metric that `charts` does not show, one chart each."""
    rows = _with_rollouts(stage)
    patterns = [pattern for _, _, lines in SPECS for _, pattern in lines]
    steps = tuple(int(row["step"]) for row in rows)
    found = []
    for name in _names(rows):
        if name in KNOWN or any(fnmatchcase(name, pattern) for pattern in patterns):
            continue
        series = _series(name, name, rows)
        if series is not None:
            found.append(_thin(Chart(name, unit(name), steps, (series,), note=sentence(name))))
    return found


def compared(runs: Sequence[tuple[str, Sequence[Chart]]]) -> list[Chart]:
    """One chart for each series that two runs or more have: a line for each run over all their steps."""
    found: dict[tuple[str, str], list[tuple[str, Chart, Series]]] = {}
    for run, drawn in runs:
        for chart in drawn:
            for series in chart.series:
                found.setdefault((chart.title, series.label), []).append((run, chart, series))
    out = []
    for (title, label), lines in found.items():
        if len(lines) < 2:
            continue
        steps = tuple(sorted({step for _, chart, _ in lines for step in chart.steps}))
        over = tuple(
            replace(_spread(one, chart.steps, steps), label=run) for run, chart, one in lines
        )
        single = all(len(chart.series) == 1 for _, chart, _ in lines)
        out.append(Chart(title if single else f"{title}: {label}", lines[0][1].unit, steps, over))
    return out


def unit(name: str) -> str:
    """The declared unit of a metric; "" for one that is not declared."""
    try:
        return metric(name).unit
    except KeyError:
        return ""


def sentence(name: str) -> str:
    """What a metric is; "" for one that is not declared."""
    try:
        return metric(name).sentence
    except KeyError:
        return ""


def _with_rollouts(stage: Mapping[str, Any]) -> list[dict[str, float]]:
    """The metric rows, with what only the rollouts say: the spread of lengths."""
    by_step = {row["step"]: row for row in stage["steps"]}
    rows = []
    for row in stage["rows"]:
        counted = by_step.get(int(row["step"]))
        extra = {}
        if counted:
            extra = {"tokens/p10": counted["tokens_p10"], "tokens/p90": counted["tokens_p90"]}
        rows.append(row | extra)
    return rows


def _names(rows: Iterable[Mapping[str, float]]) -> list[str]:
    return [
        name
        for name in dict.fromkeys(name for row in rows for name in row)
        if name not in ("tokens/p10", "tokens/p90")
    ]


def _matching(pattern: str, names: Sequence[str]) -> list[str]:
    if "*" not in pattern:
        return [pattern] if pattern in names else []
    return [name for name in names if fnmatchcase(name, pattern)]


def _label(label: str, pattern: str, name: str) -> str:
    if label != "*":
        return label
    before, _, after = pattern.partition("*")
    return name[len(before) : len(name) - len(after)]


def _series(label: str, name: str, rows: Sequence[Mapping[str, float]]) -> Series | None:
    values = tuple(row.get(name) for row in rows)
    if all(value is None for value in values):
        return None
    low, high, band = BANDS.get(name, ("", "", ""))
    if name == "rollout/tokens/mean":
        low, high, band = "tokens/p10", "tokens/p90", "10th to 90th percentile"
    lows = tuple(row.get(low) for row in rows)
    highs = tuple(row.get(high) for row in rows)
    if all(value is None for value in lows):
        return Series(label, values)
    return Series(label, values, lows, highs, band)


def _thin(chart: Chart) -> Chart:
    """At most `MOST` points: a point is the mean of the known values of its steps."""
    count = len(chart.steps)
    if count <= MOST:
        return chart
    edges = [count * i // MOST for i in range(MOST + 1)]
    bins = list(pairwise(edges))

    def joined(values: Values) -> Values:
        means = []
        for start, end in bins if values else ():
            known = [value for value in values[start:end] if value is not None]
            means.append(mean(known) if known else None)
        return tuple(means)

    return replace(
        chart,
        steps=tuple(chart.steps[end - 1] for _, end in bins),
        series=tuple(
            replace(s, values=joined(s.values), low=joined(s.low), high=joined(s.high))
            for s in chart.series
        ),
        note=f"each point is the mean of about {count / MOST:.3g} steps",
    )


def _spread(series: Series, steps: Sequence[int], over: Sequence[int]) -> Series:
    """The same series on more steps."""

    def at(values: Values) -> Values:
        known = dict(zip(steps, values, strict=True)) if values else {}
        return tuple(known.get(step) for step in over) if values else ()

    return replace(series, values=at(series.values), low=at(series.low), high=at(series.high))
