"""Training a reward model: losses by hand, gradients as one row at a time gives them."""

import json
import math

import pytest
import tiny
import torch
from byte_words import tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.config import OptimConfig
from aha.models.reward_model import RewardModel
from aha.train.optim import Optimizer
from aha.train.preference import (
    LabelExample,
    PairExample,
    ScoreTrainer,
    label_losses,
    micro_batches,
    off_centre,
    pair_losses,
    score,
    summary,
)

KINDS = ("llama", "qwen2", "qwen3", "deepseek_v3")


def pair(chosen, rejected, name="p"):
    return PairExample(
        id=name,
        chosen_ids=tuple(chosen),
        rejected_ids=tuple(rejected),
        chosen_tokens=len(chosen),
        rejected_tokens=len(rejected),
    )


def label(ids, safe):
    return LabelExample(id="l", token_ids=tuple(ids), answer_tokens=len(ids), safe=safe)


PAIRS = [
    pair((5, 6, 7, 8), (5, 6, 9)),
    pair((11, 12), (11, 13, 14, 15, 16, 17)),
    pair((20,), (21, 22)),
    pair((30, 31, 32), (30, 33)),
    pair((*range(40, 60), 3), (*range(40, 60), 4, 5)),  # one question, computed once
    pair(
        (*range(40, 60), 6), (*range(40, 60), 6, 7)
    ),  # the same one; an answer that begins another
]
LABELS = [
    label((5, 6, 7), True),
    label((8,), False),
    label((9, 10, 11, 12, 13), False),
    label((14, 15), True),
]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny products only wait for each other."""
    kept = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(kept)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Language models of 97 words with weights that are not small."""
    made = {}
    for kind in KINDS:
        model = tiny.build(kind)
        model.set_attn_implementation("sdpa")
        folder = tmp_path_factory.mktemp(kind)
        model.save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        read = json.loads((folder / "config.json").read_text())
        assert read["architectures"][0].endswith("ForCausalLM")
        made[kind] = folder
    return made


def trainer(folder, *, budget=10_000, center=0.0, lr=1e-2, total=10, dtype="float32"):
    model = RewardModel.from_base(folder, dtype=dtype, seed=1)
    return ScoreTrainer(
        model, Optimizer(model.model, OptimConfig(lr=lr), total), budget=budget, center=center
    )


def caught(of, examples):
    """Metrics and accumulated gradient of a step, before the update."""
    found = {}

    def catch(number):
        found.update(
            {n: m.grad.clone() for n, m in of.optimizer.masters.items() if m.grad is not None}
        )
        of.optimizer.forget()
        return 1.0, 0.0, True

    of.optimizer.step = catch
    return of.step(examples, 0).metrics, found


def slow(of, examples, center=0.0):
    """(mean loss, gradient): transformers' own forward of each row alone, sigmoids written out."""
    model = of.model.model
    model.zero_grad()

    def alone(ids):
        with tiny.plain(model):
            return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, 0]

    losses = []
    extra = torch.zeros(())
    for one in examples:
        if isinstance(one, PairExample):
            better, worse = alone(one.chosen_ids), alone(one.rejected_ids)
            losses.append(-torch.log(1 / (1 + torch.exp(-(better - worse)))))
            extra = extra + center * (better + worse) ** 2
        else:
            p = 1 / (1 + torch.exp(-alone(one.token_ids)))
            losses.append(-torch.log(p) if one.safe else -torch.log(1 - p))
    mean = sum(losses) / len(losses)
    (mean + extra / len(losses)).backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return float(mean.detach()), found


def test_losses_by_hand():
    # margins ln 3, 0, -ln 3: sigma 3/4, 1/2, 1/4
    chosen = torch.tensor([math.log(3), 2.0, 0.0])
    rejected = torch.tensor([0.0, 2.0, math.log(3)])
    wanted = torch.tensor([math.log(4 / 3), math.log(2), math.log(4)])
    torch.testing.assert_close(pair_losses(chosen, rejected), wanted)
    scores = torch.tensor([math.log(3), math.log(3)])
    # p(safe) = 3/4: -log 3/4 if it is safe, -log 1/4 if not
    found = label_losses(scores, torch.tensor([True, False]))
    torch.testing.assert_close(found, torch.tensor([math.log(4 / 3), math.log(4)]))
    torch.testing.assert_close(
        off_centre(torch.tensor([1.0, -2.0]), torch.tensor([2.0, 2.0])), torch.tensor([9.0, 0.0])
    )


def test_losses_of_sure_models_are_finite():
    far = torch.tensor([1e4, -1e4], requires_grad=True)
    losses = pair_losses(far, torch.zeros(2))
    torch.testing.assert_close(losses, torch.tensor([0.0, 1e4]))
    losses.sum().backward()
    torch.testing.assert_close(far.grad, torch.tensor([0.0, -1.0]))
    torch.testing.assert_close(
        label_losses(far, torch.tensor([False, False])), torch.tensor([1e4, 0.0])
    )


