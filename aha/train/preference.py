"""Training a reward model: losses on its scores, and one optimizer step over pairs or labels.

Pairs: -log sigma(s_chosen - s_rejected) (Bradley-Terry; DeepSeek-R1 says "pairwise loss" only). Labels:
binary cross-entropy of sigma(s) against safe or not (point-wise, eq. 6). The loss of a step is the mean
over its examples, however they lie in micro-batches; a pair is never split between two.

Holds not:       where examples come from (data/preferences.py), the stage (stages/reward_model.py).
Must stay true:  one optimizer, the one that everything else uses; a loss or gradient that is not
                 finite changes nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from aha.models.reward_model import RewardModel
from aha.tally import TALLY
from aha.train import memory
from aha.train.optim import Optimizer
from aha.train.step import StepResult


@dataclass(frozen=True, slots=True, kw_only=True)
class PairExample:
    """A pair as the reward model reads it."""

    id: str
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    chosen_tokens: int
    """Tokens of the answer alone, without the question."""
    rejected_tokens: int
    domain: str = ""
    root: str = ""

    @property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        return self.chosen_ids, self.rejected_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelExample:
    """A labelled response as the reward model reads it."""

    id: str
    token_ids: tuple[int, ...]
    answer_tokens: int
    safe: bool
    domain: str = ""
    root: str = ""

    @property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        return (self.token_ids,)


Example = PairExample | LabelExample


def pair_losses(chosen: Tensor, rejected: Tensor) -> Tensor:
    """[B] -log sigma(s_chosen - s_rejected), nats; only the difference matters."""
    return F.softplus(rejected - chosen)


def label_losses(scores: Tensor, safe: Tensor) -> Tensor:
    """[B] binary cross-entropy, nats: -log sigma(s) if safe, else -log sigma(-s). `safe`: bool [B]."""
    return F.softplus(torch.where(safe, -scores, scores))


def off_centre(chosen: Tensor, rejected: Tensor) -> Tensor:
    """[B] (s_chosen + s_rejected)^2, whose mean keeps scores around 0 (Eisenstein et al. 2023).

    The pairwise loss leaves the level of the scores open. TRL calls the weight of this mean
    `center_rewards_coefficient` and suggests 0.01; the paper mentions none.
    """
    return (chosen + rejected).square()


def micro_batches(model: RewardModel, examples: Sequence[Example], budget: int) -> list[list[int]]:
    """Places of the examples in micro-batches of at most `budget` tokens, as the model computes them.

    Longest first, so that rows of like length lie together. An example over the budget is alone.
    """
    longest = [max(len(row) for row in example.rows) for example in examples]
    batches: list[list[int]] = []
    size = rows = width = 0
    for place in sorted(range(len(examples)), key=lambda i: (-longest[i], i)):
        more = len(examples[place].rows)
        own = model.tokens_for(examples[place].rows)
        full = size + own if model.packed else width * (rows + more)
        if batches and full <= budget:
            batches[-1].append(place)
            size, rows = size + own, rows + more
        else:
            batches.append([place])
            size, rows, width = own, more, longest[place]
    return batches


class ScoreTrainer:
    """Holds the reward model and its optimizer.

    Args:
        budget: tokens of a micro-batch; shared ones count once, padding counts.
        center: weight of `off_centre`; pairs only.
    """

    def __init__(
        self, model: RewardModel, optimizer: Optimizer, *, budget: int, center: float = 0.0
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.budget, self.center = budget, center

    def step(self, examples: Sequence[Example], number: int) -> StepResult:
        """Update with the gradient of the mean loss over the examples.

        Args:
            examples: all pairs, or all labels.
            number: 0-based number of the step, for the learning rate.
        """
        if not examples:
            raise ValueError("a step without an example")
        losses: list[float] = []
        margins: list[float] = []
        for places in micro_batches(self.model, examples, self.budget):
            batch = [examples[place] for place in places]
            scores = self.model.values([row for example in batch for row in example.rows])
            each, margin = losses_of(batch, scores)
            total = each.sum()
            if self.center and isinstance(batch[0], PairExample):
                total = total + self.center * off_centre(scores[::2], scores[1::2]).sum()
            (total / len(examples)).backward()
            TALLY.trained += sum(len(row) for example in batch for row in example.rows)
            losses += each.detach().tolist()
            margins += margin.detach().tolist()
            if not math.isfinite(float(total.detach())):
                losses.append(math.nan)
            memory.relieve()
        if all(map(math.isfinite, losses)):
            norm, lr, made = self.optimizer.step(number)
        else:
            self.optimizer.forget()
            norm, lr, made = math.nan, 0.0, False
        metrics = {
            "rm/loss": math.fsum(losses) / len(examples),
            "rm/accuracy": _wins(margins) / len(examples),
            "rm/margin/mean": math.fsum(margins) / len(examples),
            "rm/examples/sum": float(len(examples)),
            "optim/grad_norm": norm,
            "optim/lr": lr,
            "optim/tokens/sum": float(sum(len(row) for one in examples for row in one.rows)),
        }
        return StepResult(metrics=metrics, made=made)


def losses_of(examples: Sequence[Example], scores: Tensor) -> tuple[Tensor, Tensor]:
    """(losses, margins) of examples whose rows have these scores, in their order.

    A margin is s_chosen - s_rejected; of a label the score, with its sign turned if it is not safe.
    Above 0 the model is right.
    """
    if all(isinstance(example, PairExample) for example in examples):
        chosen, rejected = scores[::2], scores[1::2]
        return pair_losses(chosen, rejected), chosen - rejected
    labels = [example.safe for example in examples if isinstance(example, LabelExample)]
    if len(labels) != len(examples):
        raise ValueError("pairs and labels in one step")
    safe = torch.tensor(labels, device=scores.device)
    return label_losses(scores, safe), torch.where(safe, scores, -scores)


@torch.no_grad()
def score(
    model: RewardModel,
    examples: Sequence[Example],
    *,
    budget: int,
    asked: Callable[[], bool] = lambda: False,
) -> list[tuple[float, ...]]:
    """Scores of each example's rows, in order: (chosen, rejected), or (score,) of a label.

    `asked` is looked at between micro-batches; True ends it early with [].
    """
    found: list[tuple[float, ...]] = [()] * len(examples)
    for places in micro_batches(model, examples, budget):
        if asked():
            return []
        values = model.values([row for place in places for row in examples[place].rows]).tolist()
        for place in places:
            count = len(examples[place].rows)
            found[place] = tuple(values[:count])
            values = values[count:]
    return found


def summary(examples: Sequence[Example], scores: Sequence[tuple[float, ...]]) -> dict[str, float]:
    """Mean loss, accuracy and margin of scored examples: `loss`, `accuracy`, `margin`."""
    flat = torch.tensor([value for row in scores for value in row], dtype=torch.float64)
    losses, margins = losses_of(examples, flat)
    return {
        "loss": float(losses.mean()),
        "accuracy": _wins(margins.tolist()) / len(examples),
        "margin": float(margins.mean()),
    }


def _wins(margins: Sequence[float]) -> float:
    """Examples that the model gets right; equal scores count half."""
    return sum((margin > 0) + 0.5 * (margin == 0) for margin in margins)
