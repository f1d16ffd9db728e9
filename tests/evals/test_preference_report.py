"""What is said about a reward model: numbers by hand, slow counts, and simulated coverage."""

import json
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.evals import passk
from aha.evals.preference import (
    ScoredLabel,
    ScoredPair,
    auc,
    calibration,
    of_labels,
    of_pairs,
    share,
    spearman,
)


def pair(chosen, rejected, long=10, short=10, root="", domain=""):
    return ScoredPair(
        chosen=chosen,
        rejected=rejected,
        chosen_tokens=long,
        rejected_tokens=short,
        root=root,
        domain=domain,
    )


def test_pairs_by_hand():
    third = math.log(3)
    report = of_pairs(
        [
            pair(third, 0.0, 20, 10, "a", "x"),  # right, the longer one
            pair(0.0, third, 20, 10, "b", "x"),  # wrong
            pair(2 * third, third, 10, 20, "c", "y"),  # right, the shorter one
            pair(1.0, 1.0, 10, 10, "d", "y"),  # equal
        ]
    )
    assert (report.pairs, report.questions) == (4, 4)
    assert report.accuracy.value == 2.5 / 4
    # -log of 3/4, 1/4, 3/4, 1/2
    assert report.loss == pytest.approx((2 * math.log(4 / 3) + math.log(4) + math.log(2)) / 4)
    assert report.margin == pytest.approx(third / 4)
    assert report.longer_chosen.value == 2.5 / 4
    # of three pairs of unequal length the model prefers the longer one in the first only
    assert report.longer_preferred == pytest.approx(1 / 3)
    assert report.where_longer_chosen.value == 0.5
    assert report.where_shorter_chosen.value == 1
    # sum of margin x difference: third x 10 x (1 - 1 - 1); norms sqrt(3) third and sqrt(3) 10
    assert report.length_margin == pytest.approx(-1 / 3)
    # |margin| = ln 3 three times (sure by 3/4, right in 2 of 3), and 0 (1/2, half right)
    assert report.calibration.error == pytest.approx(3 / 4 * (3 / 4 - 2 / 3))
    assert [(one.count, one.right) for one in report.calibration.bins] == [(1, 0.5), (3, 2 / 3)]
    assert {name: one.value for name, one in report.by_domain.items()} == {"x": 0.5, "y": 0.75}
    assert json.loads(json.dumps(report.as_dict()))["accuracy"]["problems"] == 4


def test_one_domain_needs_no_table_and_one_length_no_correlation():
    report = of_pairs([pair(1.0, 0.0, root="a"), pair(2.0, 0.0, root="b")])
    assert (report.by_domain, report.length_margin, report.length_rank) == ({}, None, None)
    assert (report.where_longer_chosen, report.where_shorter_chosen) == (None, None)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_one_pair_a_question_is_wilsons_interval(wins):
    problems = [[(win, None)] for win in wins]
    found = share(np.array(wins, dtype=float), [str(i) for i in range(len(wins))])
    wanted = passk.pass_at_1(problems)
    assert (found.value, found.low, found.high) == pytest.approx(
        (wanted.value, wanted.low, wanted.high)
    )


def test_pairs_of_one_question_count_once():
    """Six times the same says no more than once: the interval is that of the questions."""
    wins = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    once = share(wins, list("abcde"))
    six = share(np.repeat(wins, 6), [name for name in "abcde" for _ in range(6)])
    assert (six.value, six.low, six.high) == pytest.approx((once.value, once.low, once.high))
    apart = share(np.repeat(wins, 6), [str(i) for i in range(30)])
    assert apart.high - apart.low < 0.6 * (six.high - six.low)


def test_the_interval_covers_the_truth():
    """4,000 draws of 150 pairs, three to a question, half of them alike: covered in about 95 %."""
    numbers = random.Random(1)
    hits = 0
    draws = 4000
    groups = [str(i // 3) for i in range(150)]
    for _ in range(draws):
        wins = []
        for _ in range(50):
            common = numbers.random() < 0.7
            wins += [
                float(common if numbers.random() < 0.5 else numbers.random() < 0.7)
                for _ in range(3)
            ]
        found = share(np.array(wins), groups)
        hits += found.low <= 0.7 <= found.high
    assert 0.93 <= hits / draws <= 0.97


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-4, 4), min_size=1, max_size=15),
    st.lists(st.integers(-4, 4), min_size=1, max_size=15),
)
def test_auc_is_the_share_of_pairs_in_order(above, below):
    wins = sum((a > b) + 0.5 * (a == b) for a in above for b in below)
    found = auc(np.array(above, dtype=float), np.array(below, dtype=float))
    assert found.value == pytest.approx(wins / (len(above) * len(below)))
    assert 0 <= found.low <= found.value <= found.high <= 1
    if min(len(above), len(below)) > 1 and 0 < found.value < 1:
        # DeLong's variance, by loops
        v10 = [sum((a > b) + 0.5 * (a == b) for b in below) / len(below) for a in above]
        v01 = [sum((a > b) + 0.5 * (a == b) for a in above) / len(above) for b in below]
        variance = np.var(v10, ddof=1) / len(above) + np.var(v01, ddof=1) / len(below)
        if variance > 1e-12:
            n = found.value * (1 - found.value) / variance
            z2 = passk.Z**2
            half = (
                passk.Z
                / (1 + z2 / n)
                * math.sqrt(1 / n * found.value * (1 - found.value) + z2 / (4 * n * n))
            )
            centre = (found.value + z2 / (2 * n)) / (1 + z2 / n)
            assert (found.low, found.high) == pytest.approx(
                (min(found.value, max(0, centre - half)), max(found.value, min(1, centre + half)))
            )


