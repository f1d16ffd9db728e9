"""Tables of the page as plain cells: stage x measure, what became of the data, how recipes differ.

Holds not: HTML (html.py). Every cell is text that is still to be escaped.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aha.report.curves import mean
from aha.report.page.curves import unit
from aha.report.page.draw import shown
from aha.report.page.read import number, string, table

ENDS = 5
"""Steps at the beginning and at the end that a noisy measure is averaged over."""
MOST_ROWS = 24
"""Rows of one breakdown of held-out problems."""

MEASURES: tuple[tuple[str, str], ...] = (
    ("held-out pass@1", "heldout/pass_at_1"),
    ("held-out majority vote", "heldout/cons_at_k"),
    ("held-out answers cut", "heldout/cut/share"),
    ("reward", "reward/mean"),
    ("right in training", "grade/correct/share"),
    ("asked form", "reward/format/mean"),
    ("no answer part found", "grade/unparsed/share"),
    ("answer length", "rollout/tokens/mean"),
    ("answers cut", "rollout/cut/share"),
    ("groups that teach", "group/informative/share"),
    ("reflection words", "text/reflection/share"),
    ("mixed languages", "text/mixed/share"),
    ("entropy", "policy/entropy/mean"),
    ("KL to the reference", "policy/kl/mean"),
    ("pretraining loss", "pretrain/loss"),
    ("loss", "sft/loss"),
    ("held-out loss", "sft/heldout/loss"),
    ("loss of pairs", "dpo/loss"),
    ("accuracy of pairs", "dpo/accuracy"),
    ("held-out accuracy of pairs", "dpo/heldout/accuracy"),
    ("reward model loss", "rm/loss"),
    ("reward model, held-out loss", "rm/heldout/loss"),
    ("reward model accuracy", "rm/accuracy"),
    ("reward model, held-out accuracy", "rm/heldout/accuracy"),
    ("sampled", "rate/rollout_tokens_per_s"),
    ("trained", "rate/update_tokens_per_s"),
    ("memory", "memory/peak_gb"),
)
"""Label and metric of the rows."""

Row = tuple[str, list[str]]
"""Its label, and a cell for each column."""


def measures(columns: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Stages side by side: what each measure was at the beginning and at the end of each."""
    rows: list[Row] = [
        ("steps", [_steps(stage) for stage in columns]),
        ("time", [_hours(stage["rows"]) for stage in columns]),
        ("answers sampled", [_count(stage["counts"]["answers"]) for stage in columns]),
    ]
    for label, name in MEASURES:
        said = f"{label} ({unit(name)})" if unit(name) not in ("", "0..1") else label
        rows.append((said, [_first_last(stage["rows"], name) for stage in columns]))
    rows += _mismatches(columns)
    rows += _by(columns)
    return [row for row in rows if any(row[1])]


def _steps(stage: Mapping[str, Any]) -> str:
    return shown(stage["rows"][-1]["step"]) if stage["rows"] else ""


def _hours(rows: Sequence[Mapping[str, float]]) -> str:
    return duration(sum(row.get("time/step_s", 0.0) for row in rows)) if rows else ""


def _count(value: int) -> str:
    return f"{value:,}" if value else ""


