"""The loss of one micro-batch: a weighted sum over tokens, of policy gradient, cross-entropy and KL.

    loss = sum_t  pg_weight_t * l_t(ratio, advantage_t)  +  ce_weight_t * (-logp_t)  +  kl_weight_t * k3_t

The weights carry the denominators, which belong to the whole optimizer step (all micro-batches, all
ranks), so micro-batches simply add up. GRPO, SFT and their kin differ only in these columns.

Two questions are kept apart (DeepSeek-R1 Eq. 1 and its relatives):
- which importance ratio multiplies a token: its own (DeepSeekMath Eq. 3), that of the whole answer
  (R1 Eq. 1: the product over the answer), or the answer's geometric mean (GSPO);
- how tokens are averaged: within the answer, then over answers (DeepSeekMath); over all tokens
  (DAPO); or by a constant (Dr. GRPO).
With a sequence ratio every token of an answer carries the answer's ratio, so `sequence` with
`answer_mean` is exactly R1's Eq. 1.

Pairs of answers have a loss of their own, `dpo`, which is not a sum over tokens.
"""

# S = scored tokens, U = units (answers), P = pairs
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from aha.rl.kl import k3

Ratio = Literal["token", "sequence", "sequence_mean"]
Aggregation = Literal["answer_mean", "token_mean", "constant"]
LARGEST_LOG_RATIO = 80.0
"""Ratios above exp of this count as it: float32 ends at exp(88), and 0 x infinity is not 0."""


def token_weights(
    lengths: Sequence[int], *, aggregation: Aggregation, answers: int, tokens: int, cap: int
) -> list[float]:
    """Weight of each token of an answer, for answers of the given lengths.

    Args:
        answers: answers in the whole optimizer step, flat and masked ones included.
        tokens: their tokens.
        cap: max_answer_tokens.
    """
    if aggregation == "answer_mean":
        return [1.0 / (answers * n) if n else 0.0 for n in lengths]
    if aggregation == "token_mean":
        return [1.0 / tokens if tokens else 0.0 for _ in lengths]
    if aggregation == "constant":
        return [1.0 / (answers * cap) for _ in lengths]
    raise ValueError(f"aggregation {aggregation!r}; one of answer_mean, token_mean, constant")


def importance_log_ratio(
    logp: Tensor, old_logp: Tensor, unit: Tensor, num_units: int, *, ratio: Ratio
) -> Tensor:
    """[S] log of the ratio pi/pi_old that multiplies each token.

    Args:
        logp, old_logp: [S] log-probabilities now and when sampled, nats.
        unit: [S] int64, the answer that each token belongs to, 0 .. num_units-1; whole answers only.
    """
    difference = logp - old_logp
    if ratio == "token":
        return difference
    total = difference.new_zeros(num_units).index_add(0, unit, difference)
    if ratio == "sequence_mean":
        count = difference.new_zeros(num_units).index_add(0, unit, torch.ones_like(difference))
        total = total / count.clamp_min(1)
    elif ratio != "sequence":
        raise ValueError(f"ratio {ratio!r}; one of token, sequence, sequence_mean")
    return total[unit]


def clipped_surrogate(
    log_ratio: Tensor,
    advantage: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """[S] loss per token, -min(r A, clip(r, 1-low, 1+high) A), and where each side was clipped.

    With `dual_clip` c > 1, the loss of a negative advantage is bounded: max(min(...), c A).

    Returns:
        loss [S]; clipped low [S] bool; clipped high [S] bool (where the gradient is cut).
    """
    ratio = torch.exp(log_ratio.clamp_max(LARGEST_LOG_RATIO))
    bounded = ratio.clamp(1 - clip_low, 1 + clip_high)
    gain = torch.minimum(ratio * advantage, bounded * advantage)
    if dual_clip:
        gain = torch.where(advantage < 0, torch.maximum(gain, dual_clip * advantage), gain)
    low = (ratio < 1 - clip_low) & (advantage < 0)
    high = (ratio > 1 + clip_high) & (advantage > 0)
    return -gain, low, high


def column_loss(
    logp: Tensor,
    *,
    unit: Tensor,
    num_units: int,
    pg_weight: Tensor | None = None,
    advantage: Tensor | None = None,
    old_logp: Tensor | None = None,
    is_weight: Tensor | None = None,
    ce_weight: Tensor | None = None,
    kl_weight: Tensor | None = None,
    ref_logp: Tensor | None = None,
    ratio: Ratio = "token",
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float = 0.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the module docstring. Columns are [S]; None leaves a term out.

    Args:
        is_weight: [S] detached truncated importance weight, engine to trainer; multiplies the
            policy-gradient term.

    Returns:
        loss (scalar) and detached sums over tokens for the metrics: ratio, clip_low, clip_high,
        kl, and ratio_max.
    """
    loss = logp.new_zeros(())
    stats: dict[str, Tensor] = {}
    if pg_weight is not None:
        assert advantage is not None
        assert old_logp is not None
        log_ratio = importance_log_ratio(logp, old_logp, unit, num_units, ratio=ratio)
        each, low, high = clipped_surrogate(
            log_ratio, advantage, clip_low=clip_low, clip_high=clip_high, dual_clip=dual_clip
        )
        if is_weight is not None:
            each = each * is_weight
        loss = loss + (pg_weight * each).sum()
        detached = log_ratio.detach().clamp_max(LARGEST_LOG_RATIO).exp()
        stats["ratio"] = detached.sum()
        stats["ratio_max"] = detached.max() if detached.numel() else detached.new_zeros(())
        stats["clip_low"] = low.sum()
        stats["clip_high"] = high.sum()
    if ce_weight is not None:
        loss = loss - (ce_weight * logp).sum()
    if kl_weight is not None:
        assert ref_logp is not None
        divergence = k3(logp, ref_logp)
        loss = loss + (kl_weight * divergence).sum()
        stats["kl"] = divergence.detach().sum()
    return loss, stats


def answer_sums(values: Tensor, unit: Tensor, num_units: int, *, mean: bool = False) -> Tensor:
    """[U] sums of [S] values over the tokens of each answer, float64; `mean` divides by their number."""
    values = values.double()
    total = values.new_zeros(num_units).index_add(0, unit, values)
    if mean:
        count = values.new_zeros(num_units).index_add(0, unit, torch.ones_like(values))
        total = total / count.clamp_min(1)
    return total


def dpo(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
    *,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Direct preference optimisation (Rafailov et al. 2023, Eq. 7), pair by pair.

        margin = beta (log pi(o+)/ref(o+) - log pi(o-)/ref(o-))
        loss   = -(1 - e) log sigma(margin) - e log sigma(-margin),   e = label_smoothing

    With e = 0 the gradient of a pair with respect to log pi is -beta sigma(-margin) on o+ and its
    opposite on o-: the coefficient of DeepSeekMath A.1, which leaves out the beta before it.

    Args:
        policy_chosen, policy_rejected, reference_chosen, reference_rejected: [P] log-probabilities of
            whole answers, nats: sums over their tokens, or means of all four for the form that is
            normalised by length.
        label_smoothing: share of pairs that are taken to be the wrong way round, below 0.5.

    Returns:
        losses [P], nats, with gradient; margins [P], detached: above 0 the implicit reward of the
        chosen answer is the higher one.
    """
    margin = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    right, wrong = F.logsigmoid(margin), F.logsigmoid(-margin)
    return -(1 - label_smoothing) * right - label_smoothing * wrong, margin.detach()
