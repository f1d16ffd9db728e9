"""How far stored answers are from the model that learns from them.

    r_t = log pi(o_t) - log mu(o_t)        pi: the model that learns; mu: the weights that sampled

Answers reused off-policy stand for the policy that wrote them. Importance weights would correct for
that; here they are not applied but measured: when their effective sample size is a small share of the
answers, an average over the stored answers says little about the model that learns.

Holds not: where log-probabilities come from. May import torch alone.
"""

# S = scored tokens, U = answers
import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

CLIP = 0.2
"""Half-width of the band around a ratio of 1 in `outside_share`: the usual clip of GRPO and PPO."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    answers: int
    tokens: int
    mean_log_ratio: float
    """Mean of r_t over tokens, nats. 0 on the sampler's own weights; below 0 as the model gives the
    stored tokens less probability, above 0 when it has learned them."""
    ess_share: float
    """Effective sample size of the answers' importance weights w = exp(sum_t r_t), as a share of the
    answers: (sum w)^2 / (U sum w^2). 1 where all weigh the same, 1/U where one outweighs all."""
    outside_share: float
    """Share of tokens whose ratio exp(r_t) is outside [1 - clip, 1 + clip]."""

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def mismatch(
    logp: Tensor, sampler_logp: Tensor, unit: Tensor, num_units: int, *, clip: float = CLIP
) -> Mismatch:
    """The statistic over whole answers, in float64.

    Args:
        logp: [S] log-probabilities of the stored tokens under the model that learns, nats, at the
            temperature of the sampler.
        sampler_logp: [S] those of the sampler.
        unit: [S] int64, the answer that each token belongs to, 0 .. num_units-1.

    Raises:
        ValueError: no token, or an answer without one: there is nothing to measure.
    """
    if not num_units or not len(logp):
        raise ValueError("no stored token to measure")
    log_ratio = logp.double() - sampler_logp.double()
    if int(torch.bincount(unit, minlength=num_units).min()) == 0:
        raise ValueError("an answer without tokens has no importance weight")
    weights = log_ratio.new_zeros(num_units).index_add(0, unit, log_ratio)
    # in logarithms: the weights of long answers are outside the range of any float
    size = 2 * torch.logsumexp(weights, 0) - torch.logsumexp(2 * weights, 0)
    outside = (log_ratio < math.log1p(-clip)) | (log_ratio > math.log1p(clip))
    return Mismatch(
        answers=num_units,
        tokens=len(log_ratio),
        mean_log_ratio=float(log_ratio.mean()),
        ess_share=float(torch.exp(size)) / num_units,
        outside_share=float(outside.double().mean()),
    )
