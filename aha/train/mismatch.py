"""The mismatch statistic of stored answers (rl/mismatch.py) on a policy as it is now.

Holds not: which answers are measured (stages/off_policy.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from aha.models.policy import Policy
from aha.rl.mismatch import Mismatch, mismatch
from aha.train.batch import Tree, Unit, micro_batches, to_batch


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTokens:
    """A stored answer with the prompt that the model reads before it."""

    id: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """The sampler's, nats, one per token of the answer."""
    temperature: float
    """Of the sampler."""


@torch.no_grad()
def measure(policy: Policy, samples: Sequence[StoredTokens], *, budget: int) -> Mismatch:
    """How far the samples are from the policy.

    Args:
        budget: tokens of a micro-batch; changes nothing but rounding.

    Raises:
        ValueError: no samples.
    """
    device = next(policy.parameters()).device
    now: list[float] = []
    then: list[float] = []
    answer: list[int] = []
    number = 0
    for temperature in sorted({one.temperature for one in samples}):
        some = [one for one in samples if one.temperature == temperature]
        trees = [Tree(one.prompt_ids, [Unit(one.token_ids, {})]) for one in some]
        for batch in micro_batches(trees, budget):
            now += policy(to_batch(batch, device=device).stream, temperature)[0].tolist()
        for one in some:
            then += one.logprobs
            answer += [number] * len(one.token_ids)
            number += 1
    return mismatch(
        torch.tensor(now, dtype=torch.float64),
        torch.tensor(then, dtype=torch.float64),
        torch.tensor(answer, dtype=torch.long),
        number,
    )
