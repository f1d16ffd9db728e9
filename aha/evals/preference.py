"""How good a reward model is on preferences or labels that it was not trained on.

Accuracy with a 95 % interval, and beside it what length alone would score: a reward model that only
counts words is a common and well hidden failure. Calibration: whether sigma of a margin is the share of
pairs that it gets right.

Intervals are Wilson's with an effective number of examples: those about one question are not independent
and widen it (Korn and Graubard 1998); with one example a question it is exactly Wilson's.

Holds not:       models, files.
Not covered:     the interval of the AUC takes examples as independent.
"""

# m = safe examples, n = unsafe ones
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aha.evals.passk import Estimate, Z

BINS = 10

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPair:
    """A pair and its two scores."""

    chosen: float
    rejected: float
    chosen_tokens: int
    """Length of the answer alone."""
    rejected_tokens: int
    root: str
    """Pairs that share it are about one question."""
    domain: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredLabel:
    """A labelled response and its score."""

    score: float
    safe: bool
    tokens: int
    root: str
    domain: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Predictions of like confidence."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean predicted probability."""
    right: float
    """Share of them that came true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    bins: list[Bin]
    """Those that are not empty."""
    error: float
    """Expected calibration error: mean of |confidence - right| over examples, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairReport:
    """What `of_pairs` found."""

    pairs: int
    questions: int
    accuracy: Estimate
    """Share of pairs in which the chosen answer scores higher; equal scores count half."""
    loss: float
    """-log sigma(margin), nats; a model that knows nothing has 0.693."""
    margin: float
    """Mean of s_chosen - s_rejected."""
    longer_chosen: Estimate
    """What length alone would score: share of pairs whose chosen answer is longer, equal ones half."""
    longer_preferred: float
    """Share of pairs in which the model prefers the longer answer (pairs of equal length left out)."""
    where_longer_chosen: Estimate | None
    where_shorter_chosen: Estimate | None
    """Accuracy where the longer answer was chosen, and where the shorter was; None without any."""
    length_margin: float | None
    """Correlation of the margin with the difference in length within pairs, through the origin (so it
    does not depend on which answer comes first); None if all lengths are equal."""
    length_rank: float | None
    """Spearman correlation of score and length over all answers."""
    calibration: Calibration
    """Of sigma(|margin|): the probability that the answer with the higher score is the chosen one."""
    score_mean: float
    score_std: float
    """Of all answers: for `center` and `scale` of a reward made of it."""
    by_domain: dict[str, Estimate]
    """Accuracy by domain, where there are several."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReport:
    """What `of_labels` found."""

    labels: int
    questions: int
    safe_share: Estimate
    """Share of safe ones: what always saying "safe" would score."""
    majority: Estimate
    """What always saying the more frequent of the two would score: the accuracy to beat."""
    accuracy: Estimate
    """Share in which the score has the right sign (above 0: safe); 0 counts half."""
    where_safe: Estimate | None
    where_unsafe: Estimate | None
    """Accuracy on the safe ones, and on the others; None without any."""
    loss: float
    auc: Estimate | None
    """Probability that a safe response scores above an unsafe one, equal ones half; None if one of the
    two is missing."""
    length_auc: float | None
    """The same with the length in place of the score."""
    length_rank: float | None
    """Spearman correlation of score and length."""
    calibration: Calibration
    """Of sigma(score): the probability of "safe"."""
    score_mean: float
    score_std: float
    by_domain: dict[str, Estimate]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def of_pairs(scored: Sequence[ScoredPair], *, bins: int = BINS) -> PairReport:
    """Judge a reward model by its scores of held-out pairs.

    Raises:
        ValueError: no pairs, or a score that is not finite.
    """
    chosen = _column([one.chosen for one in scored])
    rejected = _column([one.rejected for one in scored])
    lengths = [_column([one.chosen_tokens for one in scored])]
    lengths.append(_column([one.rejected_tokens for one in scored]))
    margin, longer = chosen - rejected, lengths[0] - lengths[1]
    roots = [one.root for one in scored]
    wins = _wins(margin)
    unequal = longer != 0
    return PairReport(
        pairs=len(scored),
        questions=len(set(roots)),
        accuracy=share(wins, roots),
        loss=float(np.logaddexp(0, -margin).mean()),
        margin=float(margin.mean()),
        longer_chosen=share(_wins(longer), roots),
        longer_preferred=(
            float(_wins(margin * np.sign(longer))[unequal].mean()) if unequal.any() else 0.5
        ),
        where_longer_chosen=_share_where(wins, roots, longer > 0),
        where_shorter_chosen=_share_where(wins, roots, longer < 0),
        length_margin=_correlation(margin, longer),
        length_rank=spearman(np.concatenate([chosen, rejected]), np.concatenate(lengths)),
        calibration=calibration(_sigmoid(np.abs(margin)), wins, low=0.5, bins=bins),
        score_mean=float(np.concatenate([chosen, rejected]).mean()),
        score_std=float(np.concatenate([chosen, rejected]).std()),
        by_domain=_by_domain(wins, roots, [one.domain for one in scored]),
    )


def of_labels(scored: Sequence[ScoredLabel], *, bins: int = BINS) -> LabelReport:
    """Judge a reward model by its scores of held-out labelled responses.

    Raises:
        ValueError: no labels, or a score that is not finite.
    """
    scores = _column([one.score for one in scored])
    lengths = _column([one.tokens for one in scored])
    safe = np.array([one.safe for one in scored])
    signed = np.where(safe, scores, -scores)
    roots = [one.root for one in scored]
    wins = _wins(signed)
    frequent = safe if 2 * safe.sum() >= len(safe) else ~safe
    of_length = auc(lengths[safe], lengths[~safe])
    return LabelReport(
        labels=len(scored),
        questions=len(set(roots)),
        safe_share=share(safe.astype(np.float64), roots),
        majority=share(frequent.astype(np.float64), roots),
        accuracy=share(wins, roots),
        where_safe=_share_where(wins, roots, safe),
        where_unsafe=_share_where(wins, roots, ~safe),
        loss=float(np.logaddexp(0, -signed).mean()),
        auc=auc(scores[safe], scores[~safe]),
        length_auc=None if of_length is None else of_length.value,
        length_rank=spearman(scores, lengths),
        calibration=calibration(_sigmoid(scores), safe.astype(np.float64), low=0.0, bins=bins),
        score_mean=float(scores.mean()),
        score_std=float(scores.std()),
        by_domain=_by_domain(wins, roots, [one.domain for one in scored]),
    )


def share(values: Values, groups: Sequence[str]) -> Estimate:
    """Mean of values in 0..1 and its 95 % interval, examples of one group taken together.

    The effective number of examples is p(1-p) / Var(p) with Var from the sums of the groups, at most
    the number of examples; where all values are 0, or all 1, it is the number of groups.
    `Estimate.problems` is that of the groups.
    """
    count = len(values)
    mean = math.fsum(values) / count
    sums: dict[str, float] = {}
    for value, group in zip(values.tolist(), groups, strict=True):
        sums[group] = sums.get(group, 0.0) + value - mean
    variance = math.fsum(total * total for total in sums.values()) / count**2
    doubt = mean * (1 - mean)
    effective = float(len(sums))
    if doubt > 0:
        effective = min(float(count), doubt / variance) if variance > 0 else float(count)
    low, high = wilson(mean, effective)
    return Estimate(value=mean, low=low, high=high, problems=len(sums))


def wilson(mean: float, effective: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share from so many independent examples."""
    z2 = Z * Z
    centre = (mean + z2 / (2 * effective)) / (1 + z2 / effective)
    doubt = mean * (1 - mean) / effective + z2 / (4 * effective**2)
    half = Z / (1 + z2 / effective) * math.sqrt(doubt)
    return min(mean, max(0.0, centre - half)), max(mean, min(1.0, centre + half))


