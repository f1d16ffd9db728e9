"""One token for each row, and its log-probability.

Plain temperature sampling inverts the cumulative distribution in two levels (blocks, then inside the
block) with one uniform number a row; nothing is sorted. top-k and top-p (evaluation only) sort the
likeliest tokens. On a CPU this is a compiled kernel, except for top-k.
Log-probabilities are those of the tempered distribution before top-k and top-p cut it.
"""

# R = rows, V = vocabulary
import torch
from torch import Tensor

from aha.kernels import AVAILABLE

BLOCK = 256
CANDIDATES = 512
"""Tokens sorted at first for top-k and top-p: a whole vocabulary costs as much as the model."""


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
    if AVAILABLE and _in_one_pass(logits) and not (temperature > 0 and top_k > 0):
        return _native(logits, uniform, temperature, top_p if temperature > 0 else 1.0)
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


def _in_one_pass(logits: Tensor) -> bool:
    known = logits.dtype in (torch.float32, torch.bfloat16)
    return known and logits.device.type == "cpu" and logits.stride(-1) == 1


def _native(
    logits: Tensor, uniform: Tensor, temperature: float, top_p: float
) -> tuple[Tensor, Tensor]:
    """Two passes over the logits by the compiled kernel instead of a dozen."""
    from aha.kernels import draw as kernel
    from aha.kernels.low import call, threads_for

    rows, vocabulary = logits.shape
    threads = threads_for(logits.numel())
    tokens, logps = torch.empty(rows, dtype=torch.long), torch.empty(rows)
    if top_p < 1.0:
        compiled = kernel.draw_nucleus(logits.dtype)
        scratch = torch.empty(kernel.nucleus_scratch_floats(vocabulary, threads))
    else:
        compiled = kernel.draw(logits.dtype)
        scratch = torch.empty(kernel.scratch_floats(vocabulary, threads))
    given = (rows, vocabulary, logits, logits.stride(0), uniform.contiguous())
    call(compiled, logits.numel(), *given, tokens, logps, scratch, float(temperature), float(top_p))
    return tokens, logps


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

    top-p counts shares after top-k has been renormalised, as transformers and vLLM do. Of equal
    shares the lower id comes first. Only the likeliest CANDIDATES are sorted; a row whose set may
    reach beyond them is done again with all tokens.
    """
    total = shares.sum(-1, keepdim=True, dtype=torch.float64)
    count = max(CANDIDATES, 2 * top_k)
    if count >= shares.shape[-1]:
        return _among(
            *shares.sort(dim=-1, descending=True, stable=True), total, uniform, top_p, top_k
        )[0]
    tokens = shares.topk(count, sorted=False).indices.sort(-1).values
    ordered, places = shares.gather(-1, tokens).sort(dim=-1, descending=True, stable=True)
    token, inside = _among(ordered, tokens.gather(-1, places), total, uniform, top_p, top_k)
    if not inside.all():
        rest = ~inside
        every = shares[rest].sort(dim=-1, descending=True, stable=True)
        token[rest] = _among(*every, total[rest], uniform[rest], top_p, top_k)[0]
    return token


def _among(
    ordered: Tensor, tokens: Tensor, total: Tensor, uniform: Tensor, top_p: float, top_k: int
) -> tuple[Tensor, Tensor]:
    """Draw from candidates [R, C] in falling order; `total` [R, 1] is the mass of all tokens.

    Returns the tokens [R], and [R] whether no token outside the candidates could have been kept:
    all that was kept is above the last candidate.
    """
    lowest = ordered[:, -1:]
    likely = ordered > lowest
    ordered = ordered.double()
    if 0 < top_k < ordered.shape[-1]:
        ordered, tokens, likely = ordered[:, :top_k], tokens[:, :top_k], likely[:, :top_k]
        total = ordered.sum(-1, keepdim=True)
    if top_p < 1.0:
        before = (ordered.cumsum(-1) - ordered) / total
        ordered = torch.where(before < top_p, ordered, 0.0)  # the first token always stays
    inside = (likely | (ordered == 0.0)).all(-1)
    cumulative = ordered.cumsum(-1)
    goal = uniform[:, None] * cumulative[:, -1:]
    last = (cumulative < cumulative[:, -1:]).sum(-1, keepdim=True)
    place = torch.minimum(torch.searchsorted(cumulative, goal, right=True), last)
    return tokens.gather(-1, place).squeeze(-1), inside
