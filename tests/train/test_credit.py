import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_policies import group

from aha.config import ZeroConfig
from aha.train.batch import Tree, Unit
from aha.train.credit import flat, recompute_old, to_samples, to_trees

PROMPT = [5, 6]
OFF = ZeroConfig(kl_coef=0.0)


def units(groups, config):
    return [u for tree in to_trees(groups, config) for u in tree.units]


def test_advantages_by_hand_token_by_token():
    made = group("a", PROMPT, [[7, 8], [9], [7, 7, 7]], [3.0, 0.0, 0.0])
    std = math.sqrt(3.0)  # (4 + 1 + 1) / 2
    samples = to_samples(made, OFF)
    assert [len(s.advantage) for s in samples] == [2, 1, 3]
    assert samples[0].advantage == pytest.approx((2 / std, 2 / std))
    assert samples[1].advantage == pytest.approx((-1 / std,))
    loo = to_samples(made, ZeroConfig(advantage="leave_one_out"))
    assert [s.advantage[0] for s in loo] == pytest.approx([3.0, -1.5, -1.5])
    centred = to_samples(made, ZeroConfig(advantage="no_std"))
    assert [s.advantage[0] for s in centred] == pytest.approx([2.0, -1.0, -1.0])
    assert all(s.scored is given for s, given in zip(samples, made.scored, strict=True))


def test_an_answer_without_verdict_is_out_of_the_baseline():
    made = group("a", PROMPT, [[7], [8], [9]], [1.0, 0.0, 100.0], failed=[2])
    samples = to_samples(made, ZeroConfig(advantage="no_std"))
    assert [s.advantage[0] for s in samples] == [0.5, -0.5, 0.0]
    for config in (OFF, ZeroConfig(kl_coef=0.1)):
        assert [u.token_ids for u in units([made], config)] == [(7,), (8,)]


def test_flat_groups_are_skipped_only_without_kl():
    made = group("a", PROMPT, [[7], [8]], [0.7, 0.7])
    assert flat(made)
    assert to_trees([made], OFF) == []
    kept = units([made], ZeroConfig(kl_coef=0.5))
    assert [u.columns["advantage"] for u in kept] == [(0.0,), (0.0,)]
    assert [u.columns["kl_weight"] for u in kept] == [(0.25,), (0.25,)]
    assert not flat(group("a", PROMPT, [[7], [8]], [0.7, 0.8]))
    assert flat(group("a", PROMPT, [[7], [8]], [0.7, 0.0], failed=[1]))


def test_cut_answers_are_masked_on_request_but_stay_in_the_baseline():
    made = group("a", PROMPT, [[7], [8], [9]], [1.0, 0.0, 0.0], cut=[1])
    assert len(units([made], OFF)) == 3
    masked = units([made], ZeroConfig(kl_coef=0.0, overlong="mask"))
    assert [u.token_ids for u in masked] == [(7,), (9,)]
    assert masked[0].columns["advantage"] == to_samples(made, OFF)[0].advantage


@pytest.mark.parametrize("aggregation", ["answer_mean", "token_mean", "constant"])
def test_weights_sum_to_what_they_must(aggregation):
    """Denominators: all answers (4) or tokens (7) of the step, skipped ones included."""
    config = ZeroConfig(kl_coef=0.0, overlong="mask", aggregation=aggregation, max_answer_tokens=10)
    groups = [
        group("a", PROMPT, [[7, 8], [9]], [1.0, 0.0]),
        group("b", PROMPT, [[7, 7, 7], [9]], [1.0, 0.0], cut=[1]),
    ]
    sums = [sum(u.columns["pg_weight"]) for u in units(groups, config)]
    wanted = {
        "answer_mean": [1 / 4, 1 / 4, 1 / 4],
        "token_mean": [2 / 7, 1 / 7, 3 / 7],
        "constant": [2 / 40, 1 / 40, 3 / 40],
    }
    assert sums == pytest.approx(wanted[aggregation])


rewards = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=2, max_size=6)


@given(
    st.lists(st.tuples(rewards, st.integers(0, 2**6 - 1)), min_size=1, max_size=4), st.booleans()
)
def test_answer_mean_weights_are_one_over_all_answers(made, kl):
    groups = [
        group(
            str(i),
            PROMPT,
            [[7] * (1 + j) for j in range(len(values))],
            values,
            failed=[j for j in range(len(values)) if bits >> j & 1],
        )
        for i, (values, bits) in enumerate(made)
    ]
    config = ZeroConfig(kl_coef=0.25 if kl else 0.0)
    answers = sum(len(values) for values, _ in made)
    for unit in units(groups, config):
        assert sum(unit.columns["pg_weight"]) == pytest.approx(1 / answers)
        assert len(set(unit.columns["advantage"])) == 1
        assert ("kl_weight" in unit.columns) == kl
    for one in groups:  # advantages of a group add up to 0
        total = sum(s.advantage[0] for s in to_samples(one, config))
        assert total == pytest.approx(0.0, abs=1e-9)


def test_old_logprobs_are_the_engines():
    made = group("a", PROMPT, [[7, 8], [9]], [1.0, 0.0], logprobs=[[-0.1, -0.2], [-0.3]])
    first, second = units([made], ZeroConfig(kl_coef=0.1))
    assert first.columns["old_logp"] == (-0.1, -0.2) == first.columns["engine_logp"]
    assert second.columns["old_logp"] == (-0.3,)


def test_recomputed_old_logprobs_and_truncated_importance_weights():
    columns = {"old_logp": (-1.0, -1.0), "engine_logp": (-1.0, -1.0), "advantage": (1.0, 1.0)}
    trees = [
        Tree((1,), [Unit((2, 3), columns), Unit((4, 5), columns)]),
        Tree((1,), [Unit((6, 7), columns)]),
    ]
    values = [[-1.0, -0.5], [-3.0, 0.0], [-2.0, -1.1]]
    made = recompute_old(trees, values, truncated_is=2.0)
    found = [u for tree in made for u in tree.units]
    assert [list(u.columns["old_logp"]) for u in found] == values
    wanted = [
        [1.0, math.exp(0.5)],
        [math.exp(-2.0), 2.0],  # e^1 is cut at 2
        [math.exp(-1.0), math.exp(-0.1)],
    ]
    for unit, weights in zip(found, wanted, strict=True):
        assert unit.columns["is_weight"] == pytest.approx(weights)
        assert unit.columns["engine_logp"] == (-1.0, -1.0)
        assert unit.columns["advantage"] == (1.0, 1.0)
    assert [t.token_ids for t in made] == [(1,), (1,)]
    off = recompute_old(trees, values, truncated_is=0.0)
    assert "is_weight" not in off[0].units[0].columns
    assert "is_weight" not in trees[0].units[0].columns  # the given ones are not edited


def test_an_answer_without_tokens_has_no_part():
    made = group("a", PROMPT, [[], [7]], [1.0, 0.0])
    assert [u.token_ids for u in units([made], OFF)] == [(7,)]
