"""The table of stages and measures as plain cells: this run's version of DeepSeek-R1's Table 3 (v2).

    RUN/STAGE/measures/measures.json, RUN/STAGE/cost.json -> columns -> rows of cells

A column is one model, in one run or in several (seeds of one recipe): then a cell is the mean, with the
range. Shares are shown in percent. Works on what is there, also in a run that was killed; what was measured
with other settings than the recipe's says so, and is compared with nothing.

Holds not: HTML (sections.py), how a number is made (evals/measures_numbers.py). Every cell is text that
is still to be escaped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from aha.report.curves import mean
from aha.report.page.read import Reader, number, string, table

BASE = "base"
"""Name of the model that the recipe begins with, as a column."""
BASES = Path("measures")
"""Folder of it and of other models from elsewhere, in the run folder; a stage's is STAGE/measures."""
BASE_FOLDER = BASES / BASE
FILE = "measures.json"
COST = "cost.json"
RECIPE = "recipe.toml"
ALL = "all"
"""Every source of problems together."""
FEWEST = 8
"""Prompts from which a difference is marked."""
Unit = Literal["share", "tokens", "words", "score", "count", "seconds"]


@dataclass(frozen=True, slots=True)
class Column:
    """One measured model of one run."""

    run: str
    name: str
    measures: Mapping[str, Any]
    """The object of measures.json."""
    cost: Mapping[str, Any]
    """That of cost.json; {} if there is none."""
    otherwise: str = ""
    """Its settings that are not those of the run, in words; "" if there are none."""
    unlike: bool = False
    """It, or the model that it was compared with, was measured otherwise: no difference is shown."""

    def sources(self) -> list[Mapping[str, Any]]:
        found = self.measures.get("sources")
        return [table(one) for one in found] if isinstance(found, list) else []

    def source(self, name: str) -> Mapping[str, Any]:
        if name == ALL:
            return table(self.measures.get(ALL))
        return next((one for one in self.sources() if one.get("name") == name), {})

    def number(self, source: str, measure: str, lang: str = "") -> Mapping[str, Any]:
        """value, n and low, high or p10, p90; {} if it is not known."""
        found = self.source(source)
        numbers = table(found.get("lang")).get(lang) if lang else found.get("numbers")
        named = table(table(numbers).get(measure))
        return named if number(named.get("value")) is not None else {}


@dataclass(frozen=True, slots=True)
class Cell:
    """What is shown; `about` says how sure it is; `differs`: from the column that it is compared with."""

    shown: str = ""
    about: str = ""
    differs: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    key: tuple[str, str, str]
    """Source, measure, language."""
    cells: list[Cell]


def read(reader: Reader, stages: Sequence[str], run: str = "") -> list[Column]:
    """The measured models of a run: its base, then its stages as they are given, each after a model from
    elsewhere that it is the first to start from."""
    root, found = reader.root, []
    places: list[tuple[str, Path, Path | None]] = [(BASE, root / BASE_FOLDER, None)]
    for name in stages:
        places.append((base_of(name), root / BASES / base_of(name), None))
        places.append((name, root / name / "measures", root / name / COST))
    for name, folder, cost in places:
        measures = reader.table(folder / FILE)
        if measures:
            spent = reader.table(cost) if cost else {}
            found.append(Column(run, string(measures.get("name")) or name, measures, spent))
    return _marked(found, table(reader.toml(root / RECIPE).get("measures")), stages)


def base_of(stage: str) -> str:
    """Name of the model from elsewhere that a stage is the first to start from, as a column."""
    return f"{stage}_{BASE}"


def beside(runs: Sequence[Sequence[Column]]) -> list[list[Column]]:
    """Columns of several runs, those of one name together, in the order of the first that has it."""
    names = dict.fromkeys(column.name for run in runs for column in run)
    return [[column for run in runs for column in run if column.name == name] for name in names]


def rows(columns: Sequence[Sequence[Column]], *, brief: bool = False) -> list[Row]:
    """The rows that have at least one cell. `brief`: without languages and what is rarely asked."""
    every = [one for column in columns for one in column]
    several = max(map(len, columns), default=1) > 1
    runs = len({one.run for one in every}) if several else 1
    found = []
    if any(one.otherwise for one in every):
        found.append(Row(OTHERWISE, ("", "otherwise", ""), [_otherwise(one) for one in columns]))
    for label, key, unit in _rows(every, brief):
        cells = [_cell(column, key, unit, runs) for column in columns]
        if any(cell.shown for cell in cells):
            found.append(Row(label, key, cells))
    return found


