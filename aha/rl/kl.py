"""KL(policy || reference), estimated token by token from the sampled tokens.

Arguments are log-probabilities of the *sampled* tokens, any shape, in nats; so are the results.
Nothing here masks or averages. Unbiased means unbiased in value, not in gradient.
"""

import torch
from torch import Tensor


def k1(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """log(pi/ref): unbiased, and may be negative for one token."""
    return logp - ref_logp


def k2(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """(log(pi/ref))^2 / 2: biased, low variance, never negative."""
    return (logp - ref_logp).square() / 2


def k3(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """ref/pi - log(ref/pi) - 1: unbiased, never negative. DeepSeek-R1 Eq. 2."""
    log_ratio = ref_logp - logp
    return torch.expm1(log_ratio) - log_ratio  # expm1: exp(x) - 1 loses every digit near x = 0
