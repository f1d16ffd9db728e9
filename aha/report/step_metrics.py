"""What one optimizer step's groups say: the numbers, the readable rows, one answer to show."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import fmean, pstdev
from typing import Any

from aha.data.areas import area
from aha.data.thinking import split
from aha.records import Group, Sample, Scored
from aha.report.text import measure, summarise

STATUSES = ("correct", "wrong", "unparsed", "timeout", "error")
"""Of answers to problems that have a right answer."""


def of_groups(
    groups: Sequence[Group], samples: Sequence[Sample], *, think_tag: str, answer_tag: str
) -> dict[str, float | None]:
    """All metrics that follow from the scored answers of a step. None: not known."""
    scored = [s for group in groups for s in group.scored]
    judged = [s for s in scored if s.valid]
    rewards = [s.reward for s in judged]
    values: dict[str, float | None] = {
        "reward/mean": fmean(rewards) if rewards else None,
        "reward/std": pstdev(rewards) if rewards else None,
    }
    for name in dict.fromkeys(name for s in judged for name in s.parts):
        values[f"reward/{name}/mean"] = fmean(s.parts[name] for s in judged if name in s.parts)
    closed = [s for s in scored if s.grade.status != "open"]
    for status in STATUSES:
        values[f"grade/{status}/share"] = _mean([s.grade.status == status for s in closed])
    if len(closed) < len(scored):
        values["grade/open/share"] = 1 - len(closed) / len(scored)
    values |= _groups(groups)
    values["advantage/abs/mean"] = _mean(
        [abs(s.advantage[0]) for s in samples if s.scored.valid and s.advantage]
    )
    return values | _lengths(scored, groups, think_tag, answer_tag)


def by_area(groups: Sequence[Group]) -> dict[str, float | None]:
    """Reward, right answers and length of each area of problems in a step (data/areas.py)."""
    areas: dict[str, list[Scored]] = {}
    for group in groups:
        areas.setdefault(area(group.rendered.prompt), []).extend(group.scored)
    values: dict[str, float | None] = {}
    for name, scored in sorted(areas.items()):
        judged = [s for s in scored if s.valid]
        graded = [s for s in scored if s.grade.graded]
        values[f"area/{name}/reward"] = _mean([s.reward for s in judged])
        values[f"area/{name}/correct"] = _mean([float(s.grade.status == "correct") for s in graded])
        values[f"area/{name}/tokens"] = _mean([len(s.rollout.token_ids) for s in scored])
    return values


def accuracy(groups: Sequence[Group]) -> float | None:
    """Mean score, 0..1, of the answers that have a verdict, paid or not; None if none has one."""
    return _mean([s.grade.score for group in groups for s in group.scored if s.grade.graded])


def opinions(groups: Sequence[Group], names: Iterable[str]) -> dict[str, float | None]:
    """What models think of answers beside what is true of them, over the answers that have both.

    For each name of a reward model or judge: its mean score; the mean score of the grader; how often
    the two agree which of two answers to one question is better (where the grader finds them
    different; a tie of the model is half). Nothing for a name that no graded answer was scored by.
    """
    values: dict[str, float | None] = {}
    for name in sorted(names):
        both = [
            [(s.parts[name], s.grade.score) for s in g.scored if s.grade.graded and name in s.parts]
            for g in groups
        ]
        pairs = [pair for group in both for pair in group]
        if not pairs:
            continue
        values[f"opinion/{name}/score"] = fmean(score for score, _ in pairs)
        values[f"opinion/{name}/truth"] = fmean(truth for _, truth in pairs)
        values[f"opinion/{name}/agree"] = _mean([x for group in both for x in _agreements(group)])
    return values


def _agreements(answers: Sequence[tuple[float, float]]) -> list[float]:
    """1, 0.5 or 0 for each two answers of a group whose truths differ."""
    found = []
    for (score, truth), (other, its_truth) in combinations(answers, 2):
        if truth != its_truth:
            found.append(0.5 if score == other else float((score > other) == (truth > its_truth)))
    return found


def _groups(groups: Sequence[Group]) -> dict[str, float | None]:
    closed = [g for g in groups if any(s.grade.status != "open" for s in g.scored)]
    right = [[s.grade.status == "correct" for s in g.scored if s.valid] for g in closed]
    flat = [len({s.reward for s in g.scored if s.valid}) < 2 for g in groups]
    return {
        "group/all_right/share": _mean([bool(r) and all(r) for r in right]),
        "group/all_wrong/share": _mean([bool(r) and not any(r) for r in right]),
        "group/informative/share": _mean([any(r) and not all(r) for r in right]),
        "group/flat/share": fmean(flat),
        "group/partly_paid/share": _mean([_partly_paid(g) for g in groups]),
    }


def _partly_paid(group: Group) -> bool:
    """Whether a reward is there for some answers of a group and not for others."""
    paid = [frozenset(s.parts) for s in group.scored if s.valid]
    return len(set(paid)) > 1


def _lengths(
    scored: Sequence[Scored], groups: Sequence[Group], think_tag: str, answer_tag: str
) -> dict[str, float | None]:
    lengths = sorted(len(s.rollout.token_ids) for s in scored)
    tokens = sum(lengths)
    stats = []
    think_tokens, answer_tokens = [], []
    for group in groups:
        for s in group.scored:
            text = group.rendered.prefill + s.rollout.text
            stats.append(measure(text, think_tag=think_tag, answer_tag=answer_tag))
            parsed = split(text, think_tag, answer_tag)
            # tokens are not re-counted: they are shared out by the length of the text
            share = len(parsed.rest) / len(text) if text else 0.0
            think_tokens.append(len(s.rollout.token_ids) * (1 - share))
            answer_tokens.append(len(s.rollout.token_ids) * share)
    ended = [len(s.rollout.token_ids) for s in scored if s.rollout.stopped != "length"]
    values: dict[str, float | None] = {
        "rollout/tokens/mean": _mean(lengths),
        "rollout/tokens/p95": float(lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))]),
        "rollout/tokens/sum": float(tokens),
        "rollout/think_tokens/mean": _mean(think_tokens),
        "rollout/answer_tokens/mean": _mean(answer_tokens),
        "rollout/terminated_tokens/mean": _mean(ended),
        "rollout/cut/share": fmean(s.rollout.stopped == "length" for s in scored),
        "rollout/eos/share": fmean(s.rollout.stopped == "eos" for s in scored),
        "rollout/stop/share": fmean(s.rollout.stopped == "stop" for s in scored),
    }
    return values | summarise(stats, tokens=tokens)


def rollout_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """One readable row per answer; nothing volatile in it."""
    rows = []
    for group in groups:
        prompt = group.rendered.prompt
        for s in group.scored:
            rows.append(
                {
                    "prompt_id": prompt.id,
                    "sample": s.rollout.sample,
                    "attempt": s.rollout.attempt,
                    "question": prompt.question,
                    "gold": prompt.gold,
                    "kind": prompt.kind,
                    "source": prompt.source,
                    "lang": prompt.lang,
                    "domain": prompt.domain,
                    "area": area(prompt),
                    "prefill": group.rendered.prefill,
                    "text": s.rollout.text,
                    "tokens": len(s.rollout.token_ids),
                    "stopped": s.rollout.stopped,
                    "policy_version": s.rollout.policy_version,
                    "status": s.grade.status,
                    "extracted": s.grade.extracted,
                    "reason": s.grade.reason,
                    "parts": dict(s.parts),
                    "reward": s.reward,
                    "valid": s.valid,
                }
            )
    return rows


def replayable_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """The readable rows with everything a step needs to be computed again."""
    rows = rollout_rows(groups)
    scored = [(g, s) for g in groups for s in g.scored]
    for row, (group, s) in zip(rows, scored, strict=True):
        row["prompt_token_ids"] = list(group.rendered.token_ids)
        row["token_ids"] = list(s.rollout.token_ids)
        row["logprobs"] = list(s.rollout.logprobs)
    return rows


def shown(groups: Sequence[Group], step: int, tags: tuple[str, str]) -> dict[str, Any] | None:
    """One answer of the step for the console, another one each step."""
    scored = [(g, s) for g in groups for s in g.scored]
    if not scored:
        return None
    group, s = scored[(step * 7919) % len(scored)]
    text = group.rendered.prefill + s.rollout.text
    parsed = split(text, *tags)
    return {
        "question": group.rendered.prompt.question,
        "think": parsed.think,
        "answer": parsed.rest,
        "verdict": _verdict(s, group.rendered.prompt.gold),
        "reward": f"{s.reward:.2f}",
    }


def _verdict(scored: Scored, gold: str) -> str:
    return (
        "open: no right answer"
        if scored.grade.status == "open"
        else (f"{scored.grade.status} (gold {gold})")
    )


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
