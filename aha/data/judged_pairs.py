"""Preference pairs from a judge, for those who have no preferences. DeepSeek-R1, supplement B.2.

    questions with several answers each -> candidates -> judged in both orders -> kept -> balanced

Paper: pairs judged four times with random places, scores averaged, kept above a difference of 1, chosen
and rejected of comparable length over the data set. Here: `rounds` times in both orders; a pair is kept
if its rounds name the same winner and |score| > margin. What was not kept is counted, with the reason.

Holds not:       sampling the answers, the judge (rewards/judge.py), reading the pairs (preferences.py).
Must stay true:  the pairs that are asked about depend on the questions and the seed alone; no pair is
                 kept without a verdict; lengths are those of the text that the reward model reads.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from random import Random
from typing import Any, Literal

from aha.config import DataConfig
from aha.data import query
from aha.data.dialogues import QUESTION, RESPONSE
from aha.data.preferences import Pair
from aha.data.readers import BadRow
from aha.data.sources import inputs_of, limit_of
from aha.data.thinking import split as split_thinking
from aha.errors import DataError
from aha.rewards.judge import Comparison, Judge, pairwise_all

ANSWERS = ("answers", "responses", "completions", "outputs")
KEYS = ("question", "answers", "response", "id", "domain", "split", "n", "name", "weight")
SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A question and what was answered to it."""

    id: str
    question: str
    answers: tuple[str, ...]
    domain: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPair:
    """A pair that the judge decided."""

    pair: Pair
    score: float
    """Mean difference, above the margin, 2 at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPairs:
    """What a judge made of candidates. kept + sum(left_out) = asked about."""

    kept: list[JudgedPair]
    candidates: int
    left_out: dict[str, int]
    """screened (an answer without content), inconsistent (the orders disagree), tie, within_margin,
    and where there is no verdict: unparsed, refused, timeout, error."""
    questions: int
    single: int
    """Questions with fewer than two different answers: nothing to compare."""
    first_failures: list[str] = field(default_factory=list)
    """Why there was no verdict, the first few."""

    def facts(self) -> dict[str, Any]:
        """Counts, for a JSON file."""
        return {
            "questions": self.questions,
            "single": self.single,
            "candidates": self.candidates,
            "kept": len(self.kept),
            "left_out": dict(sorted(self.left_out.items())),
            "first_failures": self.first_failures,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long chosen and rejected are, over a data set. Lengths in characters."""

    pairs: int
    chosen_mean: float
    rejected_mean: float
    ratio: float
    """Geometric mean of chosen / rejected; 1 is balanced. Swapping the sides inverts it."""
    longer_share: float
    """Pairs in which the chosen one is longer, equal ones half: what length alone would score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balanced:
    """Pairs of comparable length, and what was dropped for it."""

    kept: list[Pair]
    dropped: list[Pair]
    before: Lengths
    after: Lengths

    def facts(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            "dropped": len(self.dropped),
            "dropped_ids": [pair.id for pair in self.dropped],
            "before": asdict(self.before),
            "after": asdict(self.after),
        }


def load_answered(
    source: str, *, split: str, config: DataConfig
) -> tuple[list[Answered], list[BadRow]]:
    """Questions with their answers: rows with a list `answers`, or several rows with one `response` each.

    Rows with the same question are one question, with all their answers.

    Raises:
        ConfigError: a key that is not known.
        DataError: nothing there, no usable row, too many broken ones.
    """
    asked = query.parse(source)
    query.refuse_weight(asked)
    query.refuse_unknown(asked.keys, KEYS, where=f"data source {asked.where}")
    limit = limit_of(asked)
    own = config.model_copy(update={"heldout": source}) if split == "heldout" else config
    inputs, _ = inputs_of(asked, split, own, source)
    found: dict[str, Answered] = {}
    bad: list[BadRow] = []
    rows = 0
    for each in inputs:
        for row in each.rows:
            rows += 1
            if isinstance(row, BadRow):
                bad.append(row)
                continue
            made = _answered(row.value, asked.keys, f"{each.stem}-{row.line}")
            if isinstance(made, str):
                bad.append(BadRow(row.file, row.line, made))
            elif known := found.get(made.question):
                found[made.question] = Answered(
                    id=known.id,
                    question=known.question,
                    answers=known.answers + made.answers,
                    domain=known.domain,
                )
            elif limit is None or len(found) < limit:
                found[made.question] = made
    if not found or len(bad) > config.max_bad_share * rows:
        first = "\n".join(f"  {row}" for row in bad[:SHOWN])
        raise DataError(
            f"{source}: {len(bad)} of {rows} rows are broken, above max_bad_share="
            f"{config.max_bad_share:g}; a row needs a question and answers\n{first}"
        )
    return list(found.values()), bad


def judge_pairs(
    judge: Judge,
    questions: Sequence[Answered],
    *,
    rounds: int = 2,
    per_question: int = 1,
    margin: float = 1.0,
    seed: int = 0,
) -> JudgedPairs:
    """Compare answers to each question; keep what the judge is sure of.

    Args:
        rounds: times that a pair is asked about in both orders; 2 are the paper's four askings.
        per_question: pairs of different answers to one question, at most.
        margin: |score| must be above it, 0 to 2 (paper: 1).

    Raises:
        ValueError: rounds or per_question below 1, a margin that no score can pass.
        RunError: the judge's cache cannot be written.
    """
    if per_question < 1 or not 0 <= margin < 2:
        raise ValueError(
            f"per_question={per_question}, margin={margin}: needs 1 or more, and 0 <= margin < 2"
        )
    chosen = [(one, _candidates(one, per_question, seed)) for one in questions]
    asked = [(one, a, b) for one, pairs in chosen for a, b in pairs]
    told = pairwise_all(judge, [(one.question, a, b) for one, a, b in asked], rounds=rounds)
    kept: list[JudgedPair] = []
    left_out: Counter[str] = Counter()
    failures: list[str] = []
    places: Counter[str] = Counter()
    for (one, a, b), comparison in zip(asked, told, strict=True):
        place = places[one.id]
        places[one.id] += 1
        why = _why_not(comparison, margin)
        if why:
            left_out[why] += 1
            if comparison.status != "judged" and len(failures) < SHOWN:
                failures.append(f"{one.id}: {comparison.reason[:200]}")
            continue
        assert comparison.score is not None
        first = comparison.score > 0
        pair = Pair(
            id=one.id if per_question == 1 else f"{one.id}/{place}",
            question=one.question,
            chosen=a if first else b,
            rejected=b if first else a,
            domain=one.domain,
            root=one.question,
        )
        kept.append(JudgedPair(pair=pair, score=abs(comparison.score)))
    return JudgedPairs(
        kept=kept,
        candidates=len(asked),
        left_out=dict(left_out),
        questions=len(questions),
        single=sum(not pairs for _, pairs in chosen),
        first_failures=failures,
    )


def balance(
    pairs: Sequence[Pair],
    *,
    bound: float = 1.1,
    part: Literal["summary", "whole"] = "summary",
    think_tag: str = "think",
) -> Balanced:
    """Drop pairs until chosen and rejected are of comparable length: 1/bound <= ratio <= bound.

    On the side that is too long (chosen, as a rule) the pairs with the largest ratio go first, which
    drops as few as can be. The paper keeps lengths comparable and does not say how.

    Args:
        part: the text that counts: after the thinking, or all of it.

    Raises:
        ValueError: bound < 1.
    """
    if bound < 1:
        raise ValueError(f"bound={bound}: 1 is exact balance; write 1 or more")

    def length(text: str) -> int:
        read = text if part == "whole" else split_thinking(text, think_tag, "").rest
        return max(1, len(read.strip()))

    sizes = [(length(pair.chosen), length(pair.rejected)) for pair in pairs]
    logs = [math.log(chosen / rejected) for chosen, rejected in sizes]
    side = 1 if math.fsum(logs) > 0 else -1
    order = sorted(range(len(pairs)), key=lambda i: (-side * logs[i], i))
    gone: set[int] = set()
    while order[len(gone) :]:
        left = order[len(gone) :]
        if side * math.fsum(logs[i] for i in left) <= len(left) * math.log(bound) + 1e-12:
            break
        gone.add(order[len(gone)])
    kept = [i for i in range(len(pairs)) if i not in gone]
    return Balanced(
        kept=[pairs[i] for i in kept],
        dropped=[pairs[i] for i in sorted(gone)],
        before=_lengths(sizes),
        after=_lengths([sizes[i] for i in kept]),
    )


def to_rows(pairs: Sequence[Pair]) -> list[dict[str, str]]:
    """Rows that `preferences.load_pairs` reads back, for files.write_jsonl."""
    return [
        {
            "id": pair.id,
            "domain": pair.domain,
            "prompt": pair.question,
            "chosen": pair.chosen,
            "rejected": pair.rejected,
        }
        for pair in pairs
    ]


def _candidates(one: Answered, most: int, seed: int) -> list[tuple[str, str]]:
    """Pairs of different answers, in an order that the seed and the question's id decide."""
    different = list(dict.fromkeys(answer.strip() for answer in one.answers))
    pairs = list(combinations(different, 2))
    random = Random(f"aha judged pairs {seed} {one.id}")
    drawn = random.sample(pairs, min(most, len(pairs)))
    return [pair if random.random() < 0.5 else pair[::-1] for pair in drawn]


