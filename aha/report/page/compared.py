"""Measured answers for the page: the same questions of every measured model, to be read side by side.

    RUN/STAGE/measures/SOURCE/samples.jsonl   answers to the held-out source SOURCE
    RUN/STAGE/measures/SOURCE/answers.jsonl   what was measured of each
    RUN/measures/base/SOURCE/...              those of the model that the recipe begins with

Sources are those of the measures.json beside them: one that was renamed or removed leaves its folder behind.
Of every source come, in turn, the question on whose share of right answers the models differ most, and
the next of an even choice. A question comes with the answers of all models that were asked it.

Holds not: numbers (measures.py), the browser (page.js).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from aha.report.page import asked
from aha.report.page.answers import short
from aha.report.page.asked import Choice, Key, Question, Wanted
from aha.report.page.measures import FILE
from aha.report.page.read import Reader, number, string, table, whole
from aha.report.page.rollouts import name_of

MOST_SOURCES = 40
SPLIT = "measured: "
"""Before the name of the source: where an answer was asked for."""
DIFFER, EVEN = "models differ", "even choice"
Groups = dict[str, list[dict[str, Any]]]
"""Name of a model or a stage -> its groups."""


@dataclass(frozen=True, slots=True)
class Model:
    """A measured model and the questions that it was asked."""

    name: str
    folder: Path
    tags: tuple[str, str]
    sources: Mapping[str, Mapping[str, Question]]


def index(reader: Reader, name: str, folder: Path, tags: tuple[str, str]) -> Model:
    """Read every file of measured answers below `folder` once; of all sources where no file names them."""
    said = reader.table(folder / FILE).get("sources")
    named = {string(table(one).get("name")) for one in said} if isinstance(said, list) else set()
    inside = sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
    wanted = [one for one in inside if one.name in named or not named][:MOST_SOURCES]
    read = {one.name: asked.questions(reader, asked.samples_in(one)) for one in wanted}
    return Model(name, folder, tags, {source: found for source, found in read.items() if found})


def size(models: Sequence[Model]) -> int:
    """About how many bytes all measured answers would take in the page."""
    return sum(
        question.size(0)
        for model in models
        for source in model.sources.values()
        for question in source.values()
    )


def choose(models: Sequence[Model], budget: int) -> Choice:
    """Questions that fit into about `budget` bytes with the answers of all models."""
    sources = dict.fromkeys(source for model in models for source in model.sources)

    def needed(key: Key, each: int) -> int:
        return sum(question.size(each) for question in _to(models, *key))

    return asked.choose([_wanted(models, source) for source in sources], needed, budget)


def _to(models: Sequence[Model], source: str, name: str) -> list[Question]:
    """A question, as each model has it that was asked it."""
    there = (model.sources.get(source, {}).get(name) for model in models)
    return [question for question in there if question is not None]


def _wanted(models: Sequence[Model], source: str) -> list[Wanted]:
    names = list(dict.fromkeys(name for one in models for name in one.sources.get(source, {})))
    spread: dict[str, float] = {}
    for name in names:
        rates = [one.right / one.judged for one in _to(models, source, name) if one.judged]
        if rates and max(rates) > min(rates):
            spread[name] = max(rates) - min(rates)
    differ = sorted(spread, key=lambda name: -spread[name])
    pairs = zip_longest(
        ((name, DIFFER) for name in differ), ((n, EVEN) for n in asked.evenly(names))
    )
    return [((source, one[0]), one[1]) for one in chain.from_iterable(pairs) if one]


def texts(reader: Reader, models: Sequence[Model], choice: Choice, budget: int) -> Groups:
    """The groups of each model, in the order of their sources; at most `budget` bytes."""
    made = {
        (model.name, source): _of_source(reader, model, source, choice)
        for model in models
        for source in model.sources
    }
    together = [
        [
            (model.name, {"split": SPLIT + short(source), **found})
            for model in models
            if (found := made.get((model.name, source), {}).get(name))
        ]
        for source, name in choice.why
    ]
    kept = asked.fitting(together, budget)
    return {
        name: sorted(groups, key=lambda one: str(one["split"])) for name, groups in kept.items()
    }


def _of_source(
    reader: Reader, model: Model, source: str, choice: Choice
) -> dict[str, dict[str, Any]]:
    chosen = {name: why for (where, name), why in choice.why.items() if where == source}
    folder = model.folder / source
    said = {
        (name, whole(row.get("sample"))): "; ".join(_said(row))
        for row in reader.rows(folder / "answers.jsonl")
        if (name := name_of(row)) in chosen
    }

    def more(row: Mapping[str, Any]) -> dict[str, Any]:
        found = said.get((name_of(row), whole(row.get("sample"))))
        return {"measured": found} if found else {}

    found = asked.texts(
        reader, asked.samples_in(folder), chosen, model.tags, each=choice.each, more=more
    )
    for name, group in found.items():
        question = model.sources[source][name]
        group |= {"right": question.right, "judged": question.judged}
    return found


def _said(row: Mapping[str, Any]) -> Iterator[str]:
    """What is worth saying of a measured answer (evals/measures.py: Measured)."""
    for key, wanted, words in (
        ("form", False, "not the asked form"),
        ("readable", False, "not readable"),
        ("refused", True, "refused"),
        ("helped", True, "helped with harm"),
        ("looping", True, "ends in a loop"),
    ):
        if row.get(key) is wanted:
            yield words
    language = number(row.get("language"))
    if language is not None and language < 1:
        yield f"{100 * language:.0f} % in the question's language"
    thinking, reflection = whole(row.get("think_tokens")), whole(row.get("reflection"))
    if thinking:
        yield f"{thinking:,} tokens of thinking"
    if reflection:
        yield f"{reflection:,} words of reflection"
    score = number(row.get("score"))
    if score is not None and 0 < score < 1:
        yield f"score {score:.2f}"
    vote = string(row.get("vote"))
    if vote and row.get("judged") is False:
        yield "no verdict: grader failed"