def flat(column: Column) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """Source, language ("" for all), measure and number of everything in a column."""
    sources = [(string(one.get("name")), one) for one in column.sources()]
    if column.measures.get(ALL):
        sources.append((ALL, column.source(ALL)))
    for name, source in sources:
        for measure, found in (*_pairs(source, "numbers"), *_pairs(source, "compared")):
            yield name, "", measure, found
        for lang, numbers in table(source.get("lang")).items():
            for measure, found in table(numbers).items():
                yield name, lang, measure, table(found)


def _pairs(source: Mapping[str, Any], key: str) -> list[tuple[str, Mapping[str, Any]]]:
    return [(measure, table(found)) for measure, found in table(source.get(key)).items()]


# -- measured otherwise ------------------------------------------------------------------------------------

OTHERWISE = "measured with other settings"
"""Label of the row that says of which columns this is so."""
_SETTINGS = (
    *("problems", "samples", "temperature", "top_p", "max_answer_tokens"),
    *("grader_seconds", "sandbox", "reward_model"),
)
"""Keys of [measures] that numbers depend on; beside them are the judge and the sources."""


def _marked(
    columns: Sequence[Column], recipe: Mapping[str, Any], stages: Sequence[str]
) -> list[Column]:
    """Columns that say what they were measured with, where it is not what the recipe's [measures] asks for
    (what that does not say: where it is not that of the last column)."""
    own = [_settings(table(one.measures.get("settings")), _heldout(one)) for one in columns]
    last: dict[str, Any] = next(filter(None, reversed(own)), {})
    wanted = last | _settings(recipe, table(recipe.get("heldout")))
    said = {}
    for one, has in zip(columns, own, strict=True):
        other = [key for key in wanted if key in has and has[key] != wanted[key]]
        what = [f"{key} {string(has[key])[:80]}" for key in other]
        if recipe and not _is_asked(one.name, recipe, stages):
            what.append("not asked for any more")
        said[one.name] = "; ".join(what)
    return [
        replace(one, otherwise=said[one.name], unlike=any(map(said.get, (one.name, _against(one)))))
        for one in columns
    ]


def _settings(said: Mapping[str, Any], heldout: Mapping[str, Any]) -> dict[str, Any]:
    judge = table(said.get("judge"))
    found = {key: said.get(key) for key in _SETTINGS}
    found |= {f"judge.{key}": judge.get(key) for key in ("url", "model", "path")}
    found |= {"heldout": ", ".join(sorted(heldout)) or None}
    found |= {f"heldout.{name}": source for name, source in heldout.items()}
    return {key: value for key, value in found.items() if value is not None}


def _heldout(column: Column) -> dict[str, Any]:
    return {string(one.get("name")): one.get("source") for one in column.sources()}


def _is_asked(name: str, recipe: Mapping[str, Any], stages: Sequence[str]) -> bool:
    """Whether [measures] asks for a column: that of a stage, else of a model from elsewhere."""
    if name not in stages:
        return recipe.get("base") is True
    wanted = recipe.get("stages")
    return not isinstance(wanted, list) or not wanted or name in wanted


def _against(column: Column) -> str:
    """Name of the model that it is compared with; "" if there is none."""
    return string(column.measures.get("against"))


def _otherwise(column: Sequence[Column]) -> Cell:
    said = [(one.run, one.otherwise) for one in column if one.otherwise]
    one_by_one = (f"{run}: {what}" if len(column) > 1 else what for run, what in said)
    return Cell("; ".join(one_by_one))


# -- which rows --------------------------------------------------------------------------------------------

