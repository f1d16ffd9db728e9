"""Training on pairs of answers with direct preference optimisation (rl/losses.py: `dpo`).

A pair is a prompt with a chosen and a rejected answer; the packer never splits one, and the prompt is
computed once for both where it is the same. The reference is the model at the start: its
log-probabilities of every answer are computed once (`anchor`) and travel with the pair, so no second
model is kept. The loss of a step is the mean over its pairs, however they lie in micro-batches; with
`sft_coef` the cross-entropy of the chosen answers, averaged over their tokens in the step, is added.

Holds not:       where pairs come from (stages/dpo_data.py), the stage (stages/dpo.py).
Must stay true:  a loss or gradient that is not finite changes nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aha.models.policy import Policy
from aha.rl.kl import k2
from aha.rl.losses import answer_sums, dpo
from aha.train import memory
from aha.train.batch import Batch, Tree, Unit, to_batch
from aha.train.optim import Optimizer
from aha.train.step import StepResult

Logprobs = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One answer as tokens, with what stands before it."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    """The answer with the token that ends it, if it has one."""

    def __post_init__(self) -> None:
        if not self.prompt_ids or not self.token_ids:
            raise ValueError("a side of a pair needs a prompt and an answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairExample:
    """A pair to learn."""

    id: str
    chosen: Side
    rejected: Side
    domain: str = ""

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.chosen, self.rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchored:
    """A pair and what the reference says of it, token by token, nats."""

    pair: PairExample
    chosen: Logprobs
    rejected: Logprobs


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoOptions:
    """As in `[stage.NAME]` of kind dpo."""

    beta: float = 0.1
    label_smoothing: float = 0.0
    length_normalise: bool = False
    sft_coef: float = 0.0


def trees_of(
    pair: PairExample, columns: Sequence[dict[str, Sequence[float]]] = ({}, {})
) -> list[Tree]:
    """A pair as one tree, or as two where the prompts differ; chosen first. `columns`: of each side."""
    chosen, rejected = (
        Unit(side.token_ids, own) for side, own in zip(pair.sides, columns, strict=True)
    )
    if pair.chosen.prompt_ids == pair.rejected.prompt_ids:
        return [Tree(pair.chosen.prompt_ids, [chosen, rejected])]
    return [Tree(pair.chosen.prompt_ids, [chosen]), Tree(pair.rejected.prompt_ids, [rejected])]


def micro_batches(pairs: Sequence[PairExample], budget: int) -> list[list[int]]:
    """Places of the pairs in micro-batches of at most `budget` tokens, in order.

    A pair longer than the budget gets a micro-batch of its own.
    """
    batches: list[list[int]] = []
    size = 0
    for place, pair in enumerate(pairs):
        tokens = sum(tree.tokens for tree in trees_of(pair))
        if not batches or size + tokens > budget:
            batches.append([])
            size = 0
        batches[-1].append(place)
        size += tokens
    return batches


@dataclass(slots=True)
class _Seen:
    """Numbers of single pairs and answers of a step, of which the metrics are made."""

    losses: list[float]
    margins: list[float]
    chosen: list[float]
    rejected: list[float]
    tokens: list[int]
    """Of the chosen and of the rejected answers."""
    distance: float = 0.0

    def metrics(self) -> dict[str, float]:
        count, tokens = len(self.losses), sum(self.tokens)
        wins = sum((margin > 0) + 0.5 * (margin == 0) for margin in self.margins)
        return {
            "loss": sum(self.losses) / count,
            "accuracy": wins / count,
            "margin/mean": sum(self.margins) / count,
            "chosen/mean": sum(self.chosen) / self.tokens[0],
            "rejected/mean": sum(self.rejected) / self.tokens[1],
            "kl/mean": self.distance / tokens,
        }


class PairTrainer:
    """Holds the policy and its optimizer.

    Args:
        budget: tokens of a micro-batch.
    """

    def __init__(
        self, policy: Policy, optimizer: Optimizer, *, options: DpoOptions, budget: int
    ) -> None:
        self.policy, self.optimizer = policy, optimizer
        self.options, self.budget = options, budget

    def step(self, pairs: Sequence[Anchored], number: int) -> StepResult:
        """Update with the gradient of the mean loss over the pairs.

        Args:
            number: 0-based number of the step, for the learning rate.
        """
        if not pairs:
            raise ValueError("a step without a pair")
        seen, finite = self._all(pairs, learn=True)
        if finite:
            norm, lr, made = self.optimizer.step(number)
        else:
            self.optimizer.forget()
            norm, lr, made = math.nan, 0.0, False
        metrics = {f"dpo/{name}": value for name, value in seen.metrics().items()}
        metrics |= {
            "dpo/examples/sum": float(len(pairs)),
            "optim/grad_norm": norm,
            "optim/lr": lr,
            "optim/tokens/sum": float(sum(seen.tokens)),
        }
        return StepResult(metrics=metrics, made=made)

    @torch.no_grad()
    def measure(self, pairs: Sequence[Anchored]) -> dict[str, float]:
        """`loss`, `accuracy`, `margin/mean`, `chosen/mean`, `rejected/mean`, `kl/mean` of the pairs."""
        return self._all(pairs, learn=False)[0].metrics()

    @torch.no_grad()
    def anchor(self, pairs: Sequence[PairExample]) -> list[Anchored]:
        """The pairs with the log-probabilities of the present policy, which thereby is the reference."""
        made: list[Anchored] = []
        for places in micro_batches(pairs, self.budget):
            batch = self._batch([tree for place in places for tree in trees_of(pairs[place])])
            values = self.policy(batch.stream, 1.0)[0].tolist()
            for place in places:
                pair = pairs[place]
                middle = len(pair.chosen.token_ids)
                end = middle + len(pair.rejected.token_ids)
                chosen, rejected = tuple(values[:middle]), tuple(values[middle:end])
                made.append(Anchored(pair=pair, chosen=chosen, rejected=rejected))
                values = values[end:]
        return made

    def _all(self, pairs: Sequence[Anchored], *, learn: bool) -> tuple[_Seen, bool]:
        """What the step shows, and whether all of it is finite; `learn`: gradients are left behind."""
        lengths = [len(p.chosen) for p in pairs], [len(p.rejected) for p in pairs]
        seen = _Seen([], [], [], [], [sum(lengths[0]), sum(lengths[1])])
        finite = True
        for places in micro_batches([one.pair for one in pairs], self.budget):
            some = [pairs[place] for place in places]
            batch = self._batch(
                [tree for one in some for tree in trees_of(one.pair, _columns(one))]
            )
            logp, _ = self.policy(batch.stream, 1.0)
            loss, each = self._loss(logp, batch, len(pairs), seen)
            if learn:
                loss.backward()
                memory.relieve()
            finite = finite and math.isfinite(float(loss.detach()))
            seen.losses += each.tolist()
        return seen, finite

    def _loss(self, logp: Tensor, batch: Batch, pairs: int, seen: _Seen) -> tuple[Tensor, Tensor]:
        """The micro-batch's part of the loss of the step, and the losses of its pairs [P]."""
        options, reference = self.options, batch.columns["ref_logp"]
        mean = options.length_normalise
        policy = answer_sums(logp, batch.unit, batch.num_units, mean=mean)
        anchored = answer_sums(reference, batch.unit, batch.num_units, mean=mean)
        each, margin = dpo(
            policy[::2],
            policy[1::2],
            anchored[::2],
            anchored[1::2],
            options.beta,
            label_smoothing=options.label_smoothing,
        )
        loss = each.sum() / pairs
        chosen = batch.columns["chosen"].double()
        if options.sft_coef:
            # the denominator is that of the step: all tokens of chosen answers, in every micro-batch
            entropy = -(chosen * logp.double()).sum() / seen.tokens[0]
            loss = loss + options.sft_coef * entropy
        seen.margins += margin.tolist()
        with torch.no_grad():
            seen.chosen.append(float((chosen * logp.double()).sum()))
            seen.rejected.append(float(((1 - chosen) * logp.double()).sum()))
            seen.distance += float(k2(logp.double(), reference.double()).sum())
        return loss, each.detach()

    def _batch(self, trees: Sequence[Tree]) -> Batch:
        return to_batch(trees, device=next(self.policy.parameters()).device)


def _columns(one: Anchored) -> tuple[dict[str, Sequence[float]], dict[str, Sequence[float]]]:
    """Of the chosen and of the rejected answer: the reference, and which of the two it is."""
    return (
        {"ref_logp": one.chosen, "chosen": (1.0,) * len(one.chosen)},
        {"ref_logp": one.rejected, "chosen": (0.0,) * len(one.rejected)},
    )