def auc(above: Values, below: Values) -> Estimate | None:
    """Probability that a value of `above` exceeds one of `below`, equal ones half; None if one is empty.

    The interval is Wilson's with the effective number AUC(1-AUC) / Var, Var as DeLong et al. 1988;
    where the two are perfectly apart, the size of the smaller one. `problems`: m + n.
    """
    m, n = len(above), len(below)
    if not m or not n:
        return None
    ranks = _ranks(np.concatenate([above, below]))
    # share of the other side that each value exceeds: its rank among all less its rank among its own
    over = (ranks[:m] - _ranks(above)) / n
    under = 1 - (ranks[m:] - _ranks(below)) / m
    value = float(over.mean())
    variance = float(over.var(ddof=1) / m if m > 1 else 0) + float(
        under.var(ddof=1) / n if n > 1 else 0
    )
    effective = value * (1 - value) / variance if variance > 0 else float(min(m, n))
    low, high = wilson(value, max(effective, 1e-9))
    return Estimate(value=value, low=low, high=high, problems=m + n)


def calibration(predicted: Values, came_true: Values, *, low: float, bins: int) -> Calibration:
    """Predicted probabilities from `low` to 1 in bins of equal width, against what came true (0..1)."""
    edges = np.linspace(low, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, predicted, side="right") - 1, 0, bins - 1)
    found: list[Bin] = []
    error = 0.0
    for i in range(bins):
        inside = place == i
        if not inside.any():
            continue
        one = Bin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            count=int(inside.sum()),
            confidence=float(predicted[inside].mean()),
            right=float(came_true[inside].mean()),
        )
        found.append(one)
        error += one.count / len(predicted) * abs(one.confidence - one.right)
    return Calibration(bins=found, error=error)


def spearman(a: Values, b: Values) -> float | None:
    """Correlation of ranks, equal values sharing theirs; None if one side is constant."""
    x, y = _ranks(a), _ranks(b)
    return _correlation(x - x.mean(), y - y.mean())


def _correlation(a: Values, b: Values) -> float | None:
    """Through the origin: of deviations from 0."""
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0 else None


def _ranks(values: Values) -> Values:
    """1 for the smallest; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place.reshape(-1)], dtype=np.float64)


def _wins(margin: Values) -> Values:
    return np.asarray((margin > 0) + 0.5 * (margin == 0), dtype=np.float64)


def _share_where(wins: Values, roots: Sequence[str], where: NDArray[np.bool_]) -> Estimate | None:
    inside = [root for root, yes in zip(roots, where.tolist(), strict=True) if yes]
    return share(wins[where], inside) if inside else None


def _by_domain(wins: Values, roots: Sequence[str], domains: Sequence[str]) -> dict[str, Estimate]:
    names = sorted(set(domains))
    if len(names) < 2:
        return {}
    found = {}
    for name in names:
        one = _share_where(wins, roots, np.array([domain == name for domain in domains]))
        if one is not None:
            found[name or "none"] = one
    return found


def _sigmoid(values: Values) -> Values:
    return np.asarray(np.exp(-np.logaddexp(0, -values)), dtype=np.float64)


def _column(values: Sequence[float]) -> Values:
    if not values:
        raise ValueError("nothing to judge a reward model by: no held-out example")
    column = np.array(values, dtype=np.float64)
    if not np.isfinite(column).all():
        raise ValueError("a score is not finite")
    return column