_Key = tuple[str, str, str]
_STYLE: tuple[tuple[str, str, Unit], ...] = (
    ("asked form", "form", "share"),
    ("readable", "readable", "share"),
    ("in the question's language", "language", "share"),
    ("thinking, tokens", "think_tokens", "tokens"),
    ("summary, tokens", "summary_tokens", "tokens"),
    ("reflection, words", "reflection", "words"),
    ("with wait", "wait", "share"),
    ("cut at the cap", "cut", "share"),
    ("repeated 4-grams", "repetition", "share"),
    ("ends in a loop", "looping", "share"),
)
_TALK: tuple[tuple[str, str, Unit], ...] = (
    ("helpful", "helpful", "share"),
    ("win rate", "win_rate", "share"),
    ("instructions", "instructions", "share"),
    ("safe", "safe", "share"),
    ("refused where due", "refusals", "share"),
    ("over-refusal", "over_refusal", "share"),
    ("refusal phrases", "refusal_phrases", "share"),
)
_OPINIONS: tuple[tuple[str, str, Unit], ...] = (
    ("score of the reward model", "reward", "score"),
    ("without a score", "reward_none", "share"),
    ("win rate by the reward model", "reward_win_rate", "share"),
    ("win rate by the judge", "judge_win_rate", "share"),
    ("score of the judge", "judge_score", "score"),
    ("judge without a verdict", "judge_failed", "share"),
)
_COMPARED = {"win_rate": 0.5, "reward_win_rate": 0.5, "judge_win_rate": 0.5, "judge_score": 0.0}
"""Measures of a comparison: their value where there is no difference."""
_WAITED = {"reward": "reward_model", "reward_win_rate": "reward_model", "judge_win_rate": "judge"}
"""Cells that say that an opinion is waited for: whose."""
_COST: tuple[tuple[str, str, Unit], ...] = (
    ("tokens sampled", "tokens_sampled", "count"),
    ("tokens trained", "tokens_trained", "count"),
    ("CPU time", "cpu_s", "seconds"),
    ("GPU time", "gpu_s", "seconds"),
)
PER_CENT = ", %"


def _rows(columns: Sequence[Column], brief: bool) -> Iterator[tuple[str, _Key, Unit]]:
    """(label, key, unit) of every row there may be."""
    names = list(dict.fromkeys(string(s.get("name")) for one in columns for s in one.sources()))
    problems = [name for name in names if _has(columns, name, "pass_at_1")]
    for name in [*problems, *([ALL] if len(problems) > 1 else [])]:
        yield f"{name} pass@1{PER_CENT}", (name, "pass_at_1", ""), "share"
        if not brief:
            for lang in _langs(columns, name):
                yield f"{name} {lang} pass@1{PER_CENT}", (name, "pass_at_1", lang), "share"
        for measure, short in (("cons_at_k", "cons"), ("pass_at_k", "pass")):
            k = _k(columns, name, measure)
            if k and (measure == "cons_at_k" or not brief):
                yield f"{name} {short}@{k}{PER_CENT}", (name, measure, ""), "share"
    style = _STYLE if not brief else [row for row in _STYLE if row[1] != "repetition"]
    for label, measure, unit in style:
        yield f"{label}{PER_CENT if unit == 'share' else ''}", (ALL, measure, ""), unit
        if not brief and measure in ("language", "think_tokens"):
            for lang in _langs(columns, ALL):
                yield f"{lang}: {label}{_sign(unit)}", (ALL, measure, lang), unit
    if not brief:
        yield f"no answer part found{PER_CENT}", (ALL, "unparsed", ""), "share"
        yield f"grader failed{PER_CENT}", (ALL, "grader_failed", ""), "share"
    for name in (name for name in names if name not in problems):
        for label, measure, unit in (*_TALK, *_OPINIONS):
            if not brief or measure not in ("reward_none", "judge_failed"):
                yield f"{name}: {label}{_sign(unit)}", (name, measure, ""), unit
        # of prompts without a right answer there is more to say than opinions
        if problems and not brief and _has(columns, name, "refusal_phrases"):
            for label, measure, unit in _STYLE:
                yield f"{name}: {label}{_sign(unit)}", (name, measure, ""), unit
    for label, measure, unit in _COST:
        yield label, ("", measure, ""), unit


def _sign(unit: Unit) -> str:
    return PER_CENT if unit == "share" else ""


def _has(columns: Sequence[Column], source: str, measure: str) -> bool:
    return any(one.number(source, measure) for one in columns)


def _langs(columns: Sequence[Column], source: str) -> list[str]:
    return sorted({lang for one in columns for lang in table(one.source(source).get("lang"))})


def _k(columns: Sequence[Column], source: str, measure: str) -> int:
    found = [number(one.number(source, measure).get("k")) for one in columns]
    return int(max((k for k in found if k is not None), default=0))


# -- cells -------------------------------------------------------------------------------------------------


