"""What one optimizer step's groups say: the numbers, the readable rows, one answer to show."""

from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import Any

from aha.data.areas import area
from aha.data.thinking import split
from aha.records import Group, Sample, Scored
from aha.report.text import measure, summarise

STATUSES = ("correct", "wrong", "unparsed", "timeout", "error")


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
    for status in STATUSES:
        values[f"grade/{status}/share"] = fmean(s.grade.status == status for s in scored)
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
        graded = [s for s in scored if not s.grade.failed]
        values[f"area/{name}/reward"] = _mean([s.reward for s in judged])
        values[f"area/{name}/correct"] = _mean([float(s.grade.status == "correct") for s in graded])
        values[f"area/{name}/tokens"] = _mean([len(s.rollout.token_ids) for s in scored])
    return values


def _groups(groups: Sequence[Group]) -> dict[str, float | None]:
    right = [[s.grade.status == "correct" for s in g.scored if s.valid] for g in groups]
    flat = [len({s.reward for s in g.scored if s.valid}) < 2 for g in groups]
    return {
        "group/all_right/share": fmean(bool(r) and all(r) for r in right),
        "group/all_wrong/share": fmean(bool(r) and not any(r) for r in right),
        "group/informative/share": fmean(any(r) and not all(r) for r in right),
        "group/flat/share": fmean(flat),
    }


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
        "verdict": f"{s.grade.status} (gold {group.rendered.prompt.gold})",
        "reward": f"{s.reward:.2f}",
    }


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
