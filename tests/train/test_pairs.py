"""Training on pairs: loss and gradient are those of one row at a time, however pairs are packed."""

import math

import pytest
import tiny
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.config import OptimConfig
from aha.train.optim import Optimizer
from aha.train.pairs import (
    Anchored,
    DpoOptions,
    PairExample,
    PairTrainer,
    Side,
    micro_batches,
    trees_of,
)


def pair(prompt, chosen, rejected, name="p", other_prompt=None):
    return PairExample(
        id=name,
        chosen=Side(prompt_ids=tuple(prompt), token_ids=tuple(chosen)),
        rejected=Side(prompt_ids=tuple(other_prompt or prompt), token_ids=tuple(rejected)),
    )


PAIRS = [
    pair((5, 6, 7), (8, 9, 1), (10, 1), "a"),
    pair((11,), (12, 1), (13, 14, 15, 16, 1), "b"),
    pair((20, 21, 22), (24, 25, 1), (26, 27), "c", other_prompt=(20, 21)),
    pair((30, 31), (1,), (32, 33, 34, 1), "d"),
]
OPTIONS = {
    "plain": DpoOptions(beta=0.5),
    "smoothed": DpoOptions(beta=0.5, label_smoothing=0.2),
    "by_length": DpoOptions(beta=2.0, length_normalise=True),
    "with_sft": DpoOptions(beta=0.5, sft_coef=0.7),
}


def trainer(policy, options=OPTIONS["plain"], *, budget=10_000, lr=1e-2, total=30):
    optimizer = Optimizer(policy, OptimConfig(lr=lr), total)
    return PairTrainer(policy, optimizer, options=options, budget=budget)


def elsewhere(pairs, seed=9):
    """The pairs anchored on another model, so that no margin is 0."""
    return trainer(tiny.fresh(seed=seed)).anchor(pairs)


