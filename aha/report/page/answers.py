"""The text of chosen answers as the page has it: thinking apart, harmless, without the middle of a long one.

Second pass over the rollout files of a stage (rollouts.py: the first), and held-out answers: the same
problems of the first, the best and the last evaluation.
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
                out[place] = _group(rows, step, tags, paid, chosen.why[place])
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


def _group(
    rows: Sequence[Mapping[str, Any]],
    step: int,
    tags: tuple[str, str],
    advantages: Sequence[float | None],
    why: Sequence[str],
) -> dict[str, Any]:
    first = rows[0]
    return {
        "step": step,
        "id": _short(prompt_id(first) or string(first.get("problem"))),
        "question": _cut(string(first.get("question"))),
        "gold": _short(first.get("gold")),
        "kind": _short(first.get("kind")),
        "area": _short(first.get("area")),
        "domain": _short(first.get("domain")),
        "lang": _short(first.get("lang")),
        "source": _short(first.get("source")),
        "why": list(why),
        "answers": [
            _answer(row, tags, advantage) for row, advantage in zip(rows, advantages, strict=True)
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
        "status": _short(row.get("status")),
        "extracted": None if row.get("extracted") is None else _short(row.get("extracted")),
        "reason": _short(row.get("reason")),
        "tokens": whole(row.get("tokens")),
        "stopped": _short(row.get("stopped")),
    }
    hidden = len(text) - len(clean(text))
    if hidden:
        shown["hidden"] = hidden
    if "reward" in row:
        parts = {
            _short(name): value
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


def _short(value: Any) -> str:
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


def evaluation_texts(
    reader: Reader,
    folder: Path,
    results: Sequence[Mapping[str, Any]],
    tags: tuple[str, str],
) -> Iterator[dict[str, Any]]:
    """Held-out groups of the first, the last and the best evaluation, the same problems of each."""
    if not results:
        return
    best = max(results, key=lambda r: number(r["numbers"].get("pass_at_1")) or 0.0)
    for result in {r["step"]: r for r in (results[0], results[-1], best)}.values():
        rows = reader.sized_rows(folder / result["folder"] / "samples.jsonl")
        for count, group in enumerate(groups_of(rows)):
            if count == EVAL_PROBLEMS:
                break
            answers = [row for row, _ in group]
            yield _group(answers, result["step"], tags, [None] * len(answers), ["held out"])
