"""DPO against the formula in Python floats, and its gradient against DeepSeekMath A.1."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.rl.losses import answer_sums, dpo

logs = st.floats(-60, 0)
pairs = st.lists(st.tuples(logs, logs, logs, logs), min_size=1, max_size=6)


def sigma(x):
    return 1 / (1 + math.exp(-x))


def slow(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta, smoothing):
    """One pair, as Rafailov et al. write it."""
    better = beta * (policy_chosen - reference_chosen)
    worse = beta * (policy_rejected - reference_rejected)
    right, wrong = math.log(sigma(better - worse)), math.log(sigma(worse - better))
    return -(1 - smoothing) * right - smoothing * wrong, better - worse


def columns(rows):
    return [torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True)]


@settings(max_examples=100, deadline=None)
@given(rows=pairs, beta=st.floats(0.01, 2), smoothing=st.sampled_from([0.0, 0.1, 0.4]))
def test_the_loss_is_the_formula(rows, beta, smoothing):
    losses, margins = dpo(*columns(rows), beta, label_smoothing=smoothing)
    for row, loss, margin in zip(rows, losses.tolist(), margins.tolist(), strict=True):
        wanted = slow(*row, beta, smoothing)
        assert loss == pytest.approx(wanted[0], rel=1e-9, abs=1e-12)
        assert margin == pytest.approx(wanted[1], rel=1e-9, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(rows=pairs, beta=st.floats(0.01, 2))
def test_the_gradient_coefficient_is_that_of_the_paper(rows, beta):
    """+ on o+, - on o-, times sigma(beta log-ratio(o-) - beta log-ratio(o+)); and the beta before it."""
    chosen, rejected, ref_chosen, ref_rejected = columns(rows)
    chosen.requires_grad_()
    rejected.requires_grad_()
    losses, margins = dpo(chosen, rejected, ref_chosen, ref_rejected, beta)
    (-losses.sum()).backward()  # the gradient of the objective, which is maximised
    assert not margins.requires_grad
    for place, (a, b, ref_a, ref_b) in enumerate(rows):
        coefficient = sigma(beta * (b - ref_b) - beta * (a - ref_a))
        assert float(chosen.grad[place]) == pytest.approx(beta * coefficient, rel=1e-9)
        assert float(rejected.grad[place]) == pytest.approx(-beta * coefficient, rel=1e-9)


def test_with_smoothing_the_margin_has_an_end():
    """The loss is least where sigma(margin) = 1 - e; without smoothing it falls for ever."""
    zero = torch.zeros(1, dtype=torch.float64)
    for share in (0.1, 0.3):
        best = math.log((1 - share) / share)
        chosen = torch.tensor([best], dtype=torch.float64, requires_grad=True)
        loss, _ = dpo(chosen, zero, zero, zero, 1.0, label_smoothing=share)
        loss.backward()
        assert float(chosen.grad) == pytest.approx(0, abs=1e-12)
    far = torch.tensor([50.0, 60.0], dtype=torch.float64)
    losses, _ = dpo(far, *[torch.zeros(2, dtype=torch.float64)] * 3, 1.0)
    assert losses[0] > losses[1] > 0


@pytest.mark.parametrize("value", [-1e5, 1e5])
def test_far_log_ratios_give_no_infinity(value):
    """Answers of thousands of tokens: float32 ends at exp(88), the loss must not."""
    chosen = torch.tensor([value], requires_grad=True)
    zero = torch.zeros(1)
    loss, margin = dpo(chosen, zero, zero, zero, 1.0)
    loss.sum().backward()
    assert loss.tolist() == [max(0.0, -value)]
    assert margin.tolist() == [value]
    assert chosen.grad.tolist() == [-1.0 if value < 0 else 0.0]


def test_sums_and_means_are_by_answer():
    values = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    unit = torch.tensor([0, 0, 1, 2, 2])
    assert answer_sums(values, unit, 3).tolist() == [3.0, 4.0, 24.0]
    assert answer_sums(values, unit, 3, mean=True).tolist() == [1.5, 4.0, 12.0]
    assert answer_sums(values, unit, 3).dtype == torch.float64
