import copy
import math

import pytest
import torch
from small_policies import engine, gradients, group, trainer
from tiny import fresh as policy

from aha.config import ZeroConfig
from aha.train.batch import Tree, Unit
from aha.train.credit import recompute_old, to_trees
from aha.train.reference import Reference

PROMPT = [5, 6, 7]


def weights(of):
    return copy.deepcopy(of.state_dict())


def same(a, b):
    return all(torch.equal(t, b[n]) for n, t in a.items())


def columns(n, *, weight=1.0, advantage=1.0, old=(-1.0,), **more):
    old = list(old) * (n if len(old) == 1 else 1)
    return {
        "pg_weight": [weight] * n,
        "advantage": [advantage] * n,
        "old_logp": old,
        "engine_logp": old,
        **more,
    }


@pytest.mark.parametrize("budget", [10_000, 5])  # the damage in one micro-batch of one, or of two
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_loss_that_is_not_finite_changes_nothing(budget, dtype):
    of = policy(dtype=dtype)
    worker = trainer(of, budget=budget)
    before, state = weights(of), {n: t.clone() for n, t in worker.optimizer.state().items()}
    trees = [
        Tree(PROMPT, [Unit((8, 9), columns(2))]),
        Tree(PROMPT, [Unit((8, 9), columns(2, old=(math.nan, 0.0)))]),
    ]
    result = worker.step(trees, 0, on_policy=True)
    assert not result.made
    assert math.isnan(result.metrics["optim/grad_norm"])
    assert same(before, weights(of))
    assert all(torch.equal(t, worker.optimizer.state()[n]) for n, t in state.items())
    assert all(m.grad is None for m in worker.optimizer.masters.values())
    # the next step is as if that one had never been
    twin = policy(dtype=dtype)
    good = [Tree(PROMPT, [Unit((8, 9), columns(2))])]
    assert worker.step(good, 0, on_policy=True).made
    trainer(twin, budget=budget).step(good, 0, on_policy=True)
    assert same(weights(of), weights(twin))


@pytest.mark.parametrize("losses", [[math.nan, 0.5], [0.5, math.inf], [-math.inf, 0.5]])
def test_one_micro_batch_whose_loss_is_not_finite_is_enough(monkeypatch, losses):
    of = policy()
    worker = trainer(of, budget=5)
    before, real, given = weights(of), worker._backward, iter(losses)

    def finite_gradient(*args):
        real(*args)
        return next(given)

    monkeypatch.setattr(worker, "_backward", finite_gradient)
    trees = [Tree(PROMPT, [Unit((8, 9), columns(2))])] * 2
    assert not worker.step(trees, 0, on_policy=True).made
    assert same(before, weights(of))


def test_a_finite_loss_with_a_gradient_that_is_not_changes_nothing():
    of = policy()
    worker = trainer(of)
    before = weights(of)
    of.model.lm_head.weight.register_hook(lambda gradient: gradient * math.inf)
    result = worker.step([Tree(PROMPT, [Unit((8, 9), columns(2))])], 0, on_policy=True)
    assert math.isfinite(result.metrics["policy/loss"])
    assert not result.made
    assert same(before, weights(of))


def test_nothing_informative_works_and_changes_nothing():
    of = policy()
    worker = trainer(of, reference=Reference(of), optim={"weight_decay": 0.5})
    before = weights(of)
    groups = [group("a", PROMPT, [[8], [9]], [1.0, 1.0])]
    trees = to_trees(groups, ZeroConfig(kl_coef=0.0))
    assert trees == []
    assert worker.logprobs(trees) == []
    result = worker.step(trees, 0, on_policy=True)
    assert result.made
    assert same(before, weights(of))
    assert result.metrics["policy/loss"] == 0.0
    assert result.metrics["optim/tokens/sum"] == 0.0
    assert result.metrics["optim/grad_norm"] == 0.0
    assert all(math.isfinite(v) for v in result.metrics.values())
    assert "policy/entropy/mean" not in result.metrics  # nothing was computed: not known, not 0
    assert "policy/gap/mean" not in result.metrics