def duration(seconds: float) -> str:
    """
    >>> duration(3720), duration(75), duration(0)
    ('1 h 2 min', '1 min 15 s', '0 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _first_last(rows: Sequence[Mapping[str, float]], name: str) -> str:
    """`first → last`: of evaluations as they are, of other measures the mean of a few steps."""
    known = [row for row in rows if name in row]
    if not known:
        return ""
    values = [row[name] for row in known]
    share = unit(name) == "0..1"
    if "heldout" in name:
        ends = [_value(row[name], share) + _interval(row, name) for row in (known[0], known[-1])]
    else:
        few = min(ENDS, max(1, len(values) // 2))
        ends = [_value(mean(values[:few]), share), _value(mean(values[-few:]), share)]
    return ends[0] if len(values) == 1 else " → ".join(ends)


MISMATCH: tuple[tuple[str, str, bool], ...] = (
    ("against their sampler (nats/token)", "mean_log_ratio", False),
    ("effective sample size", "ess_share", True),
    ("tokens outside the clip", "outside_share", True),
)
"""Label, key of mismatch.json (rl/mismatch.py: Mismatch), whether it is a share."""
ENDS_OF_STAGE = ("start", "end")


def _mismatches(columns: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """How far stored answers are from the model that learns from them, at the start and at the end."""
    for label, key, share in MISMATCH:
        cells = [_ends(stage["mismatch"], key, share) for stage in columns]
        yield f"stored answers: {label}", [" → ".join(filter(None, ends)) for ends in cells]


def _ends(mismatch: Mapping[str, Any], key: str, share: bool) -> list[str]:
    found = [number(table(mismatch.get(end)).get(key)) for end in ENDS_OF_STAGE]
    return ["" if value is None else _value(value, share) for value in found]


def mismatch(found: Mapping[str, Any]) -> tuple[list[list[str]], str]:
    """Of mismatch.json (stages/off_policy.py): rows of a table of start and end, and what was measured."""
    rows = [[label, *_ends(found, key, share)] for label, key, share in MISMATCH]
    rows += [
        [name, *(_whole(table(found.get(end)).get(name)) for end in ENDS_OF_STAGE)]
        for name in ("answers", "tokens")
    ]
    said = [
        f"{_whole(found.get('measured'))} of {_whole(found.get('answers'))} stored answers measured"
    ]
    said += [f"{_whole(n)} not, {reason}" for reason, n in table(found.get("not_measured")).items()]
    clip = number(found.get("clip"))
    said += [f"the clip is 1 ± {clip:g}"] if clip is not None else []
    samplers = found.get("samplers")
    for one in map(table, samplers if isinstance(samplers, list) else []):
        same = {True: ", asked as here", False: ", asked in another way"}
        asked_as = one.get("same_template")
        how = same[asked_as] if isinstance(asked_as, bool) else ""
        said.append(
            f"{_whole(one.get('answers'))} sampled by {string(one.get('stage'))} at temperature "
            f"{shown(number(one.get('temperature')))}{how}"
        )
    return [row for row in rows if any(row[1:])], "; ".join(said)


def _whole(value: Any) -> str:
    found = number(value)
    return f"{found:,.0f}" if found is not None else "?" if value is not None else ""


def _value(value: float, share: bool) -> str:
    return f"{100 * value:.1f} %" if share else shown(float(f"{value:.4g}"))


def _interval(row: Mapping[str, float], name: str) -> str:
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"


def _by(columns: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """Held-out pass@1 by area, domain and language, of the first and the last evaluation."""
    for key in ("area", "domain", "lang"):
        names: dict[str, None] = {}
        for stage in columns:
            for result in stage["evals"]:
                names |= dict.fromkeys(table(result["by"].get(key)))
        if len(names) < 2:
            continue
        for name in list(names)[:MOST_ROWS]:
            yield f"pass@1 · {key} {name}", [_parted(stage, key, name) for stage in columns]


def _parted(stage: Mapping[str, Any], key: str, name: str) -> str:
    found = []
    results = stage["evals"]
    for result in [results[0], results[-1]] if len(results) > 1 else results:
        cell = table(table(result["by"].get(key)).get(name))
        value = number(cell.get("pass_at_1"))
        if value is not None:
            low, high = number(cell.get("low")), number(cell.get("high"))
            named = {"x": value} | ({"x_low": low, "x_high": high} if low is not None else {})
            found.append(_value(value, True) + _interval(_known(named), "x"))
    return " → ".join(found)


def _known(row: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in row.items() if value is not None}


# -- data --------------------------------------------------------------------------------------------------


def asked(recipe: Mapping[str, Any], stage: Mapping[str, Any]) -> Iterator[Row]:
    """Where a stage's data comes from, as its recipe says."""
    own = table(recipe.get("stage")).get(stage["name"]) or recipe.get(stage["name"])
    shared, changed = table(recipe.get("data")), table(table(own).get("data"))
    if table(own).get("train"):  # it learns from its own, the recipe's problems are for others
        shared = {"template": shared.get("template")}
    data = {**shared, **changed}  # as stages/start.py puts them together
    tables = [("", table(own)), ("data.", data)]
    for prefix, said in tables:
        for key in ("start", "train", "heldout", "template", "prompts", "dialogues", "data"):
            value = said.get(key)
            if value and not isinstance(value, dict):
                items = value if isinstance(value, list) else [value]
                yield f"{prefix}{key}", [string(item) for item in items]


def sampled(stage: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Answers of the rollouts by area, domain, source and language: head and rows."""
    head = ["", "answers", "right of those judged", "mean tokens"]
    rows = []
    for key, values in stage["by"].items():
        named = {name: sums for name, sums in values.items() if name}
        if len(named) > 1 or (key == "source" and named):
            for name, (answers, right, judged, tokens) in sorted(
                named.items(), key=lambda item: (-item[1][0], item[0])
            )[:MOST_ROWS]:
                share = f"{100 * right / judged:.1f} %" if judged else ""
                mean = f"{tokens / answers:.1f}"
                rows.append([f"{key}: {name}", f"{int(answers):,}", share, mean])
    return head, rows


def leaves(value: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """`a.b.c`, value for everything in a tree of plain values."""
    if isinstance(value, dict) and depth < 12:
        for key, inner in value.items():
            yield from leaves(inner, f"{prefix}.{key}" if prefix else str(key), depth + 1)
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        for place, inner in enumerate(value[:20]):
            yield from leaves(inner, f"{prefix}[{place}]", depth + 1)
    elif isinstance(value, list):
        yield prefix, ", ".join(string(item) for item in value[:50]) or "none"
    else:
        found = None if isinstance(value, bool) else number(value)
        yield prefix, shown(found) if found is not None else string(value)


# -- recipes -----------------------------------------------------------------------------------------------


def differences(recipes: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Every value that is not the same in all recipes."""
    flat = [dict(leaves(recipe)) for recipe in recipes]
    keys = dict.fromkeys(key for one in flat for key in one)
    return [
        (key, [one.get(key, "–") for one in flat])
        for key in keys
        if len({one.get(key) for one in flat}) > 1
    ]