def test_only_the_difference_matters():
    a, b = torch.randn(8), torch.randn(8)
    torch.testing.assert_close(pair_losses(a + 3, b + 3), pair_losses(a, b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("examples", [PAIRS, LABELS], ids=["pairs", "labels"])
@pytest.mark.parametrize("budget", [1, 24, 10_000])  # one at a time, some, all together
def test_loss_and_gradient_are_those_of_single_rows(folders, kind, examples, budget):
    of = trainer(folders[kind], budget=budget)
    wanted, slopes = slow(of, examples)
    metrics, found = caught(of, examples)
    assert metrics["rm/loss"] == pytest.approx(wanted, rel=1e-5)
    assert metrics["rm/examples/sum"] == len(examples)
    assert metrics["optim/tokens/sum"] == sum(len(row) for one in examples for row in one.rows)
    assert slopes.keys() == found.keys()
    assert "score.weight" in found
    for name, slope in slopes.items():
        torch.testing.assert_close(found[name], slope, rtol=1e-4, atol=1e-6)


def test_the_centre_adds_its_gradient_and_leaves_the_logged_loss(folders):
    of = trainer(folders["llama"], budget=9, center=0.3)
    wanted, slopes = slow(of, PAIRS, center=0.3)
    metrics, found = caught(of, PAIRS)
    assert metrics["rm/loss"] == pytest.approx(wanted, rel=1e-5)
    for name, slope in slopes.items():
        torch.testing.assert_close(found[name], slope, rtol=1e-4, atol=1e-6)
    _, without = caught(trainer(folders["llama"]), PAIRS)
    assert not torch.allclose(without["score.weight"], found["score.weight"], atol=1e-3)


def test_accuracy_and_margin_are_counted_by_hand(folders):
    of = trainer(folders["llama"])
    scores = score(of.model, PAIRS, budget=10)
    margins = [a - b for a, b in scores]
    metrics, _ = caught(of, PAIRS)
    assert metrics["rm/accuracy"] == sum(m > 0 for m in margins) / 6
    assert metrics["rm/margin/mean"] == pytest.approx(sum(margins) / 6, rel=1e-5)
    found = summary(PAIRS, scores)
    assert found["loss"] == pytest.approx(metrics["rm/loss"], rel=1e-5)
    same = pair((5, 6), (5, 6))  # equal scores: nobody wins
    assert summary([same], score(of.model, [same], budget=10))["accuracy"] == 0.5
    labels = score(of.model, LABELS, budget=10)
    right = [(row[0] > 0) == one.safe for row, one in zip(labels, LABELS, strict=True)]
    assert summary(LABELS, labels)["accuracy"] == sum(right) / 4


def test_scores_come_in_order_whatever_the_budget(folders):
    model = trainer(folders["llama"]).model
    wide = score(model, PAIRS, budget=10_000)
    for budget in (1, 7, 12):
        found = score(model, PAIRS, budget=budget)
        for row, other in zip(wide, found, strict=True):
            assert row == pytest.approx(other, abs=1e-5)
    assert [len(row) for row in score(model, LABELS, budget=8)] == [1] * 4
    assert score(model, PAIRS, budget=5, asked=lambda: True) == []


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(1, 40), st.integers(1, 40)),
        min_size=1,
        max_size=20,
    ),
    st.integers(1, 300),
    st.booleans(),
)
def test_micro_batches_hold_every_pair_once_and_whole(sizes, budget, packed):
    """Within the budget as the model computes them, however much of a pair is shared."""
    examples = [
        pair([n, *range(common), *[1] * a], [n, *range(common), *[2] * b])
        for n, (common, a, b) in enumerate(sizes)
    ]
    model = object.__new__(RewardModel)  # counting tokens takes no weights
    model.packed = packed
    batches = micro_batches(model, examples, budget)
    assert sorted(place for batch in batches for place in batch) == list(range(len(examples)))
    for batch in batches:
        rows = [row for place in batch for row in examples[place].rows]
        assert len(batch) == 1 or model.tokens_for(rows) <= budget


def test_the_loss_falls_and_held_out_pairs_follow(folders):
    """Better answers end in token 40: learned from 24 pairs, it holds for eight that were not seen."""
    made = [pair((5 + i, 50 + i % 7, 40), (5 + i, 50 + i % 7, 41)) for i in range(32)]
    of = trainer(folders["llama"], lr=3e-3, total=30)
    before = summary(made[24:], score(of.model, made[24:], budget=100))["loss"]
    losses = [of.step(made[:24], step).metrics["rm/loss"] for step in range(30)]
    after = summary(made[24:], score(of.model, made[24:], budget=100))
    assert losses[-1] < 0.2 * losses[0]
    assert after["loss"] < 0.5 * before
    assert after["accuracy"] == 1


def test_bfloat16_weights_learn_through_float32_masters(folders):
    of = trainer(folders["llama"], dtype="bfloat16", lr=1e-3, total=20)
    losses = [of.step(PAIRS, step).metrics["rm/loss"] for step in range(20)]
    assert losses[-1] < 0.5 * losses[0]
    assert of.model.model.score.weight.dtype == torch.bfloat16


def test_what_is_not_finite_changes_nothing(folders):
    of = trainer(folders["llama"])
    kept = {n: p.clone() for n, p in of.model.model.named_parameters()}
    values = of.model.values
    of.model.values = lambda rows: values(rows) * math.nan
    result = of.step(PAIRS, 0)
    assert not result.made
    assert math.isnan(result.metrics["rm/loss"])
    assert all(torch.equal(kept[n], p) for n, p in of.model.model.named_parameters())
    of.model.values = values
    assert of.step(PAIRS, 0).made
    with pytest.raises(ValueError, match="without an example"):
        of.step([], 0)
    with pytest.raises(ValueError, match="pairs and labels"):
        of.step([PAIRS[0], LABELS[0]], 0)
