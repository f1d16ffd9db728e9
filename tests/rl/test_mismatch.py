"""The mismatch statistic by hand, in slow loops, and at the ends of the number range."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.rl.mismatch import mismatch

answers = st.lists(
    st.lists(st.tuples(st.floats(-8, 0), st.floats(-8, 0)), min_size=1, max_size=5),
    min_size=1,
    max_size=6,
)


def measured(rows, **keys):
    flat = [pair for row in rows for pair in row]
    logp, sampler = torch.tensor(flat, dtype=torch.float64).T
    unit = torch.tensor([number for number, row in enumerate(rows) for _ in row])
    return mismatch(logp, sampler, unit, len(rows), **keys)


def test_by_hand():
    """Two answers; ratios 1.5 and 1 | 0.5. Weights 1.5 and 0.5: (2)^2 / (2 (2.25 + 0.25)) = 0.8."""
    found = measured(
        [[(math.log(0.6), math.log(0.4)), (-1.0, -1.0)], [(math.log(0.2), math.log(0.4))]]
    )
    assert (found.answers, found.tokens) == (2, 3)
    assert found.mean_log_ratio == pytest.approx((math.log(1.5) + math.log(0.5)) / 3)
    assert found.ess_share == pytest.approx(0.8)
    assert found.outside_share == pytest.approx(2 / 3)
    assert measured([[(math.log(0.6), math.log(0.4))]], clip=0.6).outside_share == 0


@settings(max_examples=100, deadline=None)
@given(rows=answers)
def test_slow_loops_say_the_same(rows):
    found = measured(rows)
    ratios = [a - b for row in rows for a, b in row]
    weights = [math.exp(sum(a - b for a, b in row)) for row in rows]
    assert found.mean_log_ratio == pytest.approx(sum(ratios) / len(ratios), abs=1e-9)
    size = sum(weights) ** 2 / sum(w * w for w in weights)
    assert found.ess_share == pytest.approx(size / len(rows), rel=1e-9)
    outside = sum(not 0.8 <= math.exp(r) <= 1.2 for r in ratios)
    near = sum(min(abs(math.exp(r) - 0.8), abs(math.exp(r) - 1.2)) < 1e-12 for r in ratios)
    assert abs(found.outside_share * len(ratios) - outside) <= near + 1e-9
    assert 1 / len(rows) - 1e-12 <= found.ess_share <= 1 + 1e-12


@settings(max_examples=50, deadline=None)
@given(rows=answers)
def test_on_the_weights_that_sampled_nothing_is_off(rows):
    found = measured([[(a, a) for a, _ in row] for row in rows])
    assert (found.mean_log_ratio, found.outside_share) == (0, 0)
    assert found.ess_share == pytest.approx(1)


@pytest.mark.parametrize("shift", [-50.0, 50.0])
def test_long_answers_have_weights_outside_any_float(shift):
    """1,000 tokens, each 50 nats off: exp(50,000). One answer outweighs the other."""
    far, near = [(shift, 0.0)] * 1000, [(0.0, 0.0)]
    found = measured([far, near])
    assert found.ess_share == pytest.approx(0.5)
    assert measured([far, far]).ess_share == pytest.approx(1)
    assert found.mean_log_ratio == pytest.approx(shift * 1000 / 1001)


def test_nothing_is_not_measured():
    with pytest.raises(ValueError, match="no stored token"):
        mismatch(torch.zeros(0), torch.zeros(0), torch.zeros(0, dtype=torch.long), 0)
    with pytest.raises(ValueError, match="without tokens"):
        mismatch(torch.zeros(1), torch.zeros(1), torch.zeros(1, dtype=torch.long), 2)
