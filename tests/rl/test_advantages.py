import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.rl.advantages import group_advantages, is_flat, per_token

KINDS = ("std", "no_std", "leave_one_out")


def slow(rewards, valid, kind):
    """Eq. 3 and its relatives in Python floats; each answer against its group in a loop."""
    kept = [r for r, v in zip(rewards, valid, strict=True) if v]
    out = []
    for i, (reward, has_verdict) in enumerate(zip(rewards, valid, strict=True)):
        if not has_verdict:
            out.append(0.0)
        elif kind == "std":
            out.append((reward - statistics.mean(kept)) / statistics.stdev(kept))
        elif kind == "no_std":
            out.append(reward - statistics.mean(kept))
        else:
            others = [r for j, r in enumerate(rewards) if valid[j] and j != i]
            out.append(reward - statistics.mean(others))
    return out


def close(got, want):
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), rtol=1e-9, atol=1e-12)


def test_one_right_answer_in_four():
    # mean 1/4; variance (9 + 1 + 1 + 1)/16 / 3 = 1/4, std 1/2; so (3/4)/(1/2) and (-1/4)/(1/2)
    close(group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0])), [1.5, -0.5, -0.5, -0.5])


def test_a_tiny_spread_is_still_normalised_to_one():
    # nothing is added to the standard deviation: the scale of the rewards does not matter
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64) * 1e-4
    close(group_advantages(rewards), [1.5, -0.5, -0.5, -0.5])


def test_without_std_by_hand():
    close(group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]), kind="no_std"), [0.75] + [-0.25] * 3)


def test_leave_one_out_by_hand():
    # the right one against three zeros: 1; a wrong one against (1 + 0 + 0)/3: -1/3
    got = group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]), kind="leave_one_out")
    close(got, [1.0, -1 / 3, -1 / 3, -1 / 3])


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_that_agrees_teaches_nothing(kind):
    # 0.7 is not exact in float32: the mean of sixteen is one bit off, and std + 1e-8 divides noise
    got = group_advantages(torch.full((16,), 0.7), kind=kind)
    assert got.tolist() == [0.0] * 16


@pytest.mark.parametrize("kind", KINDS)
def test_invalid_answers_are_out_of_the_baseline(kind):
    rewards = torch.tensor([1.0, 0.0, 1e6, 0.0, 0.0, float("nan")])
    valid = torch.tensor([True, True, False, True, True, False])
    got = group_advantages(rewards, valid, kind=kind)
    alone = group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]), kind=kind)
    assert got[valid].tolist() == alone.tolist()
    assert got[~valid].tolist() == [0.0, 0.0]


def test_fewer_than_two_verdicts_are_flat():
    rewards = torch.tensor([1.0, 0.0, 0.0])
    for valid in ([True, False, False], [False, False, False]):
        assert is_flat(rewards, torch.tensor(valid))
        assert group_advantages(rewards, torch.tensor(valid)).tolist() == [0.0] * 3


def test_flat_is_relative_to_the_size_of_large_rewards():
    everyone = torch.tensor([True, True])
    assert is_flat(torch.tensor([1e6, 1e6 + 0.5]), everyone)
    assert not is_flat(torch.tensor([1e6, 1e6 + 2]), everyone)
    assert is_flat(torch.tensor([0.0, 1e-7]), everyone)
    assert not is_flat(torch.tensor([0.0, 1e-5]), everyone)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0, -1.0]), st.booleans()), min_size=2),
    st.sampled_from(KINDS),
)
def test_equals_slow_loops(pairs, kind):
    rewards, valid = [p[0] for p in pairs], [p[1] for p in pairs]
    got = group_advantages(torch.tensor(rewards), torch.tensor(valid), kind=kind)
    if len({r for r, v in pairs if v}) < 2:
        assert got.tolist() == [0.0] * len(pairs)
        return
    close(got, slow(rewards, valid, kind))
    assert math.isclose(got.sum().item(), 0.0, abs_tol=1e-9)


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="leave_one_out"):
        group_advantages(torch.tensor([0.0, 1.0]), kind="median")


def test_every_token_gets_the_credit_of_its_answer():
    got = per_token(torch.tensor([1.5, -0.5, 0.25], dtype=torch.float64), [2, 0, 1])
    assert got == [(1.5, 1.5), (), (0.25,)]
    with pytest.raises(ValueError, match="zip"):
        per_token(torch.tensor([1.5]), [2, 1])
