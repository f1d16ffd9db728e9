"""Answers of sampling stages for the page, with what became of each.

    RUN/STAGE/eval/samples.jsonl   every answer with its verdict
    RUN/STAGE/dialogues.jsonl      which were kept
    RUN/STAGE/data.json            why the others were dropped: counts, and a few examples of each reason

First come the questions with an answer that data.json names, then an even choice. Why an answer was
dropped is known where data.json names it, and where its verdict alone decided; of the others only that
it was. Nothing is decided here again.

Holds not: filtering (data/selecting.py), the browser (page.js).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.report.page import asked
from aha.report.page.answers import short
from aha.report.page.asked import Choice, Key, Question, Wanted
from aha.report.page.compared import EVEN, Groups
from aha.report.page.read import Reader, number, string, table, whole
from aha.report.page.rollouts import name_of

SPLIT = "sampled"
DATA, DIALOGUES = "data.json", "dialogues.jsonl"
NOT_CORRECT = "not_correct"
Answer = tuple[str, int | None]
"""Id of the question, sample."""


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    folder: Path
    tags: tuple[str, str]
    questions: Mapping[str, Question]
    dropped: Mapping[Answer, tuple[str, str]]
    """Reason and detail of the answers that data.json names."""
    finished: bool
    """It is known what was kept."""
    right_only: bool
    """An answer that is not right was dropped for that."""


def index(
    reader: Reader, name: str, folder: Path, tags: tuple[str, str], config: Mapping[str, Any]
) -> Stage:
    """Read the answers of a sampling stage once, and what it says of them."""
    facts = reader.table(folder / DATA)
    refined = table(facts.get("refined"))
    counts = {**table(refined.get("unfit")), **table(facts.get("dropped"))}
    return Stage(
        name,
        folder,
        tags,
        asked.questions(reader, asked.samples_in(folder / "eval")),
        dict(_examples(table(refined.get("examples"))))
        | dict(_examples(table(facts.get("examples")))),
        bool(facts),
        NOT_CORRECT in counts and not number(config.get("min_score")),
    )


def _examples(found: Mapping[str, Any]) -> Iterator[tuple[Answer, tuple[str, str]]]:
    """Of data/selecting.py (prompt and sample), or of data/refine.py (`prompt/sample`)."""
    for reason, examples in found.items():
        for one in map(table, examples if isinstance(examples, list) else []):
            prompt, sample = string(one.get("prompt")), one.get("sample")
            if isinstance(sample, str):
                prompt, _, after = sample.rpartition("/")
                sample = (
                    int(after) if after.isascii() and after.isdigit() and len(after) < 9 else None
                )
            yield (prompt, whole(sample)), (short(reason), short(one.get("detail")))


def size(stage: Stage) -> int:
    """About how many bytes all its answers would take in the page."""
    return sum(question.size(0) for question in stage.questions.values())


def choose(stages: Sequence[Stage], budget: int) -> Choice:
    """Questions of all sampling stages that fit into about `budget` bytes."""
    by_name = {stage.name: stage for stage in stages}

    def needed(key: Key, each: int) -> int:
        return by_name[key[0]].questions[key[1]].size(each)

    return asked.choose([_wanted(stage) for stage in stages], needed, budget)


def _wanted(stage: Stage) -> list[Wanted]:
    """One example of each reason, then the second ones, then an even choice."""
    by_reason: dict[str, list[str]] = {}
    for (name, _), (reason, _) in stage.dropped.items():
        if name in stage.questions:
            by_reason.setdefault(reason, []).append(name)
    ranks = range(max(map(len, by_reason.values()), default=0))
    named = [
        ((stage.name, names[rank]), f"dropped: {reason}")
        for rank in ranks
        for reason, names in by_reason.items()
        if rank < len(names)
    ]
    return named + [((stage.name, one), EVEN) for one in asked.evenly(list(stage.questions))]


def texts(reader: Reader, stages: Sequence[Stage], choice: Choice, budget: int) -> Groups:
    """The groups of each stage; at most `budget` bytes."""
    made = {stage.name: _of_stage(reader, stage, choice) for stage in stages}
    together = [
        [(stage, {"split": SPLIT, **made[stage][name]})]
        for stage, name in choice.why
        if name in made[stage]
    ]
    return asked.fitting(together, budget)


def _of_stage(reader: Reader, stage: Stage, choice: Choice) -> dict[str, dict[str, Any]]:
    chosen = {name: why for (where, name), why in choice.why.items() if where == stage.name}
    kept = _kept(reader, stage.folder / DIALOGUES, chosen)

    def more(row: Mapping[str, Any]) -> dict[str, str]:
        return _fate(stage, row, kept)

    path = asked.samples_in(stage.folder / "eval")
    named = stage.dropped.keys()
    found = asked.texts(reader, path, chosen, stage.tags, each=choice.each, named=named, more=more)
    for name, group in found.items():
        question = stage.questions[name]
        group |= {"right": question.right, "judged": question.judged}
    return found


def _kept(reader: Reader, path: Path, chosen: Mapping[str, Any]) -> dict[Answer, str]:
    """Answers to the chosen questions that were kept, with what rewrote them ("" for nothing)."""
    found: dict[Answer, str] = {}
    for row in reader.rows(path):
        name, origin = string(row.get("id")).rpartition("/")[0], table(row.get("from"))
        if name in chosen:
            found[name, whole(origin.get("sample"))] = short(origin.get("rewritten"))
    return found


def _fate(stage: Stage, row: Mapping[str, Any], kept: Mapping[Answer, str]) -> dict[str, str]:
    """fate: kept or dropped, and why."""
    answer = name_of(row), whole(row.get("sample"))
    if not stage.finished:
        return {}
    if answer in kept:
        by = kept[answer]
        return {"fate": "kept"} | ({"fate_why": f"rewritten by {by}"} if by else {})
    reason, detail = stage.dropped.get(answer, ("", ""))
    if not reason and stage.right_only and row.get("status") in ("wrong", "unparsed"):
        reason = NOT_CORRECT
    why = ", ".join(part for part in (reason, detail) if part)
    return {"fate": "dropped"} | ({"fate_why": why} if why else {})
