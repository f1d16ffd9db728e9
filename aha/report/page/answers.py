"""The text of chosen answers as the page has it: thinking apart, harmless, without the middle of a long one.

Second pass over the rollout files of a stage (rollouts.py: the first), and held-out answers: the same
problems of the first, the best and the last evaluation. Answers that belong to no step: asked.py.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aha.data.thinking import split
from aha.report.lines import clean
from aha.report.page.read import Reader, number, string, table, whole
from aha.report.page.rollouts import (
    LONGEST,
    SHORT,
    Chosen,
    Index,
    Place,
    groups_of,
    name_of,
    prompt_id,
    steps_in,
)

EVAL_PROBLEMS = 32
"""Problems of one evaluation whose answers are shown."""


def texts(
    reader: Reader, found: Index, chosen: Chosen, tags: tuple[str, str]
) -> dict[Place, dict[str, Any]]:
    """The chosen groups as the page has them."""
    by_step: dict[int, set[int]] = defaultdict(set)
    for place in chosen.why:
        by_step[place.step].add(place.number)
    out: dict[Place, dict[str, Any]] = {}
    for step, numbers in by_step.items():
        path = found.files[step]
        advantages = _advantages(reader, path.with_suffix(".parquet"))
        row_number = 0
        for at, group in enumerate(groups_of(reader.sized_rows(path))):
            if at in numbers:
                rows = [row for row, _ in group]
                paid = [
                    advantages.get((row_number + i, prompt_id(row), whole(row.get("sample"))))
                    for i, row in enumerate(rows)
                ]
                place = Place(step, at)
                out[place] = shown_group(rows, tags, chosen.why[place], step=step, advantages=paid)
            row_number += len(group)
    return out


def _advantages(reader: Reader, path: Path) -> dict[tuple[int, str, int | None], float]:
    """(row, prompt id, sample) -> advantage; {} where the file is missing or cannot be read."""
    if not path.is_file():
        return {}
    try:
        import pyarrow.parquet as pq

        columns = pq.read_table(path, columns=["prompt_id", "sample", "advantage"]).to_pydict()
    except Exception as error:  # pyarrow has many, and a report is wanted all the same
        reader.unreadable(path, error)
        return {}
    rows = zip(columns["prompt_id"], columns["sample"], columns["advantage"], strict=True)
    return {
        (i, string(prompt), whole(sample)): value
        for i, (prompt, sample, advantage) in enumerate(rows)
        if (value := number(advantage)) is not None
    }


def shown_group(
    rows: Sequence[Mapping[str, Any]],
    tags: tuple[str, str],
    why: Sequence[str],
    *,
    step: int | None = None,
    advantages: Sequence[float | None] = (),
    more: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """All answers to one question, as the page has them.

    Args:
        tags: of the thinking and of the answer.
        step: None for answers that belong to no step.
        advantages, more: one for each row, or none; `more`: what else is known of an answer, harmless.
    """
    first = rows[0]
    paid = advantages or [None] * len(rows)
    besides = more or [{}] * len(rows)
    return ({} if step is None else {"step": step}) | {
        "id": short(name_of(first)),
        "question": _cut(string(first.get("question"))),
        "gold": short(first.get("gold")),
        "kind": short(first.get("kind")),
        "area": short(first.get("area")),
        "domain": short(first.get("domain")),
        "lang": short(first.get("lang")),
        "source": short(first.get("source")),
        "why": list(why),
        "answers": [
            {**_answer(row, tags, advantage), **known}
            for row, advantage, known in zip(rows, paid, besides, strict=True)
        ],
    }


def _answer(
    row: Mapping[str, Any], tags: tuple[str, str], advantage: float | None
) -> dict[str, Any]:
    text = string(row.get("text", row.get("response")))
    think, rest = _parts(string(row.get("prefill")) + text, tags)
    shown: dict[str, Any] = {
        "sample": whole(row.get("sample")),
        "think": _cut(think),
        "text": _cut(rest),
        "status": short(row.get("status")),
        "extracted": None if row.get("extracted") is None else short(row.get("extracted")),
        "reason": short(row.get("reason")),
        "tokens": whole(row.get("tokens")),
        "stopped": short(row.get("stopped")),
    }
    hidden = len(text) - len(clean(text))
    if hidden:
        shown["hidden"] = hidden
    if "reward" in row:
        parts = {
            short(name): value
            for name, raw in table(row.get("parts")).items()
            if (value := number(raw)) is not None
        }
        reward = number(row.get("reward")) if row.get("valid", True) else None
        shown |= {"reward": reward, "parts": parts, "advantage": advantage}
    return {key: value for key, value in shown.items() if value not in ("", None)}


def _parts(text: str, tags: tuple[str, str]) -> tuple[str, str]:
    """(the thinking with its tags, what follows)."""
    parsed = split(text, *tags)
    if not parsed.complete:
        return text, ""
    return text[: len(text) - len(parsed.rest)], parsed.rest


def _cut(text: str) -> str:
    """Harmless text without its middle where it is long."""
    if len(text) > LONGEST:
        out = len(text) - LONGEST
        head = 2 * LONGEST // 3
        text = f"{text[:head]}\n[… {out:,} characters left out …]\n{text[head + out :]}"
    return clean(text)


def short(value: Any) -> str:
    """Harmless text on one line, cut where it is long."""
    text = clean(string(value)[: SHORT + 1], lines=False)
    return text if len(text) <= SHORT else text[:SHORT] + "…"


def evaluations(reader: Reader, folder: Path) -> list[dict[str, Any]]:
    """Results of the finished evaluations below a stage's `eval/`, oldest first: step, numbers, by."""
    found = []
    for step, path in steps_in(folder):
        result = reader.table(path / "result.json")
        if result:
            numbers, by = table(result.get("numbers")), table(result.get("by"))
            receipt = table(result.get("receipt"))
            found.append(
                {
                    "step": step,
                    "folder": path.name,
                    "numbers": numbers,
                    "by": by,
                    "receipt": receipt,
                }
            )
    return found


def shown_results(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first, the last and the best evaluation."""
    if not results:
        return []
    best = max(results, key=lambda r: number(r["numbers"].get("pass_at_1")) or 0.0)
    return list({r["step"]: r for r in (results[0], results[-1], best)}.values())


def evaluation_texts(
    reader: Reader,
    folder: Path,
    results: Sequence[Mapping[str, Any]],
    tags: tuple[str, str],
) -> Iterator[dict[str, Any]]:
    """Held-out groups of the evaluations that are shown, the same problems of each."""
    for result in shown_results(results):
        rows = reader.sized_rows(folder / result["folder"] / "samples.jsonl")
        for count, group in enumerate(groups_of(rows)):
            if count == EVAL_PROBLEMS:
                break
            answers = [row for row, _ in group]
            yield shown_group(answers, tags, ["held out"], step=result["step"])