def _cell(column: Sequence[Column], key: _Key, unit: Unit, runs: int) -> Cell:
    """`runs`: how many there are; a mean over fewer of them says so."""
    found = [(one, it) for one in column if (it := _number(one, key))]
    if not found:
        return next((Cell("waits", why) for one in column if (why := _waits(one, key))), Cell())
    values = [number(it.get("value")) or 0.0 for _, it in found]
    form, few = _FORMS[unit], f"{len(values)} of {runs} runs" if len(values) < runs else ""
    if len(values) == 1:
        one, it = found[0]
        about = _about(one, it, key, unit)
        if few:
            return Cell(f"{form(values[0])} ({few})", "; ".join(filter(None, (one.run, about))))
        return Cell(form(values[0]), about, _differs(one, it, key))
    low, high = form(min(values)), form(max(values))
    each = ", ".join(
        f"{one.run} {form(value)}" for (one, _), value in zip(found, values, strict=True)
    )
    return Cell(
        f"{form(mean(values))} ({low} to {high}{'; ' if few else ''}{few})",
        f"mean of {few or f'{len(values)} runs'}: {each}",
    )


def _number(column: Column, key: _Key) -> Mapping[str, Any]:
    source, measure, lang = key
    if not source:
        value = number(column.cost.get(measure))
        return {"value": value} if value else {}
    if measure in _COMPARED or measure == "judge_failed":
        named = table(table(column.source(source).get("compared")).get(measure))
        return named if number(named.get("value")) is not None else {}
    return column.number(source, measure, lang)


def _waits(column: Column, key: _Key) -> str:
    """Why an opinion that was asked for is not there yet; "" for every other cell."""
    source, measure, _ = key
    about = any(column.number(source, name) for name in ("refusal_phrases", "helpful"))
    against = measure not in _COMPARED or column.measures.get("against")
    if measure not in _WAITED or not about or not against:
        return ""
    return string(table(column.measures.get("waiting")).get(_WAITED[measure]))


def _about(column: Column, it: Mapping[str, Any], key: _Key, unit: Unit) -> str:
    """How sure it is, in words; "" for a cost."""
    form, n = _FORMS[unit], number(it.get("n"))
    said = []
    for ends, what in (
        (("low", "high"), "95 % interval"),
        (("p10", "p90"), "10th to 90th percentile"),
    ):
        low, high = (number(it.get(end)) for end in ends)
        if low is not None and high is not None:
            said.append(f"{what} {form(low)} to {form(high)}")
    if n is not None:
        said.append(f"{int(n):,} {'prompts' if 'low' in it else 'answers'}")
    against, gain = _against(column), _gain(column, key)
    if gain and against:
        low, value, high = (number(gain.get(end)) or 0.0 for end in ("low", "value", "high"))
        said.append(f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] against {against}")
    elif key[1] in _COMPARED and against:
        said.append(f"against {against}")
    return "; ".join(said)


def _gain(column: Column, key: _Key) -> Mapping[str, Any]:
    """Of pass@1; {} where there is none that can be shown."""
    source, measure, lang = key
    if measure != "pass_at_1" or lang or column.unlike:
        return {}
    return table(table(column.source(source).get("compared")).get("gain"))


def _differs(column: Column, it: Mapping[str, Any], key: _Key) -> bool:
    """The paired interval of the difference does not hold "no difference"; never where that is an interval
    of hardly any prompts: a bootstrap of them knows no chance."""
    even = _COMPARED.get(key[1], 0.0)
    judged = it if key[1] in _COMPARED else _gain(column, key)
    low, high, n = (number(judged.get(name)) for name in ("low", "high", "n"))
    if low is None or high is None or n is None or column.unlike:
        return False
    return n >= FEWEST and not low <= even <= high


def _percent(value: float) -> str:
    text = f"{100 * value:.{0 if abs(value) >= 0.9995 else 1}f}"
    return text.removeprefix("-") if text in ("-0.0", "-0") else text


def _tokens(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.1f}"


def _count(value: float) -> str:
    """
    >>> _count(950), _count(12_345), _count(3_200_000)
    ('950', '12.3k', '3.20M')
    """
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return (
                f"{value / size:.3g}{sign}"
                if value / size >= 9.995
                else f"{value / size:.2f}{sign}"
            )
    return f"{value:.0f}"


def _seconds(value: float) -> str:
    """
    >>> _seconds(75), _seconds(7500)
    ('1.2 min', '2.1 h')
    """
    for size, sign in ((3600.0, "h"), (60.0, "min")):
        if value >= size:
            return f"{value / size:.1f} {sign}"
    return f"{value:.1f} s"


_FORMS: dict[Unit, Callable[[float], str]] = {
    "share": _percent,
    "tokens": _tokens,
    "words": lambda value: f"{value:.2f}",
    "score": lambda value: f"{value:.2f}",
    "count": _count,
    "seconds": _seconds,
}
