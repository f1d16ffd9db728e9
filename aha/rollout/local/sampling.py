"""One token for each row, and its log-probability.

Plain temperature sampling inverts the cumulative distribution in two levels (blocks, then inside the
block) with one uniform number a row; nothing is sorted. top-k and top-p (evaluation only) sort.
Log-probabilities are those of the tempered distribution before top-k and top-p cut it.
"""

# R = rows, V = vocabulary
import torch
from torch import Tensor

BLOCK = 256


def draw(
    logits: Tensor, uniform: Tensor, *, temperature: float, top_p: float = 1.0, top_k: int = 0
) -> tuple[Tensor, Tensor]:
    """Sample a token in each row.

    Args:
        logits: [R, V], any floating dtype.
        uniform: [R] float64 in [0, 1).
        temperature: 0 takes the likeliest token (lowest id among equals).

    Returns:
        token ids [R] int64; their log-probabilities [R] float32, nats, under logits / temperature
        (greedy: under the logits).
    """
    scaled = logits.float()
    if temperature > 0 and temperature != 1.0:
        scaled = scaled / temperature
    total = scaled.logsumexp(-1, keepdim=True)
    if temperature == 0:
        token = scaled.argmax(-1)
    else:
        shares = torch.exp(scaled - total)
        cut = top_p < 1.0 or 0 < top_k < scaled.shape[-1]
        token = _cut(shares, uniform, top_p, top_k) if cut else _invert(shares, uniform)
    logp = scaled.gather(-1, token[:, None]) - total
    return token, logp.squeeze(-1)


def _invert(shares: Tensor, uniform: Tensor) -> Tensor:
    """Smallest v with cumsum(shares)[v] > u * sum: first the block, then the place inside it."""
    rows, vocabulary = shares.shape
    spare = -vocabulary % BLOCK
    if spare:
        shares = torch.nn.functional.pad(shares, (0, spare))
    blocks = shares.view(rows, -1, BLOCK)
    cumulative = blocks.sum(-1).double().cumsum(-1)
    goal = uniform[:, None] * cumulative[:, -1:]
    block = torch.searchsorted(cumulative, goal, right=True).clamp_max(blocks.shape[1] - 1)
    before = torch.where(block > 0, cumulative.gather(-1, (block - 1).clamp_min(0)), 0.0)
    inside = blocks.gather(1, block[:, :, None].expand(-1, 1, BLOCK)).squeeze(1).double().cumsum(-1)
    place = torch.searchsorted(inside, goal - before, right=True)
    # rounding may point past the last token of a block: take its last token with a share
    last = (inside < inside[:, -1:]).sum(-1, keepdim=True)
    token = block * BLOCK + torch.minimum(place, last)
    return token.squeeze(-1)


def _cut(shares: Tensor, uniform: Tensor, top_p: float, top_k: int) -> Tensor:
    """Sample among the top-k tokens, then among the smallest set of these with mass >= top_p.

    top-p counts shares after top-k has been renormalised, as transformers and vLLM do.
    """
    ordered, tokens = shares.sort(dim=-1, descending=True, stable=True)
    ordered = ordered.double()
    if 0 < top_k < ordered.shape[-1]:
        ordered, tokens = ordered[:, :top_k], tokens[:, :top_k]
    ordered = ordered / ordered.sum(-1, keepdim=True)
    if top_p < 1.0:
        before = ordered.cumsum(-1) - ordered
        ordered = torch.where(before < top_p, ordered, 0.0)  # the first token always stays
    cumulative = ordered.cumsum(-1)
    goal = uniform[:, None] * cumulative[:, -1:]
    last = (cumulative < cumulative[:, -1:]).sum(-1, keepdim=True)
    place = torch.minimum(torch.searchsorted(cumulative, goal, right=True), last)
    return tokens.gather(-1, place).squeeze(-1)
