"""Two evaluations of the same problems, side by side: what changed, and by how much more than chance.

Works on the stored samples of `evals/run.py` (one row an answer), so that a table can be made again
from a run folder at any time. Differences are over problems, with a paired bootstrap interval
(`passk.paired_ratio`); a problem that only one side has is counted and not used.

Holds not: reading run folders (stages/summary.py), sampling, grading.
Not covered: what a reflection word is used for, languages that share a script (report/text.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from aha.evals import passk
from aha.evals.run import by_problem
from aha.report.text import TextStats, measure
from aha.rewards.format import format_reward

Row = Mapping[str, Any]
Ratio = tuple[float, float]
"""What a problem brings to sum(over) / sum(under)."""
WAIT_ZH = ("等等", "等一下")
"""Chinese for `wait`."""
LANGUAGES = ("en", "zh")
"""Languages whose script can be told."""


def compare(
    before: Sequence[Row], after: Sequence[Row], *, tags: tuple[str, str] = ("think", "answer")
) -> dict[str, Any]:
    """Numbers of two evaluations and their differences, as plain values; shares are 0..1.

    `measures` is a list of {name, unit, before, after, difference}; `by` holds pass@1 for every
    language and domain, if there are at least two of them. What is not known is None.

    Raises:
        ValueError: a side without a judged answer, or no problem in both.
    """
    sides = [[row for row in rows if row["status"] not in FAILED] for rows in (before, after)]
    problems = [by_problem(rows) for rows in sides]
    most = min(len(p) for side in problems for p in side.values())
    measures = [_pass_at_1(problems[0], problems[1])]
    if most > 1:
        for name, score in (
            (f"cons@{most}", lambda p: passk.cons_at_k([p], most).value),
            (f"pass@{most}", lambda p: passk.pass_at_k([p], most).value),
        ):
            scores = [{i: (score(p), 1.0) for i, p in side.items()} for side in problems]
            measures.append(_measure(name, "share", *scores))
    texts = [_texts(rows, tags) for rows in (before, after)]
    for name, unit, kind in TEXT:
        values = [
            [kind(row, text) for row, text in zip(rows, side, strict=True)]
            for rows, side in zip((before, after), texts, strict=True)
        ]
        a, b = (
            _ratios(rows, side, unit) for rows, side in zip((before, after), values, strict=True)
        )
        measures.append(_measure(name, unit, a, b))
    return {
        "problems": len(problems[1]),
        "answers": most,
        "measures": measures,
        "by": {key: rows for key in ("lang", "domain") if (rows := _by(sides[0], sides[1], key))},
    }


FAILED = ("timeout", "error", "open")
"""Statuses without a verdict."""


def table(found: Mapping[str, Any], label: str = "after") -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the table of all measures; shares as percent."""
    columns = ["held out", "before", label, "difference [95 %]"]
    rows = []
    for it in found["measures"]:
        name = f"{it['name']}, %" if it["unit"] == "share" else it["name"]
        sides = [_cell(it[side], it["unit"]) for side in ("before", "after")]
        rows.append([name, *sides, _signed(it["difference"], it["unit"])])
    return columns, rows


def table_by(found: Mapping[str, Any], key: str, label: str = "after") -> list[list[str]]:
    """Header and rows of pass@1 by `lang` or `domain`; [] if there is no such table.

    Whole percents: of a part of the problems, more digits are noise; n is their number.
    """
    if key not in found["by"]:
        return []
    rows = [[key, "n", "before, %", f"{label}, %", "difference [95 %]"]]
    for value, it in found["by"][key].items():
        sides = [_cell(it[side], "percent") for side in ("before", "after")]
        problems = str(it["difference"]["problems"])
        rows.append([value, problems, *sides, _signed(it["difference"], "percent")])
    return rows


def _pass_at_1(a: Mapping[str, passk.Problem], b: Mapping[str, passk.Problem]) -> dict[str, Any]:
    sides = [asdict(passk.pass_at_1(list(side.values()))) for side in (a, b)]
    difference = asdict(passk.paired_difference(a, b))
    facts = {"before": sides[0], "after": sides[1], "difference": difference}
    return {"name": "pass@1", "unit": "share"} | facts


