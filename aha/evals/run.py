"""Held-out evaluation: k sampled answers to each problem, pass@1 with its interval, majority vote.

    eval/step_000100/samples.jsonl   one JSON line a sample
    eval/step_000100/result.json     numbers and receipt, written last

The receipt (template hash, sampler, k, cap, grader version, answer mode) is part of the result: two
results with different receipts are not comparable. An interrupted evaluation goes on after the last
finished block of problems; a finished one can be graded again without the model.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aha import files
from aha.config import EvalConfig
from aha.data.areas import area
from aha.errors import RunError
from aha.evals import passk
from aha.records import Grade, Group, Rendered, Rollout, Scored
from aha.rewards.grade import GRADER_VERSION
from aha.rollout.collect import Graders, collect
from aha.rollout.engine import Engine, SamplingParams

BLOCK = 32
"""Problems sampled together, and the unit of resuming. Fixed: it is part of the schedule."""
TAGS = ("think", "answer")
"""Of thinking and answer, where the receipt has no others."""


@dataclass(frozen=True, slots=True)
class Result:
    numbers: dict[str, Any]
    receipt: dict[str, Any]
    by: dict[str, dict[str, dict[str, float]]]
    """Tables of pass@1 by lang and by domain."""


def receipt(
    config: EvalConfig, *, template_hash: str, cap: int, mode: str, seed: int
) -> dict[str, Any]:
    """What two results must share to be comparable."""
    return {
        "template": template_hash,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "top_k": config.top_k,
        "k": config.samples,
        "problems": config.problems,
        "max_answer_tokens": cap,
        "answers": mode,
        "seed": seed,
        "grader": GRADER_VERSION,
    }


def evaluate(
    engine: Engine,
    graders: Graders,
    questions: Sequence[Rendered],
    config: EvalConfig,
    *,
    folder: Path,
    receipt: Mapping[str, Any],
    stop: tuple[str, ...] = (),
    weights: str = "",
    tags: tuple[str, str] = TAGS,
    progress: Callable[[int, int], None] | None = None,
    stream: str = "eval",
    summary: Callable[[Sequence[Mapping[str, Any]], Mapping[str, Any]], Result] | None = None,
) -> Result:
    """Evaluate the engine's present weights, or read the result if it is already there.

    Args:
        weights: names the weights (model path, or run and step); another name or receipt in a half
            finished folder starts it anew.
        stream: names the stream of random numbers; evaluations share one, so that they are paired.
        summary: numbers of the rows, for those who want others than pass@1; None: `summarise`.
    """
    said = dict(receipt) | {"weights": weights}
    if tags != TAGS:
        said["tags"] = list(tags)
    done, partial = folder / "result.json", folder / "samples.partial.jsonl"
    if done.exists():
        stored = json.loads(done.read_text("utf-8"))
        if stored["receipt"] == said:
            partial.unlink(missing_ok=True)  # a kill may have come between the two
            return Result(stored["numbers"], stored["receipt"], stored["by"])
    questions = questions[: config.problems]
    rows = _resumed(partial, said)
    params = SamplingParams(
        max_tokens=receipt["max_answer_tokens"],
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        stop=stop,
        stream=(receipt["seed"], stream),
    )
    answered = {row["problem"] for row in rows}
    sampled = 0  # tokens, in this call
    for start in range(0, len(questions), BLOCK):
        block = questions[start : start + BLOCK]
        if all(q.prompt.id in answered for q in block):
            continue
        before, spent = len(rows), sampled

        def tell(done: int, tokens: int, before: int = before, spent: int = spent) -> None:
            if progress:
                progress(before + done, spent + tokens)

        groups = collect(
            engine,
            graders,
            _unscored,
            block,
            config.samples,
            params,
            phase=f"eval/{weights}/{start}",
            mode=receipt["answers"],
            tags=tags,
            progress=tell,
        )
        new = [row for group in groups for row in _rows(group)]
        _append(partial, said, new)
        rows += new
        sampled += sum(row["tokens"] for row in new)
    result = (summary or summarise)(rows, said)
    files.write_jsonl(folder / "samples.jsonl", rows)
    files.write_json(done, asdict(result))
    partial.unlink(missing_ok=True)
    return result


def summarise(rows: Sequence[Mapping[str, Any]], receipt: Mapping[str, Any]) -> Result:
    """Numbers of an evaluation from its rows. Answers our graders failed on are left out and counted."""
    judged = [row for row in rows if row["status"] not in ("timeout", "error", "open")]
    problems = list(by_problem(judged).values())
    if not problems:
        raise RunError(
            "the evaluation has no judged answer: every grading failed, or no problem has a right answer "
            "(kind open); see samples.partial.jsonl"
        )
    p1 = passk.pass_at_1(problems)
    most = min(len(p) for p in problems)
    numbers: dict[str, Any] = {
        "pass_at_1": p1.value,
        "pass_at_1_low": p1.low,
        "pass_at_1_high": p1.high,
        "problems": len(problems),
        "samples": len(rows),
        "k": most,
        "cons_at_k": passk.cons_at_k(problems).value,
        "cut_share": _share(rows, lambda r: r["stopped"] == "length"),
        "unparsed_share": _share(rows, lambda r: r["status"] == "unparsed"),
        "grader_failed_share": _share(rows, lambda r: r["status"] in ("timeout", "error")),
        "tokens_mean": sum(r["tokens"] for r in rows) / len(rows),
    }
    k = 2
    while k <= most:
        numbers[f"pass_at_{k}"] = passk.pass_at_k(problems, k).value
        k *= 2
    by = {key: _by(judged, key) for key in ("lang", "area", "domain")}
    return Result(numbers, dict(receipt), {key: table for key, table in by.items() if table})


def regrade(folder: Path, graders: Graders, *, mode: str | None = None) -> Result:
    """Grade the stored answers of a finished evaluation again, without the model."""
    rows = files.read_jsonl(folder / "samples.jsonl")
    stored = json.loads((folder / "result.json").read_text("utf-8"))
    answers = mode or stored["receipt"]["answers"]
    think_tag, answer_tag = stored["receipt"].get("tags", TAGS)
    for number, row in enumerate(rows):
        graders.submit(
            f"regrade/{number}",
            row["kind"],
            row["gold"],
            row["response"],
            prefill=row["prefill"],
            mode=answers,
            think_tag=think_tag,
            answer_tag=answer_tag,
        )
    while graders.pending():
        for key, grade in graders.poll(0.1):
            row = rows[int(key.rpartition("/")[2])]
            row |= {"status": grade.status, "extracted": grade.extracted, "reason": grade.reason}
            row["score"] = grade.score
            row["correct"] = grade.status == "correct"
    said = stored["receipt"] | {"grader": GRADER_VERSION, "answers": answers}
    result = summarise(rows, said)
    files.write_jsonl(folder / "samples.jsonl", rows)
    files.write_json(folder / "result.json", asdict(result))
    return result


def as_metrics(result: Result) -> dict[str, float]:
    """The held-out metrics of a training run."""
    n = result.numbers
    areas = {
        f"area/{name}/heldout": table["pass_at_1"]
        for name, table in result.by.get("area", {}).items()
    }
    return areas | {
        "heldout/pass_at_1": n["pass_at_1"],
        "heldout/pass_at_1_low": n["pass_at_1_low"],
        "heldout/pass_at_1_high": n["pass_at_1_high"],
        "heldout/cons_at_k": n["cons_at_k"],
        "heldout/cut/share": n["cut_share"],
        "heldout/unparsed/share": n["unparsed_share"],
    }


def _unscored(question: Rendered, rollouts: Sequence[Rollout], grades: Sequence[Grade]) -> Group:
    scored = tuple(
        Scored(rollout=rollout, grade=grade, parts={}, reward=grade.score, valid=not grade.failed)
        for rollout, grade in zip(rollouts, grades, strict=True)
    )
    return Group(rendered=question, scored=scored)


def _rows(group: Group) -> list[dict[str, Any]]:
    prompt = group.rendered.prompt
    return [
        {
            "problem": prompt.id,
            "sample": s.rollout.sample,
            "question": prompt.question,
            "gold": prompt.gold,
            "kind": prompt.kind,
            "lang": prompt.lang,
            "domain": prompt.domain,
            "area": area(prompt),
            "prefill": group.rendered.prefill,
            "response": s.rollout.text,
            "tokens": len(s.rollout.token_ids),
            "stopped": s.rollout.stopped,
            "status": s.grade.status,
            "score": s.grade.score,
            "extracted": s.grade.extracted,
            "reason": s.grade.reason,
            "correct": s.grade.status == "correct",
        }
        for s in group.scored
    ]


def _resumed(partial: Path, receipt: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of finished blocks; a block that was being written is dropped."""
    if not partial.exists():
        return []
    lines = files.read_jsonl(partial)
    if not lines or lines[0] != receipt:
        partial.unlink()
        return []
    rows: list[dict[str, Any]] = []
    pending: list[dict[str, Any]] = []
    for line in lines[1:]:
        if "block_end" in line:
            rows += pending
            pending = []
        else:
            pending.append(line)
    torn = len(partial.read_bytes().splitlines()) > len(lines)
    if pending or torn:  # what is appended must stand alone
        files.write_jsonl(partial, [dict(receipt), *rows, *([{"block_end": True}] if rows else [])])
    return rows