def test_the_interval_of_the_auc_covers_the_truth():
    """Two normal distributions one standard deviation apart: AUC = Phi(1/sqrt 2)."""
    truth = 0.5 * (1 + math.erf(0.5))
    numbers = np.random.default_rng(2)
    hits = 0
    for _ in range(1000):
        found = auc(numbers.normal(1, 1, 60), numbers.normal(0, 1, 40))
        hits += found.low <= truth <= found.high
    assert 0.925 <= hits / 1000 <= 0.975


@pytest.mark.parametrize("safe, majority", [(1, 0.75), (2, 0.5), (3, 0.75), (4, 1.0)])
def test_the_majority_is_what_accuracy_must_beat(safe, majority):
    """Whichever of the two is more frequent, with the interval of its share."""
    scored = [ScoredLabel(score=1.0, safe=i < safe, tokens=1, root=f"{i}") for i in range(4)]
    report = of_labels(scored)
    assert (report.majority.value, report.safe_share.value) == (majority, safe / 4)
    assert report.majority.low < majority
    if safe >= 2:
        assert report.majority == report.safe_share == report.accuracy  # it says "safe" throughout


def test_labels_by_hand():
    def label(score, safe, tokens, root):
        return ScoredLabel(score=score, safe=safe, tokens=tokens, root=root)

    third = math.log(3)
    report = of_labels(
        [
            label(third, True, 10, "a"),
            label(third, False, 20, "b"),  # wrong
            label(-third, False, 30, "c"),
            label(0.0, True, 40, "d"),  # neither
        ]
    )
    assert (report.labels, report.questions, report.safe_share.value) == (4, 4, 0.5)
    assert report.accuracy.value == 2.5 / 4
    # safe: ln 3, 0; unsafe: ln 3, -ln 3. In order: equal, yes; no, yes
    assert report.auc.value == 2.5 / 4
    # lengths of safe ones 10, 40 against 20, 30: no, no; yes, yes
    assert report.length_auc == 0.5
    assert report.loss == pytest.approx((2 * math.log(4 / 3) + math.log(4) + math.log(2)) / 4)
    # p = 3/4 twice (one safe), 1/4 (none), 1/2 (one)
    assert report.calibration.error == pytest.approx((2 * 0.25 + 0.25 + 0.5) / 4)
    assert (report.where_safe.value, report.where_unsafe.value) == (0.75, 0.5)
    one = of_labels([label(1.0, True, 3, "a")])
    assert (one.auc, one.where_unsafe) == (None, None)
    json.dumps(report.as_dict())


def test_probabilities_that_are_true_have_no_error():
    numbers = np.random.default_rng(3)
    predicted = numbers.uniform(0.5, 1, 200_000)
    came_true = (numbers.uniform(size=200_000) < predicted).astype(float)
    found = calibration(predicted, came_true, low=0.5, bins=10)
    assert found.error < 0.01
    assert len(found.bins) == 10
    assert sum(one.count for one in found.bins) == 200_000
    sure = calibration(np.full(1000, 0.9), came_true[:1000] * 0 + 0.6, low=0.5, bins=10)
    assert sure.error == pytest.approx(0.3)
    edges = calibration(np.array([0.5, 1.0]), np.array([1.0, 1.0]), low=0.5, bins=10)
    assert [(one.low, one.high) for one in edges.bins] == [(0.5, 0.55), (pytest.approx(0.95), 1.0)]


def test_a_model_that_counts_words_is_found_out():
    """Its score is the length: as good as length, and always wrong where the shorter was chosen."""
    numbers = random.Random(5)
    pairs = []
    for i in range(300):
        long, short = numbers.randint(50, 90), numbers.randint(10, 49)
        if numbers.random() < 0.6:
            pairs.append(pair(long / 10, short / 10, long, short, str(i)))
        else:
            pairs.append(pair(short / 10, long / 10, short, long, str(i)))
    report = of_pairs(pairs)
    assert report.accuracy == report.longer_chosen
    assert report.longer_preferred == 1
    assert report.where_shorter_chosen.value == 0
    assert report.length_margin == pytest.approx(1)
    assert report.length_rank == pytest.approx(1)


def test_ranks_share_their_place():
    # ranks 1, 2.5, 2.5, 4 against 2, 1, 3, 4: sum of (a - 2.5)(b - 2.5) is 0.75 + 0 + 0 + 2.25
    values = spearman(np.array([1.0, 2.0, 2.0, 9.0]), np.array([5.0, 4.0, 6.0, 7.0]))
    assert values == pytest.approx(3 / math.sqrt(4.5 * 5))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="not finite"):
        of_pairs([pair(bad, 0.0)])
    with pytest.raises(ValueError, match="no held-out example"):
        of_pairs([])
