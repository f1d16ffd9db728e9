"""Supervised training, on the same optimizer step as reinforcement learning. DeepSeek-R1 §2.3.1, §2.3.3.

An example is a prompt and the answer to be learned; the loss is the cross-entropy of the answer's tokens
alone, every one of them, thinking included, averaged over the tokens of the whole optimizer step (so it
does not depend on how examples are packed). Examples lie packed in one stream, without padding; each sees
itself only.

Holds not: where examples come from (data/dialogues.py), the stage around it (stages/sft.py).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from aha.data.order import Order
from aha.errors import RunError
from aha.train.batch import Tree, Unit, micro_batches, to_batch
from aha.train.step import StepResult, Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One answer to learn."""

    id: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    """The answer with the token that ends it; all of them are trained."""
    domain: str = ""

    def __post_init__(self) -> None:
        if not self.token_ids:
            raise ValueError(f"example {self.id}: nothing of it would be trained")


def to_trees(examples: Sequence[Example]) -> list[Tree]:
    """The examples of one optimizer step with their weight in its loss; each trained token the same."""
    tokens = sum(len(example.token_ids) for example in examples)
    return [
        Tree(
            example.prompt_ids,
            [Unit(example.token_ids, {"ce_weight": (1.0 / tokens,) * len(example.token_ids)})],
        )
        for example in examples
    ]


T = TypeVar("T")


class Lessons(Generic[T]):
    """Examples of any kind in the order they are learned: epoch after epoch, each in an order of its own.

    Args:
        per_step: examples of an optimizer step. The last step of all may have fewer.
    """

    def __init__(self, examples: Sequence[T], *, per_step: int, epochs: float, seed: int):
        if not examples:
            raise RunError("there is no example to learn from")
        self.examples = examples
        self.order = Order(len(examples), seed)
        self.per_step = per_step
        self.total = max(1, math.ceil(len(examples) * epochs))
        """Examples in all steps."""
        self.steps = math.ceil(self.total / per_step)

    def at(self, step: int) -> list[T]:
        """The examples of a step, 0-based: a pure function of the data, the seed and the step."""
        first = step * self.per_step
        places = range(first, min(first + self.per_step, self.total))
        return [self.examples[self.order.take(1, place)[0][0]] for place in places]


def learn(trainer: Trainer, lessons: Lessons[Example], step: int) -> StepResult:
    """One optimizer step; its metrics under their declared names (`sft/...`, `optim/...`)."""
    examples = lessons.at(step)
    result = trainer.step(to_trees(examples), step, on_policy=False)
    metrics = dict(result.metrics)
    metrics["sft/loss"] = metrics.pop("policy/loss")
    metrics.pop("policy/entropy/mean", None)
    metrics["sft/examples/sum"] = float(len(examples))
    metrics["data/epoch"] = float(step * lessons.per_step // len(lessons.examples))
    return StepResult(metrics=metrics, made=result.made)


@torch.no_grad()
def loss(
    trainer: Trainer,
    examples: Sequence[Example],
    *,
    asked: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Mean cross-entropy per trained token, nats: of all (`all`) and by domain.

    `asked` is looked at between micro-batches; True ends it early with {}.
    """
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    device = next(trainer.policy.parameters()).device
    domains = iter(example.domain for example in examples)
    for trees in micro_batches(to_trees(examples), trainer.budget):
        if asked():
            return {}
        batch = to_batch(trees, device=device)
        logp = trainer.policy(batch.stream, 1.0)[0].double().cpu()
        at = 0
        for tree in trees:
            length = len(tree.units[0].token_ids)
            total = -float(logp[at : at + length].sum())
            at += length
            for name in {"all", next(domains)} - {""}:
                sums[name] = sums.get(name, 0.0) + total
                counts[name] = counts.get(name, 0) + length
    return {name: sums[name] / counts[name] for name in sums}