def _append(partial: Path, receipt: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    partial.parent.mkdir(parents=True, exist_ok=True)
    kept = _resumed(partial, receipt)
    if not kept:
        lines = [dict(receipt), *rows, {"block_end": True}]
        files.write_jsonl(partial, lines)
        return
    with partial.open("a", encoding="utf-8") as file:
        for row in (*rows, {"block_end": True}):
            file.write(files.json_line(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def by_problem(rows: Sequence[Mapping[str, Any]]) -> dict[str, passk.Problem]:
    """Stored samples -> (correct, extracted answer) of each problem, in the order of samples."""
    found: dict[str, list[tuple[int, bool, str | None]]] = {}
    for row in rows:
        sample = (row["sample"], row["correct"], row["extracted"])
        found.setdefault(row["problem"], []).append(sample)
    return {
        problem: [(right, said) for _, right, said in sorted(samples, key=lambda x: x[0])]
        for problem, samples in found.items()
    }


def _by(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, dict[str, float]]:
    """pass@1 by the values of `key`; {} if there are not at least two."""
    values = sorted({row.get(key, "") for row in rows})
    if len(values) < 2:
        return {}
    table = {}
    for value in values:
        estimate = passk.pass_at_1(
            list(by_problem([row for row in rows if row.get(key, "") == value]).values())
        )
        table[value or "other"] = {
            "pass_at_1": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "problems": estimate.problems,
        }
    return table


def _share(rows: Sequence[Mapping[str, Any]], test: Callable[[Mapping[str, Any]], bool]) -> float:
    return sum(1 for row in rows if test(row)) / len(rows)
