"""What a table of right and wrong answers says: pass@1, pass@k, majority vote, differences.

A problem is the list of its sampled answers, each `(correct, extracted answer or None)`, in the
order of their sample index. All intervals are 95 % and over *problems*: answers to one problem are
not independent, so more samples sharpen a problem's mean but never stand in for more problems.

Holds not:  grading, sampling, files. An answer without a verdict (a grader failed) is not wrong:
            the caller leaves it out and counts it.
Not covered: intervals from fewer than about 20 problems are too narrow (the normal quantile is
            used, not Student's).
"""

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

Problem = Sequence[tuple[bool, str | None]]
"""Sampled answers to one problem: (correct, extracted answer or None if nothing was found)."""

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A share and its 95 % interval, all 0..1."""

    value: float
    low: float
    high: float
    problems: int
    """Problems it is the mean of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A number of `b` minus the same of `a` on the problems that both have."""

    value: float
    low: float
    high: float
    problems: int
    """Problems that both have; the others are counted below and not used."""
    better: int
    """Problems where `b` has the larger number (for pass@1: is right more often)."""
    worse: int
    only_a: int
    only_b: int


def pass_at_1(problems: Sequence[Problem]) -> Estimate:
    """Mean over problems of the share of right answers. DeepSeek-R1 §3: (1/k) sum p_i.

    The interval is Wilson's with an effective number of answers, p(1-p) / Var(p): problems that
    agree less than their number suggests widen it (Korn and Graubard 1998). The variance is that of
    the problems' means; the effective number never exceeds the number of answers, and is the number
    of problems when all answers are right, or all wrong. So the interval is never empty, stays in
    0..1, and with one answer a problem it is exactly Wilson's.

    Raises:
        ValueError: no problems, or a problem without an answer.
    """
    _checked(problems)
    means = [_share(problem) for problem in problems]
    independent = len(problems) ** 2 / math.fsum(1 / len(problem) for problem in problems)
    return _estimate(means, most=independent)


def pass_at_k(problems: Sequence[Problem], k: int) -> Estimate:
    """Chance that at least one of k answers is right, mean over problems. Unbiased.

    1 - C(n-c, k) / C(n, k) for n answers of which c are right (Chen et al. 2021, Eq. 1). The
    interval is Wilson's for that many problems: a little too wide for k < n.

    Raises:
        ValueError: no problems, or a problem with fewer than k answers.
    """
    _checked(problems, at_least=k)
    return _estimate(
        [pass_at_k_of(len(p), sum(right for right, _ in p), k) for p in problems],
        most=len(problems),
    )


def pass_at_k_of(n: int, c: int, k: int) -> float:
    """1 - C(n-c, k) / C(n, k): c right among n answers, k of them drawn without replacement."""
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"n={n}, c={c}, k={k}: needs 0 <= c <= n and 1 <= k <= n")
    # integers are exact; the quotient of two Python integers is rounded once
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def cons_at_k(
    problems: Sequence[Problem],
    k: int | None = None,
    *,
    key: Callable[[str], str] | None = None,
) -> Estimate:
    """Share of problems whose majority vote over the first k answers (None: all) is right.

    Answers vote by `key` (None: `vote_key`); most votes win, a tie goes to the answer that came
    first by sample index, an answer of None does not vote, and without a vote the problem is wrong.
    The verdict is that of the first answer that voted for the winner. The tie rule is ours:
    DeepSeek-R1 gives none. Where many different answers are right (countdown), a vote by text says
    little; pass a `key` that maps each to its value.

    Raises:
        ValueError: no problems, or a problem with fewer than k answers.
    """
    _checked(problems, at_least=1 if k is None else k)
    votes = [_vote(problem[:k], key or vote_key) for problem in problems]
    return _estimate([float(right) for right in votes], most=len(problems))


def vote_key(answer: str) -> str:
    """One text for answers that are written alike: "1,000", " 1000.0" and "$1000$" are "1000".

    Unicode NFKC, no white space, no `$` around, no full stop at the end, whole-number, decimal and
    a/b values as a reduced fraction. Everything else is compared as text.
    """
    text = "".join(unicodedata.normalize("NFKC", answer).split())
    text = text.strip("$").rstrip(".")
    plain = text.replace(",", "") if _THOUSANDS.fullmatch(text) else text
    if len(plain) <= 200 and _NUMBER.fullmatch(plain):
        top, _, bottom = plain.partition("/")
        if not bottom or int(bottom):
            return str(Fraction(top) / (int(bottom) if bottom else 1))
    return text


def paired_difference(
    a: Mapping[str, Problem], b: Mapping[str, Problem], *, seed: int = 0, resamples: int = 10_000
) -> Difference:
    """pass@1 of `b` minus pass@1 of `a`, by problem id, -1..1; see `paired_ratio`.

    Raises:
        ValueError: no problem is in both, or a problem has no answer.
    """
    shared = a.keys() & b.keys()
    for side in (a, b):
        _checked([side[name] for name in sorted(shared)], none=True)
    ratios = [
        {name: (_share(p), 1.0) if name in shared else (0.0, 1.0) for name, p in side.items()}
        for side in (a, b)
    ]
    return paired_ratio(*ratios, seed=seed, resamples=resamples)


def paired_ratio(
    a: Mapping[str, tuple[float, float]],
    b: Mapping[str, tuple[float, float]],
    *,
    seed: int = 0,
    resamples: int = 10_000,
) -> Difference:
    """Ratio of sums of `b` minus that of `a`, by problem id, with a paired bootstrap interval.

    A problem brings (over, under), and a side's number is sum(over) / sum(under): a mean over
    problems with under = 1, words per token with (words, tokens). Problems are drawn with
    replacement, the same for both sides; the interval runs between the 2.5 % and 97.5 % percentiles
    of the difference. Same seed, same numbers. When every problem differs by the same amount the
    interval is that one number: read `problems` before believing it.

    Raises:
        ValueError: no problem is in both, or the problems of a side sum to nothing below.
    """
    shared = sorted(a.keys() & b.keys())
    if not shared:
        raise ValueError(
            f"no problem is in both evaluations ({len(a)} and {len(b)} problems): "
            "evaluate both on the same held-out problems"
        )
    sides = [np.array([side[name] for name in shared]).T for side in (a, b)]  # [2, problems] each
    if not all((under > 0).all() for _, under in sides):
        raise ValueError("a problem with nothing below: leave it out of both sides")
    each = sides[1][0] / sides[1][1] - sides[0][0] / sides[0][1]
    random = np.random.default_rng(seed)
    found: list[float] = []
    while len(found) < resamples:
        size = (min(DRAWN, resamples - len(found)), len(shared))
        drawn = random.integers(len(shared), size=size)
        before, after = (over[drawn].sum(1) / under[drawn].sum(1) for over, under in sides)
        found += (after - before).tolist()
    low, high = np.quantile(found, [0.025, 0.975])
    before, after = (math.fsum(over) / math.fsum(under) for over, under in sides)
    return Difference(
        value=after - before,
        low=float(low),
        high=float(high),
        problems=len(shared),
        better=int((each > 0).sum()),
        worse=int((each < 0).sum()),
        only_a=len(a) - len(shared),
        only_b=len(b) - len(shared),
    )


DRAWN = 500
"""Resamples computed at once: bounds the memory, changes no number."""

_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+|/[0-9]+)?")


def _checked(problems: Sequence[Problem], at_least: int = 1, *, none: bool = False) -> None:
    if not problems and not none:
        raise ValueError("no problems: there is nothing to take a share of")
    if at_least < 1:
        raise ValueError(f"k={at_least}: ask for 1 or more answers")
    for i, problem in enumerate(problems):
        if len(problem) < at_least:
            raise ValueError(
                f"problem {i} has {len(problem)} judged answers, {at_least} are needed: "
                "sample more, or leave it out and say so"
            )


def _share(problem: Problem) -> float:
    return sum(right for right, _ in problem) / len(problem)


def _vote(problem: Problem, key: Callable[[str], str]) -> bool:
    first: dict[str, bool] = {}
    votes: dict[str, int] = {}
    for right, answer in problem:
        if answer is not None:
            name = key(answer)
            first.setdefault(name, right)
            votes[name] = votes.get(name, 0) + 1
    # max keeps the first of equals, and a dict keeps the order of first votes
    return first[max(votes, key=votes.__getitem__)] if votes else False


def _estimate(shares: Sequence[float], *, most: float) -> Estimate:
    """Mean of shares in 0..1 with a Wilson interval for an effective number of at most `most`."""
    count = len(shares)
    mean = math.fsum(shares) / count
    spread = math.fsum((share - mean) ** 2 for share in shares) / count
    doubt = mean * (1 - mean)
    if count == 1 or doubt <= 0:
        effective = float(count)
    else:
        effective = min(most, doubt * count / spread) if spread > 0 else most
    z2 = Z * Z
    centre = (mean + z2 / (2 * effective)) / (1 + z2 / effective)
    half = Z / (1 + z2 / effective) * math.sqrt(doubt / effective + z2 / (4 * effective**2))
    return Estimate(
        value=mean,
        low=min(mean, max(0.0, centre - half)),
        high=max(mean, min(1.0, centre + half)),
        problems=count,
    )
