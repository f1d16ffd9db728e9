"""A causal language model as this project uses it: packed stream in, log-probabilities out.

The head and the log-probability run inside `forward`, on scored positions only and in chunks, so
nobody outside reads a weight (sharding wraps this module) and no [tokens, vocabulary] tensor exists
in float32. Engine and trainer use the same parameters.
"""

# T = tokens of the stream, S = scored tokens, V = vocabulary
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aha.errors import ModelError
from aha.models import fused
from aha.models.attention import Layout, PackedLayout, Segment
from aha.rl.logprobs import token_logprobs
from aha.tally import TALLY

CHUNK_BYTES = 64 << 20
"""Float32 logits of one head chunk."""
KEPT_LOGITS = 512 << 20
"""Bytes of logits kept for the backward pass, so that they are not computed twice."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What one forward pass reads."""

    token_ids: Tensor  # [1, T] int64
    positions: Tensor  # [1, T] int64, position within prompt + answer
    layout: Layout
    scored: Tensor  # [S] int64: stream index whose hidden state predicts target s
    targets: Tensor  # [S] int64


class Policy(nn.Module):
    """Wraps a transformers causal LM whose attention was set to the layout function at load."""

    kept_logits = KEPT_LOGITS
    """Bytes; a plan that is short of memory lowers it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @property
    def causal(self) -> Any:
        """The transformers model itself (below an adapter, if there is one)."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model  # type: ignore[operator]

    def hidden(self, token_ids: Tensor, positions: Tensor, layout: Layout) -> Tensor:
        """Final hidden states [T, width] of a packed stream."""
        out = self.causal.get_decoder()(
            input_ids=token_ids, position_ids=positions, layout=layout, use_cache=False
        )
        return out.last_hidden_state[0]

    def logits(self, hidden: Tensor) -> Tensor:
        """[N, width] -> [N, V] in the working dtype."""
        return self.causal.get_output_embeddings()(hidden)

    def forward(self, stream: Stream, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Log-probability [S] (float32, with gradient) and entropy [S] of the stream's targets."""
        if torch.is_grad_enabled():
            TALLY.trained += stream.token_ids.numel()
        hidden = self.hidden(stream.token_ids, stream.positions, stream.layout)
        picked = hidden.index_select(0, stream.scored)
        head = self.causal.get_output_embeddings()
        if type(head) is nn.Linear and head.bias is None and fused.usable(picked, head.weight):
            keep = self.kept_logits if torch.is_grad_enabled() else 0
            return fused.Head.apply(picked, head.weight, stream.targets, temperature, keep)
        rows = max(1, CHUNK_BYTES // (4 * self.causal.config.get_text_config().vocab_size))
        logps, entropies = [], []
        for start in range(0, max(1, len(picked)), rows):
            logp, entropy = checkpoint(
                self._score,
                picked[start : start + rows],
                stream.targets[start : start + rows],
                temperature,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            logps.append(logp)
            entropies.append(entropy)
        return torch.cat(logps), torch.cat(entropies)

    def _score(self, hidden: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        return token_logprobs(self.logits(hidden), targets, temperature=temperature)


def pack(
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[Sequence[int]]],
    *,
    device: torch.device | str = "cpu",
) -> Stream:
    """One stream: each prompt once, then its answers, each seeing the prompt and itself.

    Targets are all answer tokens in order (prompt by prompt, answer by answer). An empty prompt is
    refused: its first answer token would have nothing to be predicted from.
    """
    tokens: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    scored: list[int] = []
    targets: list[int] = []
    for prompt, group in zip(prompts, answers, strict=True):
        if not prompt:
            raise ValueError("an empty prompt cannot be scored; it needs at least one token")
        base, size = len(tokens), len(prompt)
        tokens += prompt
        positions += range(size)
        segments.append(Segment(base, size))
        for answer in group:
            start, length = len(tokens), len(answer)
            if not length:
                continue
            tokens += answer
            positions += range(size, size + length)
            segments.append(Segment(start, length, base, size))
            scored.append(base + size - 1)
            scored += range(start, start + length - 1)
            targets += answer
    return Stream(
        token_ids=torch.tensor([tokens], device=device),
        positions=torch.tensor([positions], device=device),
        layout=PackedLayout(segments, device=device),
        scored=torch.tensor(scored, dtype=torch.long, device=device),
        targets=torch.tensor(targets, dtype=torch.long, device=device),
    )


BF16_BOUND = 0.1
"""Share of the largest logit by which two right ways to compute in bfloat16 may differ, as a rule."""


@torch.no_grad()
def check_supported(policy: Policy) -> None:
    """Compare this path with the model's own forward on a few tokens.

    Raises:
        ModelError: they differ (the architecture transforms its logits, or attends in a way that the
            layout function does not know), so training would be wrong.
    """
    model = policy.causal
    parameter = next(model.parameters())
    vocabulary = model.config.get_text_config().vocab_size
    # common tokens: the first ids are special ones, on which bfloat16 alone moves logits by half
    ids = (torch.arange(12, device=parameter.device)[None] * 37 + 300) % vocabulary
    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    try:
        layout = PackedLayout([Segment(0, ids.shape[1])], device=ids.device)
        ours = policy.logits(policy.hidden(ids, positions, layout)).float()
        theirs = _own_logits(model, ids, "sdpa")
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"{type(model).__name__} is not supported by the local engine: {error}"
        ) from error
    scale = theirs.abs().max().clamp_min(1e-3)
    if not torch.isfinite(theirs).all():
        raise ModelError(f"{type(model).__name__} gives non-finite logits: the weights are damaged")
    bound = 1e-3 if parameter.dtype == torch.float32 else BF16_BOUND
    apart = float((ours - theirs).abs().max() / scale)
    if apart > bound and parameter.dtype != torch.float32:
        # some models round so far that two of their own ways differ by as much
        other = _own_logits(model, ids, "eager")
        bound = min(2 * float((other - theirs).abs().max() / scale), 3 * BF16_BOUND)
    if apart > bound:
        raise ModelError(
            f"{type(model).__name__} computes its logits in a way the local engine does not know "
            "(soft-capping, scaling or windowed attention); use another architecture"
        )


def _own_logits(model: Any, ids: torch.Tensor, attention: str) -> torch.Tensor:
    """Logits [tokens, vocabulary] of the model's own forward, with another attention of its own."""
    name = model.config._attn_implementation
    model.set_attn_implementation(attention)
    try:
        logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits[0].float()
    finally:
        model.set_attn_implementation(name)
    return logits