def _measure(
    name: str, unit: str, a: Mapping[str, Ratio], b: Mapping[str, Ratio]
) -> dict[str, Any]:
    sides = []
    for side in (a, b):
        under = sum(u for _, u in side.values())
        sides.append({"value": sum(o for o, _ in side.values()) / under} if under else None)
    difference = asdict(passk.paired_ratio(a, b)) if a.keys() & b.keys() else None
    facts = {"before": sides[0], "after": sides[1], "difference": difference}
    return {"name": name, "unit": unit} | facts


def _by(before: Sequence[Row], after: Sequence[Row], key: str) -> dict[str, dict[str, Any]]:
    sides = (before, after)
    values = sorted({row[key] for row in before} & {row[key] for row in after})
    if len(values) < 2:
        return {}
    found = {}
    for value in values:
        a, b = (by_problem([row for row in rows if row[key] == value]) for rows in sides)
        if a.keys() & b.keys():
            found[value or "other"] = _pass_at_1(a, b)
    return found


def _texts(rows: Sequence[Row], tags: tuple[str, str]) -> list[tuple[TextStats, bool, bool]]:
    """Of each answer: its counts, whether it has the asked form, whether it says `wait`."""
    found = []
    for row in rows:
        text = row["prefill"] + row["response"]
        stats = measure(text, think_tag=tags[0], answer_tag=tags[1])
        waits = stats.wait > 0 or any(word in text for word in WAIT_ZH)
        formed = format_reward(text, *tags, cut=row["stopped"] == "length") > 0
        found.append((stats, formed, waits))
    return found


def _own_language(row: Row, stats: TextStats) -> float | None:
    return stats.target_share(row["lang"]) if row["lang"] in LANGUAGES else None


Kind = Callable[[Row, tuple[TextStats, bool, bool]], float | None]
TEXT: tuple[tuple[str, str, Kind], ...] = (
    ("asked form", "share", lambda row, it: float(it[1])),
    ("no answer part", "share", lambda row, it: float(row["status"] == "unparsed")),
    ("cut at the cap", "share", lambda row, it: float(row["stopped"] == "length")),
    ("tokens", "tokens", lambda row, it: float(row["tokens"])),
    ("reflection per 1k", "per 1k", lambda row, it: it[0].reflection + it[0].reflection_zh),
    ("reflecting", "share", lambda row, it: float(it[0].reflection + it[0].reflection_zh > 0)),
    ('with "wait"', "share", lambda row, it: float(it[2])),
    ("mixed language", "share", lambda row, it: float(it[0].mixed)),
    ("same language", "share", lambda row, it: _own_language(row, it[0])),
)
"""Name, unit, value of one answer (None: not known). `per 1k` is divided by the answers' tokens. A name
(with `, %` after a share) takes at most 17 columns: what the widest numbers leave of 80."""


def _ratios(rows: Sequence[Row], values: Sequence[float | None], unit: str) -> dict[str, Ratio]:
    """What each problem brings; an answer of which nothing is known is left out."""
    known: dict[str, list[tuple[float, int]]] = {}
    for row, value in zip(rows, values, strict=True):
        if value is not None:
            known.setdefault(row["problem"], []).append((value, row["tokens"]))
    if unit == "per 1k":
        return {
            name: (1000 * sum(v for v, _ in pairs), sum(n for _, n in pairs))
            for name, pairs in known.items()
        }
    return {name: (fmean(v for v, _ in pairs), 1.0) for name, pairs in known.items()}


def _number(value: float, unit: str) -> str:
    """A number of the table; `percent` is a share in whole percents.

    One digit after the point, but not where it says little: 1000 and more, 100 percent.
    """
    if unit in ("share", "percent"):
        value = 100 * value
        digits = int(unit == "share" and abs(value) < 99.95)
    else:
        digits = int(abs(value) < 999.95)
    text = f"{value:.{digits}f}"
    return text[1:] if text in ("-0", "-0.0") else text


def _cell(side: Mapping[str, float] | None, unit: str) -> str:
    if side is None:
        return "-"
    value = _number(side["value"], unit)
    if "low" not in side:
        return value
    return f"{value} [{_number(side['low'], unit)}, {_number(side['high'], unit)}]"


def _signed(difference: Mapping[str, float] | None, unit: str) -> str:
    if difference is None:
        return "-"
    value, low, high = (_number(difference[name], unit) for name in ("value", "low", "high"))
    sign = "" if value.startswith("-") or float(value) == 0 else "+"
    return f"{sign}{value} [{low}, {high}]"
