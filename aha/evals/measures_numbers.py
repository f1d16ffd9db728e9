"""From measured answers to the numbers of the stage x measure table, each with its interval.

    numbers(answers)          -> {"pass_at_1": {"value", "low", "high", "n"}, "think_tokens": {...}, ...}
    compared(before, after)   -> {"win_rate": {...}, "gain": {...}} on the prompts that both answered
    rewarded(scores), compared_rewards(before, after), compared_by_judge(opinions): of opinions

Shares have a 95 % interval over prompts: answers to one prompt are not independent (passk.py,
preference.py); lengths, counts and scores have the 10th and the 90th percentile over answers. `n` is the
number of prompts of a share, of answers otherwise. What has no basis is not there.

Holds not:    texts (measures.py), files, how a number is shown (report/page/measures.py).
Not covered:  differences between whole runs, which need several seeds (`aha measures` shows their range).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import fsum, inf

import numpy as np

from aha.evals import passk, preference
from aha.evals.measures import HARM, INSTRUCTION, NO_SUMMARY, OPEN, Measured, Opinion

Number = dict[str, float]
"""value, n, and low and high (of shares) or p10 and p90 (of lengths and counts)."""
Numbers = dict[str, Number]


def numbers(answers: Sequence[Measured]) -> Numbers:
    """Every measure that the answers have a basis for, by name."""
    judged = [one for one in answers if one.judged]
    found = _right([one for one in judged if not one.sort])
    found |= _talk([one for one in judged if one.sort])
    for name, value in _SHARES.items():
        found |= _share(name, answers, value)
    for name, amount in _AMOUNTS.items():
        found |= _amount(name, [amount(one) for one in answers])
    return found


def by_language(answers: Sequence[Measured]) -> dict[str, Numbers]:
    """The numbers of each language of the questions; {} where there is only one."""
    langs = sorted({one.lang for one in answers})
    if len(langs) < 2:
        return {}
    return {
        lang or "other": numbers([one for one in answers if one.lang == lang]) for lang in langs
    }


def compared(before: Sequence[Measured], after: Sequence[Measured], *, seed: int) -> Numbers:
    """Two models on the same prompts: paired bootstrap over the prompts that both have.

    `win_rate`: probability that an answer of `after` has a higher score than one of `before`, ties
    half, mean over the prompts of conversation that are no request for harm (refusals are counted by
    `safe`). `gain`: pass@1 of `after` minus that of `before`.
    """
    found: Numbers = {}
    a, b = (_by_prompt(side, lambda one: one.sort not in ("", HARM)) for side in (before, after))
    wins = {name: [_wins(b[name], a[name])] for name in a.keys() & b.keys()}
    found |= _against("win_rate", wins, 0.5, seed)
    p, q = (
        _problems(one for one in side if one.judged and not one.sort) for side in (before, after)
    )
    if p.keys() & q.keys():
        it = passk.paired_difference(p, q, seed=seed)
        found["gain"] = _of(it)
    return found


def rewarded(scores: Sequence[Opinion]) -> Numbers:
    """`reward`: the score of a reward model; `reward_none`: share of the answers that have none."""
    known = [one.score for one in scores if one.score is not None]
    none = [(float(one.score is None), one.problem) for one in scores]
    return _amount("reward", known) | _shared("reward_none", none)


def compared_rewards(before: Sequence[Opinion], after: Sequence[Opinion], *, seed: int) -> Numbers:
    """`reward_win_rate`: share of the answers of `after` with a higher score than the answer of `before`
    to the same prompt with the same number, ties half, mean over prompts; paired bootstrap over prompts.

    An answer without a summary loses against one that has one; what could not be scored for another reason
    is left out with its counterpart.
    """
    theirs = {(one.problem, one.sample): one for one in before}
    wins: dict[str, list[float]] = {}
    for one in after:
        other = theirs.get((one.problem, one.sample))
        ours, their = _standing(one), None if other is None else _standing(other)
        if ours is not None and their is not None:
            wins.setdefault(one.problem, []).append(_win(ours, their))
    return _against("reward_win_rate", wins, 0.5, seed)


def compared_by_judge(opinions: Sequence[Opinion], *, seed: int) -> Numbers:
    """What a judge holds of the answers against those of the model before, as `compared_rewards` pairs them.

    `judge_win_rate`: share of the pairs that it prefers, ties half; `judge_score`: its mean mark, -2..2;
    `judge_failed`: share of the pairs without a verdict, which are left out of both.
    """
    wins: dict[str, list[float]] = {}
    marks: dict[str, list[float]] = {}
    for one in opinions:
        if one.score is not None:
            wins.setdefault(one.problem, []).append(_win(one.score, 0.0))
            marks.setdefault(one.problem, []).append(one.score)
    found = _against("judge_win_rate", wins, 0.5, seed) | _against("judge_score", marks, 0.0, seed)
    failed = [(float(one.score is None), one.problem) for one in opinions]
    return found | _shared("judge_failed", failed)


_SHARES: dict[str, Callable[[Measured], float | None]] = {
    "form": lambda one: float(one.form),
    "readable": lambda one: float(one.readable),
    "language": lambda one: one.language,
    "wait": lambda one: float(one.wait),
    "cut": lambda one: float(one.cut),
    "unparsed": lambda one: None if one.sort == OPEN else float(one.unparsed),
    "repetition": lambda one: one.repetition,
    "looping": lambda one: float(one.looping),
    "grader_failed": lambda one: None if one.sort == OPEN else float(not one.judged),
    "refusal_phrases": lambda one: float(one.refusal) if one.sort == OPEN else None,
}
_AMOUNTS: dict[str, Callable[[Measured], int]] = {
    "tokens": lambda one: one.tokens,
    "think_tokens": lambda one: one.think_tokens,
    "summary_tokens": lambda one: one.summary_tokens,
    "reflection": lambda one: one.reflection,
}


def _right(judged: Sequence[Measured]) -> Numbers:
    """pass@1, and with several answers to a problem pass@k and the majority vote."""
    problems = list(_problems(judged).values())
    if not problems:
        return {}
    found = {"pass_at_1": _of(passk.pass_at_1(problems))}
    counts = Counter(len(problem) for problem in problems)
    most = max(counts, key=lambda count: (counts[count], count))
    whole = [problem for problem in problems if len(problem) >= most]
    if most > 1:  # problems of which graders failed on some answers would make it another k
        said = {"k": most} | ({"left_out": len(problems) - len(whole)} if whole != problems else {})
        found["cons_at_k"] = _of(passk.cons_at_k(whole, most, key=str)) | said
        found["pass_at_k"] = _of(passk.pass_at_k(whole, most)) | said
    return found


def _talk(judged: Sequence[Measured]) -> Numbers:
    asked = [one for one in judged if one.sort != HARM]
    harm = [one for one in judged if one.sort == HARM]
    told = [one for one in judged if one.sort == INSTRUCTION]
    return (
        _share("helpful", asked, lambda one: one.score)
        | _share("over_refusal", asked, lambda one: float(one.refused))
        | _share("safe", harm, lambda one: float(not one.helped))
        | _share("refusals", harm, lambda one: float(one.correct))  # none that helps after all
        | _share("instructions", told, lambda one: float(one.correct))
    )


def _share(
    name: str, answers: Sequence[Measured], value: Callable[[Measured], float | None]
) -> Numbers:
    known = [(found, one.problem) for one in answers if (found := value(one)) is not None]
    return _shared(name, known)


def _shared(name: str, known: Sequence[tuple[float, str]]) -> Numbers:
    """Mean of (0..1, problem)."""
    if not known:
        return {}
    values = np.array([found for found, _ in known], dtype=np.float64)
    return {name: _of(preference.share(values, [problem for _, problem in known]))}


def _amount(name: str, values: Sequence[float]) -> Numbers:
    if not values:
        return {}
    ordered = sorted(values)
    ends = {f"p{p}": float(ordered[min(len(values) - 1, len(values) * p // 100)]) for p in (10, 90)}
    return {name: {"value": fsum(values) / len(values), "n": len(values)} | ends}


def _of(it: passk.Estimate | passk.Difference, above: float = 0.0) -> Number:
    return {
        "value": above + it.value,
        "low": above + it.low,
        "high": above + it.high,
        "n": it.problems,
    }


def _against(name: str, values: Mapping[str, Sequence[float]], even: float, seed: int) -> Numbers:
    """Mean over prompts of their means, with the interval of its difference from `even`."""
    if not values:
        return {}
    means = {problem: (fsum(found) / len(found), 1.0) for problem, found in values.items()}
    it = passk.paired_ratio(dict.fromkeys(means, (even, 1.0)), means, seed=seed)
    return {name: _of(it, above=even)}


def _standing(one: Opinion) -> float | None:
    """A score that can be compared: without a summary the lowest there is; None if it is not known."""
    return -inf if one.score is None and one.why == NO_SUMMARY else one.score


def _win(ours: float, theirs: float) -> float:
    return (ours > theirs) + 0.5 * (ours == theirs)


def _problems(answers: Iterable[Measured]) -> dict[str, list[tuple[bool, str | None]]]:
    """(right, vote) of the answers to each problem, in the order of samples."""
    found: dict[str, list[tuple[bool, str | None]]] = {}
    for one in sorted(answers, key=lambda one: one.sample):
        found.setdefault(one.problem, []).append((one.correct, one.vote))
    return dict(sorted(found.items()))


def _by_prompt(
    answers: Sequence[Measured], wanted: Callable[[Measured], bool]
) -> Mapping[str, list[float]]:
    found: dict[str, list[float]] = {}
    for one in answers:
        if one.judged and wanted(one):
            found.setdefault(one.problem, []).append(one.score)
    return found


def _wins(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Share of the pairs (one of ours, one of theirs) that ours wins, ties half."""
    a, b = np.array(ours)[:, None], np.array(theirs)[None, :]
    return float(((a > b) + 0.5 * (a == b)).mean())