def slow(policy, anchored, options):
    """(loss, gradients): one whole forward pass of transformers' own for each answer."""
    policy.zero_grad()
    total = torch.zeros((), dtype=torch.float64)
    tokens = sum(len(one.chosen) for one in anchored)
    for one in anchored:
        margin = torch.zeros((), dtype=torch.float64)
        for side, reference, sign in (
            (one.pair.chosen, one.chosen, 1),
            (one.pair.rejected, one.rejected, -1),
        ):
            logp = tiny.slow_logprobs(policy.causal, side.prompt_ids, side.token_ids)
            ratio = (logp - torch.tensor(reference)).sum()
            if options.length_normalise:
                ratio = ratio / len(reference)
            margin = margin + sign * options.beta * ratio
            if sign == 1:
                total = total - options.sft_coef * logp.sum() / tokens
        share = options.label_smoothing
        loss = -(1 - share) * F.logsigmoid(margin) - share * F.logsigmoid(-margin)
        total = total + loss / len(anchored)
    total.backward()
    found = {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    return float(total.detach()), found


def caught(made, anchored):
    """Metrics and gradients of a step, without its update."""
    grads = {}

    def catch(number):
        for name, master in made.optimizer.masters.items():
            grads[name] = master.grad.clone()
        made.optimizer.forget()
        return 0.0, 0.0, True

    made.optimizer.step = catch
    return made.step(anchored, 0), grads


@pytest.mark.parametrize("kind", ["llama", "deepseek_v3"])
@pytest.mark.parametrize("name", OPTIONS)
def test_loss_and_gradient_do_not_depend_on_the_packing(kind, name):
    """Budgets: a pair a micro-batch, two, all; the slow form knows no packing and no shared prompt."""
    options = OPTIONS[name]
    anchored = elsewhere(PAIRS)
    wanted, slopes = slow(tiny.fresh(kind), anchored, options)
    for budget in (1, 22, 10_000):
        made = trainer(tiny.fresh(kind), options, budget=budget)
        result, grads = caught(made, anchored)
        tokens = sum(len(one.chosen) for one in anchored)
        loss = result.metrics["dpo/loss"] - options.sft_coef * result.metrics["dpo/chosen/mean"]
        assert loss == pytest.approx(wanted, rel=1e-5)
        assert result.metrics["optim/tokens/sum"] == tokens + 13
        for key, slope in slopes.items():
            torch.testing.assert_close(grads[key], slope, rtol=1e-4, atol=1e-6)


def test_metrics_by_hand():
    """Margins and means from log-probabilities that transformers' own forward gives."""
    policy, options = tiny.fresh(), OPTIONS["plain"]
    anchored = elsewhere(PAIRS)
    made = trainer(policy, options)
    found = made.measure(anchored)
    margins, chosen, rejected, squares = [], [], [], []
    with torch.no_grad():
        for one in anchored:
            own = [
                tiny.slow_logprobs(policy.causal, side.prompt_ids, side.token_ids)
                for side in one.pair.sides
            ]
            gaps = [
                a - torch.tensor(b, dtype=torch.float64)
                for a, b in zip(own, (one.chosen, one.rejected), strict=True)
            ]
            margins.append(0.5 * float(gaps[0].sum() - gaps[1].sum()))
            chosen += own[0].tolist()
            rejected += own[1].tolist()
            squares += torch.cat(gaps).square().tolist()
    assert found["margin/mean"] == pytest.approx(sum(margins) / 4, rel=1e-4)
    assert found["accuracy"] == sum(m > 0 for m in margins) / 4
    assert found["chosen/mean"] == pytest.approx(sum(chosen) / len(chosen), rel=1e-5)
    assert found["rejected/mean"] == pytest.approx(sum(rejected) / len(rejected), rel=1e-5)
    assert found["kl/mean"] == pytest.approx(sum(squares) / len(squares) / 2, rel=1e-4)


def test_at_the_reference_every_margin_is_0():
    """The first step starts from log 2 and a tie, or the reference is not the model at the start."""
    made = trainer(tiny.fresh())
    found = made.measure(made.anchor(PAIRS))
    assert found["loss"] == pytest.approx(math.log(2), abs=1e-7)
    assert (found["accuracy"], found["margin/mean"], found["kl/mean"]) == (0.5, 0, 0)


def test_it_learns_the_preference_and_stays_at_the_pair():
    made = trainer(tiny.fresh(), DpoOptions(beta=0.1), lr=3e-3)
    anchored = made.anchor(PAIRS)
    before = made.measure(anchored)
    for step in range(30):
        made.step(anchored, step)
    after = made.measure(anchored)
    assert after["accuracy"] == 1
    assert after["loss"] < 0.6 * before["loss"]
    assert after["rejected/mean"] < before["rejected/mean"]


def test_the_sft_term_holds_the_chosen_answers_up():
    found = {}
    for coefficient in (0.0, 1.0):
        made = trainer(tiny.fresh(), DpoOptions(beta=0.1, sft_coef=coefficient), lr=3e-3)
        anchored = made.anchor(PAIRS)
        for step in range(20):
            made.step(anchored, step)
        found[coefficient] = made.measure(anchored)["chosen/mean"]
    assert found[1.0] > found[0.0]


def test_a_loss_that_is_not_finite_changes_nothing():
    policy = tiny.fresh()
    made = trainer(policy)
    one = made.anchor(PAIRS[:1])[0]
    bad = Anchored(pair=one.pair, chosen=(math.nan,) * len(one.chosen), rejected=one.rejected)
    before = {n: p.detach().clone() for n, p in policy.named_parameters()}
    result = made.step([bad], 0)
    assert not result.made
    assert all(torch.equal(p, before[n]) for n, p in policy.named_parameters())
    assert made.step([one], 0).made  # and no gradient of it is left behind


sizes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.booleans())


@settings(max_examples=100, deadline=None)
@given(shape=st.lists(sizes, min_size=1, max_size=8), budget=st.integers(1, 40))
def test_a_pair_is_never_split(shape, budget):
    pairs = [
        pair([2] * p, [3] * a, [4] * b, other_prompt=[2] * (p + 1) if apart else None)
        for p, a, b, apart in shape
    ]
    batches = micro_batches(pairs, budget)
    assert [place for places in batches for place in places] == list(range(len(pairs)))
    for places in batches:
        tokens = sum(tree.tokens for place in places for tree in trees_of(pairs[place]))
        assert tokens <= budget or len(places) == 1
    for one, (p, a, b, apart) in zip(pairs, shape, strict=True):
        assert sum(tree.tokens for tree in trees_of(one)) == p + a + b + (p + 1 if apart else 0)


def test_what_is_no_pair_is_refused():
    with pytest.raises(ValueError, match="needs a prompt and an answer"):
        Side(prompt_ids=(1,), token_ids=())
    with pytest.raises(ValueError, match="without a pair"):
        trainer(tiny.fresh()).step([], 0)
