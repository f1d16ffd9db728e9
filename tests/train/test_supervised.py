"""Supervised training: the loss is the plain cross-entropy of the answers, however they are packed."""

import pytest
import tiny
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small_policies import KINDS, gradients, trainer

from aha.errors import RunError
from aha.train.supervised import Example, Lessons, learn, loss, to_trees


def example(prompt, answer, name="e", domain=""):
    return Example(id=name, prompt_ids=tuple(prompt), token_ids=tuple(answer), domain=domain)


EXAMPLES = [
    example((5, 6, 7), (8, 9, 1), "a", "math"),
    example((11,), (12, 1), "b", "code"),
    example((20, 21, 22, 23), (24, 25, 26, 27, 28, 1), "c", "math"),
    example((30, 31), (1,), "d"),
]


def slow(policy, examples):
    """(loss, its gradient by name): one row at a time through transformers' own forward, prompt masked."""
    policy.zero_grad()
    tokens = sum(len(e.token_ids) for e in examples)
    total = torch.zeros(())
    with tiny.plain(policy.causal) as model:
        for e in examples:
            ids = torch.tensor([[*e.prompt_ids, *e.token_ids]])
            labels = torch.tensor([[*([-100] * len(e.prompt_ids)), *e.token_ids]])
            logits = model(input_ids=ids, use_cache=False).logits
            total = total + F.cross_entropy(logits[0, :-1], labels[0, 1:], reduction="sum") / tokens
        total.backward()
    found = {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    return float(total.detach()), found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("budget", [1, 10, 10_000])
def test_loss_and_gradient_are_those_of_masked_cross_entropy(kind, budget):
    policy = tiny.fresh(kind)
    wanted, slopes = slow(policy, EXAMPLES)
    made = trainer(policy, budget=budget)
    total, found = gradients(made, to_trees(EXAMPLES))
    result = learn(made, Lessons(EXAMPLES, per_step=4, epochs=1, seed=0), 0)
    assert result.metrics["sft/loss"] == pytest.approx(wanted, rel=1e-5)
    assert result.metrics["optim/tokens/sum"] == 12
    assert result.made
    assert total == pytest.approx(wanted, rel=1e-5)
    assert slopes.keys() <= found.keys()
    for name, slope in slopes.items():
        torch.testing.assert_close(found[name], slope, rtol=1e-4, atol=1e-6)


def test_the_held_out_loss_is_by_token_and_by_domain():
    policy = tiny.fresh()
    made = trainer(policy, budget=8)
    found = loss(made, EXAMPLES)
    assert found.keys() == {"all", "math", "code"}
    assert found["all"] == pytest.approx(slow(policy, EXAMPLES)[0], rel=1e-5)
    assert found["math"] == pytest.approx(slow(policy, [EXAMPLES[0], EXAMPLES[2]])[0], rel=1e-5)
    assert found["code"] == pytest.approx(slow(policy, [EXAMPLES[1]])[0], rel=1e-5)
    assert loss(made, EXAMPLES, asked=lambda: True) == {}


def test_the_loss_falls():
    made = trainer(tiny.fresh(), total=30, optim={"lr": 3e-3})
    lessons = Lessons(EXAMPLES, per_step=2, epochs=15, seed=0)
    losses = [learn(made, lessons, step).metrics["sft/loss"] for step in range(lessons.steps)]
    assert lessons.steps == 30
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 30),
    per_step=st.integers(1, 9),
    epochs=st.sampled_from([0.3, 1, 1.5, 2, 3]),
    seed=st.integers(0, 5),
)
def test_every_example_is_learned_as_often_as_asked(n, per_step, epochs, seed):
    examples = [example((5,), (6, 1), str(i)) for i in range(n)]
    lessons = Lessons(examples, per_step=per_step, epochs=epochs, seed=seed)
    seen = [e.id for step in range(lessons.steps) for e in lessons.at(step)]
    assert len(seen) == max(1, -(-n * epochs // 1))
    for first in range(
        0, len(seen), n
    ):  # each epoch is a permutation, the last one may be cut short
        part = seen[first : first + n]
        assert len(set(part)) == len(part)
    assert all(len(lessons.at(step)) == per_step for step in range(lessons.steps - 1))
    again = Lessons(examples, per_step=per_step, epochs=epochs, seed=seed)
    assert [e.id for e in again.at(lessons.steps - 1)] == [
        e.id for e in lessons.at(lessons.steps - 1)
    ]


def test_an_example_without_an_answer_is_refused():
    with pytest.raises(ValueError, match="nothing of it would be trained"):
        example((5, 6), ())
    with pytest.raises(RunError, match="no example"):
        Lessons([], per_step=1, epochs=1, seed=0)