def _why_not(comparison: Comparison, margin: float) -> str:
    """Why a pair is left out; "" if it is kept."""
    if comparison.reason.startswith("screened"):
        return "screened"
    if comparison.score is None:
        return comparison.status
    if not comparison.consistent:
        return "inconsistent"
    if comparison.score == 0:
        return "tie"
    return "" if abs(comparison.score) > margin else "within_margin"


def _lengths(sizes: Sequence[tuple[int, int]]) -> Lengths:
    count = len(sizes)
    if not count:
        return Lengths(pairs=0, chosen_mean=0.0, rejected_mean=0.0, ratio=1.0, longer_share=0.5)
    wins = sum((a > b) + 0.5 * (a == b) for a, b in sizes)
    return Lengths(
        pairs=count,
        chosen_mean=math.fsum(a for a, _ in sizes) / count,
        rejected_mean=math.fsum(b for _, b in sizes) / count,
        ratio=math.exp(math.fsum(math.log(a / b) for a, b in sizes) / count),
        longer_share=wins / count,
    )


def _answered(value: Mapping[str, Any], named: Mapping[str, str], spare_id: str) -> Answered | str:
    """One row, or what is wrong with it."""

    def first(role: str, known: Sequence[str]) -> Any:
        names = (named[role],) if role in named else known
        return next((value[name] for name in names if value.get(name) is not None), None)

    question = first("question", QUESTION)
    if not isinstance(question, str) or not _is_text(question):
        return (
            f"no question in plain text (looked for {named.get('question', ', '.join(QUESTION))})"
        )
    answers = first("answers", ANSWERS)
    if answers is None and "answers" not in named:
        answers = [one for one in [first("response", RESPONSE)] if one is not None]
    if not isinstance(answers, list) or not answers or not all(map(_is_text, answers)):
        wanted = named.get("answers", ", ".join(ANSWERS))
        return f"no answers: a list of texts in {wanted}, or one text in a response column"
    return Answered(
        id=str(value.get(named.get("id", "id")) or spare_id),
        question=question.strip(),
        answers=tuple(answers),
        domain=str(value.get(named.get("domain", "domain")) or ""),
    )


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or not value.strip():
        return False
    return not any("\ud800" <= sign <= "\udfff" for sign in value)
