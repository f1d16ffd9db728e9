"""Credit of an answer relative to its group. DeepSeek-R1 Eq. 3.

Eq. 3 says "std": here the sample standard deviation (n-1), as in most trainers. A group whose rewards
are all equal teaches nothing: its advantages are exactly 0 (tested for, never divided by a small
number). Answers without a verdict (`valid` False) are out of the baseline and get 0.
"""

# G = answers of one group
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["std", "no_std", "leave_one_out"]
FLAT = 1e-6
"""Rewards closer together than this share of their size are equal."""


def is_flat(rewards: Tensor, valid: Tensor) -> bool:
    """True if fewer than two answers have a verdict, or all verdicts earn the same."""
    kept = rewards[valid]
    if kept.numel() < 2:
        return True
    return bool(kept.max() - kept.min() <= FLAT * kept.abs().max().clamp_min(1.0))


def group_advantages(rewards: Tensor, valid: Tensor | None = None, *, kind: Kind = "std") -> Tensor:
    """[G] rewards -> [G] advantages, float64.

    std:           (r - mean) / std, sample standard deviation. DeepSeek-R1 Eq. 3.
    no_std:        r - mean. Dr. GRPO.
    leave_one_out: r - mean of the others = (r - mean) n / (n - 1). RLOO.
    """
    rewards = rewards.double()
    valid = torch.ones_like(rewards, dtype=torch.bool) if valid is None else valid
    if is_flat(rewards, valid):
        return torch.zeros_like(rewards)
    kept = rewards[valid]
    centred = torch.where(valid, rewards - kept.mean(), 0.0)
    if kind == "std":
        return centred / kept.std(correction=1)
    if kind == "leave_one_out":
        return centred * (kept.numel() / (kept.numel() - 1))
    if kind == "no_std":
        return centred
    raise ValueError(f"advantage kind {kind!r}; one of std, no_std, leave_one_out")


def per_token(advantages: Tensor, lengths: Sequence[int]) -> list[tuple[float, ...]]:
    """Every token of an answer gets the answer's advantage: [G] -> G tuples of `lengths[i]`."""
    return [(float(a),) * n for a, n in zip(advantages.tolist(), lengths, strict=True)]
