"""Log-probabilities of given tokens under tempered logits."""

# S = scored tokens, V = vocabulary
import torch
from torch import Tensor


def token_logprobs(
    logits: Tensor, token_ids: Tensor, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probability of each token and entropy of its distribution, nats, float32.

    Args:
        logits: [S, V], any floating dtype; row s is the distribution *for* token s (shifted).
        token_ids: [S] int64.
        temperature: must be the sampler's, or the ratio in DeepSeek-R1 Eq. 1 is not 1 at first.

    Returns:
        log-probabilities [S] (with gradient) and entropies [S] (without).

    Raises:
        ValueError: temperature <= 0; greedy sampling has no log-probability to train on.
    """
    if temperature <= 0:
        raise ValueError(f"temperature={temperature}; use a value above 0 for training")
    scaled = logits.float()
    if temperature != 1.0:
        scaled = scaled / temperature
    total = scaled.logsumexp(-1)
    logp = scaled.gather(-1, token_ids.unsqueeze(-1)).squeeze(-1) - total
    with torch.no_grad():
        shares = torch.exp(scaled - total.unsqueeze(-1))
        entropy = total - torch.einsum("sv,sv->s", shares, scaled)
    return logp, entropy