def test_metrics_by_hand():
    of = policy()
    answers = [(8, 9), (10, 11, 12)]
    known = engine(of).score([PROMPT, PROMPT], answers)
    shift = [[0.0, 0.5], [-0.5, 0.1, 0.5]]  # log ratios: now minus old
    old = [[p - s for p, s in zip(a, b, strict=True)] for a, b in zip(known, shift, strict=True)]
    units = [
        Unit(answers[0], columns(2, weight=0.25, advantage=1.0, old=old[0])),
        Unit(answers[1], columns(3, weight=0.25, advantage=-2.0, old=old[1])),
    ]
    ratio = [math.exp(s) for row in shift for s in row]
    gain = [
        ratio[0],
        min(ratio[1], 1.2),
        min(ratio[2] * -2, 0.8 * -2),
        ratio[3] * -2,
        ratio[4] * -2,
    ]
    full = torch.log_softmax(
        torch.stack(
            [
                of_logits(of, [*PROMPT, *answer[:t]])
                for answer in answers
                for t in range(len(answer))
            ]
        ),
        -1,
    )
    for budget in (10_000, 6):
        metrics = (
            trainer(of, budget=budget, optim={"lr": 1e-9})
            .step([Tree(PROMPT, units)], 0, on_policy=True)
            .metrics
        )
        assert metrics["policy/loss"] == pytest.approx(-0.25 * sum(gain), rel=1e-4)
        assert metrics["policy/ratio/mean"] == pytest.approx(sum(ratio) / 5, rel=1e-4)
        assert metrics["policy/ratio/max"] == pytest.approx(math.exp(0.5), rel=1e-4)
        assert metrics["policy/clip_high/share"] == pytest.approx(1 / 5)  # token 2 of answer 1
        assert metrics["policy/clip_low/share"] == pytest.approx(1 / 5)  # token 1 of answer 2
        assert metrics["policy/gap/mean"] == pytest.approx((0.5 + 0.5 + 0.1 + 0.5) / 5, rel=1e-3)
        assert metrics["policy/gap/max"] == pytest.approx(0.5, rel=1e-3)
        entropy = -(full.exp() * full).sum(-1).mean()
        assert metrics["policy/entropy/mean"] == pytest.approx(float(entropy), rel=1e-4)
        assert metrics["optim/tokens/sum"] == 5
        assert metrics["optim/lr"] == 1e-9
        assert "policy/kl/mean" not in metrics


def of_logits(of, ids):
    model = copy.deepcopy(of.model)
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0, -1].float()


def test_kl_metric_and_no_gap_when_the_weights_have_moved():
    of = policy()
    reference = Reference(policy(seed=1))
    worker = trainer(of, reference=reference, optim={"lr": 1e-9})
    answer = (8, 9, 10)
    ours = torch.tensor(engine(of).score([PROMPT], [answer])[0])
    theirs = torch.tensor(engine(reference.policy).score([PROMPT], [answer])[0])
    unit = Unit(answer, columns(3, weight=0.0, kl_weight=[0.1] * 3))
    metrics = worker.step([Tree(PROMPT, [unit])], 0, on_policy=False).metrics
    k3 = (torch.exp(theirs - ours) - (theirs - ours) - 1).mean()
    assert metrics["policy/kl/mean"] == pytest.approx(float(k3), rel=1e-4)
    assert metrics["policy/loss"] == pytest.approx(0.1 * 3 * float(k3), rel=1e-4)
    assert "policy/gap/mean" not in metrics


def test_the_trainers_own_logprobs_come_back_unit_by_unit():
    of = policy()
    answers = [(8, 9), (10,), (11, 12, 13)]
    trees = [
        Tree(PROMPT, [Unit(a, columns(len(a))) for a in answers[:2]]),
        Tree([20], [Unit(answers[2], columns(3))]),
    ]
    wanted = engine(of).score([PROMPT, PROMPT, [20]], answers)
    for budget in (10_000, 5, 1):
        found = trainer(of, budget=budget).logprobs(trees)
        assert [len(row) for row in found] == [2, 1, 3]
        for a, b in zip(found, wanted, strict=True):
            assert a == pytest.approx(b, abs=1e-5)


def test_truncated_importance_weights_scale_the_gradient():
    """Both tokens of the one answer weighted 0.5 give half the gradient."""
    of = policy()
    worker = trainer(of)
    known = engine(of).score([PROMPT], [(8, 9)])
    engine_logp = [p + math.log(2) for p in known[0]]  # the engine thought them twice as likely
    trees = [Tree(PROMPT, [Unit((8, 9), columns(2, old=engine_logp))])]
    plain, whole = gradients(worker, recompute_old(trees, known, truncated_is=0.0))
    corrected, half = gradients(worker, recompute_old(trees, known, truncated_is=3.0))
    assert corrected == pytest.approx(plain / 2, rel=1e-5)
    for name in whole:
        torch.testing.assert_close(half[name], whole[name] / 2, rtol=1e-4, atol=1e-6)


def test_one_step_raises_what_was_rewarded_and_lowers_the_rest():
    of = policy()
    worker = trainer(of, optim={"lr": 1e-2})
    answers = [(8, 9, 1), (10, 11, 1)]
    before = engine(of).score([PROMPT, PROMPT], answers)
    groups = [group("a", PROMPT, answers, [1.0, 0.0], logprobs=before)]
    for number in range(3):
        assert worker.step(to_trees(groups, ZeroConfig(kl_coef=0.0)), number, on_policy=False).made
    after = engine(of).score([PROMPT, PROMPT], answers)
    assert sum(after[0]) > sum(before[0])
    assert sum(after[1]) < sum(before[1])
