"""Training on a CPU with fewer passes over memory: RMSNorm, SwiGLU, attention and the head as one step each.

`install` gives known modules of transformers the fused forward; they stay what they are (class,
parameters, names). Same mathematics and the same roundings as the modules; forward and backward are
compiled kernels between matrix products. Off the CPU, without numba, or in another dtype the modules'
own forward runs.
"""

# T = tokens, W = width, S = scored tokens, V = vocabulary
# B = segments, H = query heads, K = key heads, L = queries, P = prefix keys, C = P + L keys
import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from aha.kernels import AVAILABLE

NORMS = ("LlamaRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm", "DeepseekV3RMSNorm")
GATED = ("LlamaMLP", "Qwen2MLP", "Qwen3MLP", "DeepseekV3MLP")
DTYPES = (torch.float32, torch.bfloat16)
CHUNK_BYTES = 128 << 20
"""Logits of one chunk of the head, in the working dtype."""
QUERIES = 256
"""Queries of one block of attention: scores are kept for one block at a time."""


def usable(*tensors: Tensor) -> bool:
    """Do the kernels compute these?"""
    return AVAILABLE and all(
        t.device.type == "cpu" and t.dtype == tensors[0].dtype and t.dtype in DTYPES
        for t in tensors
    )


def install(model: nn.Module) -> None:
    """Give the model's norms and gated MLPs their fused forward."""
    if not AVAILABLE:
        return
    for module in model.modules():
        kind = type(module)
        if not kind.__module__.startswith("transformers."):
            continue
        if kind.__name__ in NORMS:
            module.__class__ = _fused(kind, _Norm)
        elif kind.__name__ in GATED and module.config.hidden_act == "silu":  # type: ignore[union-attr]
            module.__class__ = _fused(kind, _Gated)


_KINDS: dict[type, type] = {}


def _fused(kind: type, mixin: type) -> type:
    if kind not in _KINDS:
        _KINDS[kind] = type(kind.__name__, (mixin, kind), {"__module__": __name__})
    return _KINDS[kind]


class _Norm:
    weight: nn.Parameter
    variance_epsilon: float

    def forward(self, hidden_states: Tensor) -> Tensor:
        if usable(hidden_states, self.weight):
            return RMSNorm.apply(hidden_states, self.weight, self.variance_epsilon)
        return super().forward(hidden_states)  # type: ignore[misc]


class _Gated:
    gate_proj: Any
    up_proj: Any
    down_proj: Any

    def forward(self, x: Tensor) -> Tensor:
        if not usable(x):
            return super().forward(x)  # type: ignore[misc]
        return self.down_proj(SwiGLU.apply(self.gate_proj(x), self.up_proj(x)))


class RMSNorm(torch.autograd.Function):
    """x / rms(x), rounded, times weight. x [..., W], weight [W]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        from aha.kernels import rows as kernel
        from aha.kernels.low import call

        x = x.contiguous()
        width = x.shape[-1]
        count = x.numel() // width
        out, inverse, wide = (
            torch.empty_like(x),
            x.new_empty(count, dtype=torch.float32),
            weight.float(),
        )
        call(kernel.norm(x.dtype), x.numel(), count, width, x, inverse, wide, out, float(eps))
        ctx.save_for_backward(x, weight, inverse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor | None, None]:
        from aha.kernels import rows as kernel
        from aha.kernels.low import call

        x, weight, inverse = ctx.saved_tensors
        width = x.shape[-1]
        slope = slope.clone(memory_format=torch.contiguous_format)
        wide, total = weight.float(), torch.zeros(kernel.BLOCKS, width)
        given = (len(inverse), width, x, inverse, wide, slope, total)
        call(kernel.norm_backward(x.dtype), x.numel(), *given)
        return slope, total.sum(0).to(weight.dtype) if ctx.needs_input_grad[1] else None, None


class SwiGLU(torch.autograd.Function):
    """silu(gate) * up, both [..., W]."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        from aha.kernels import rows as kernel
        from aha.kernels.low import call

        gate, up = gate.contiguous(), up.contiguous()
        width, out = gate.shape[-1], torch.empty_like(gate)
        given = (out.numel() // width, width, gate, width, up, out, width)
        call(kernel.swiglu(out.dtype), out.numel(), *given)
        ctx.save_for_backward(gate, up)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor]:
        from aha.kernels import rows as kernel
        from aha.kernels.low import call

        gate, up = (t.clone() for t in ctx.saved_tensors)
        slope, width = slope.contiguous(), gate.shape[-1]
        given = (gate.numel() // width, width, gate, width, up, slope, width)
        call(kernel.swiglu_backward(gate.dtype), gate.numel(), *given)
        return gate, up


class Head(torch.autograd.Function):
    """Log-probabilities and entropies [S], float32, of targets under hidden @ weight.T / temperature.

    Logits are made in chunks, in the working dtype. The first chunks, up to `keep` bytes, stay until the
    backward pass; the others are computed again there. Their gradient takes their place.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, keep: int
    ) -> tuple[Tensor, Tensor]:
        from aha.kernels import head as kernel
        from aha.kernels.low import call

        logps, totals, entropies = (torch.empty(len(targets)) for _ in range(3))
        ctx.kept = {}
        for start, end in _chunks(len(targets), weight):
            logits = linear(hidden[start:end], weight)
            some = [t[start:end] for t in (targets, logps, totals, entropies)]
            given = (*logits.shape, logits, *some, float(temperature))
            call(kernel.statistics(logits.dtype), logits.numel(), *given)
            keep -= logits.nbytes
            if keep >= 0:
                ctx.kept[start] = logits
        ctx.save_for_backward(hidden, weight, targets, totals)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropies)
        return logps, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        from aha.kernels import head as kernel
        from aha.kernels.low import call

        hidden, weight, targets, totals = ctx.saved_tensors
        slope = slope.float().contiguous()
        to_hidden = torch.empty_like(hidden)
        to_weight: Tensor | None = None
        for start, end in _chunks(len(targets), weight):
            logits = ctx.kept.pop(start, None)
            if logits is None:
                logits = linear(hidden[start:end], weight)
            some = [t[start:end] for t in (targets, slope, totals)]
            given = (*logits.shape, logits, *some, 0, float(ctx.temperature))
            call(kernel.gradient(logits.dtype), logits.numel(), *given)
            torch.mm(logits, weight, out=to_hidden[start:end])
            if ctx.needs_input_grad[1]:
                if to_weight is None:
                    to_weight = torch.mm(logits.T, hidden[start:end])
                else:
                    to_weight.addmm_(logits.T, hidden[start:end])
        return to_hidden, to_weight, None, None, None


def _chunks(count: int, weight: Tensor) -> list[tuple[int, int]]:
    """Even chunks, none above CHUNK_BYTES of logits."""
    most = max(1, CHUNK_BYTES // (len(weight) * weight.element_size()))
    parts = max(1, -(-count // most))
    edges = [count * i // parts for i in range(parts + 1)]
    return [(a, b) for a, b in itertools.pairwise(edges) if b > a]


class Attention(torch.autograd.Function):
    """Causal attention of segments after right-aligned prefixes, by matrix products.

    q [B, H, L, D], k and v [B, K, C, D], first [B] int64: the first prefix key that is real. Query t
    sees the keys first .. P + t. On CPUs the bfloat16 kernel of torch is several times slower.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, first: Tensor, scale: float) -> Tensor:
        before = k.shape[2] - q.shape[2]
        rows, keys, values = _grouped(q, k), k.flatten(0, 1), v.flatten(0, 1)
        out = torch.empty_like(rows)
        totals = torch.empty(rows.shape[:3])
        for start, end in _blocks(q.shape[2]):
            shares = _scores(rows, keys, start, end, before)
            block = totals[:, :, start:end].contiguous()
            _softmax(shares, None, block, block, first, start, end, before, q.shape[1], scale)
            totals[:, :, start:end] = block
            part = torch.bmm(shares, values[:, : before + end])
            out[:, :, start:end] = part.view(*rows.shape[:2], end - start, -1)
        ctx.save_for_backward(q, k, v, first, out, totals)
        ctx.scale = scale
        return out.view(q.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, first, out, totals = ctx.saved_tensors
        before = k.shape[2] - q.shape[2]
        rows, keys, values = _grouped(q, k), k.flatten(0, 1), v.flatten(0, 1)
        slopes = _grouped(slope.contiguous(), k)
        deltas = (slopes.float() * out).sum(-1)
        to_q = torch.empty_like(rows)
        several = len(_blocks(q.shape[2])) > 1
        wide = torch.float32 if several else k.dtype
        to_k, to_v = torch.zeros_like(keys, dtype=wide), torch.zeros_like(values, dtype=wide)
        for start, end in _blocks(q.shape[2]):
            seen = before + end
            query = rows[:, :, start:end].reshape(len(keys), -1, rows.shape[-1])
            slope = slopes[:, :, start:end].reshape(query.shape)
            shares = _scores(rows, keys, start, end, before)
            to_shares = torch.bmm(slope, values[:, :seen].transpose(1, 2))
            total, delta = (t[:, :, start:end].contiguous() for t in (totals, deltas))
            heads, at = q.shape[1], (start, end, before)
            _softmax(shares, to_shares, total, delta, first, *at, heads, ctx.scale)
            part = torch.bmm(to_shares, keys[:, :seen])
            to_q[:, :, start:end] = part.view(*rows.shape[:2], end - start, -1)
            to_k[:, :seen] += torch.bmm(to_shares.transpose(1, 2), query)
            to_v[:, :seen] += torch.bmm(shares.transpose(1, 2), slope)
        to_k, to_v = to_k.to(k.dtype).view(k.shape), to_v.to(v.dtype).view(v.shape)
        return to_q.view(q.shape), to_k, to_v, None, None


def _blocks(queries: int) -> list[tuple[int, int]]:
    parts = -(-queries // QUERIES)
    edges = [queries * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(edges))


def _grouped(q: Tensor, k: Tensor) -> Tensor:
    """[B, H, L, D] -> [B * K, H / K, L, D]."""
    return q.reshape(len(q) * k.shape[1], -1, *q.shape[2:])


def _scores(rows: Tensor, keys: Tensor, start: int, end: int, before: int) -> Tensor:
    """[B * K, G * block, keys up to the last that the block sees], without the scale."""
    query = rows[:, :, start:end].reshape(len(keys), -1, rows.shape[-1])
    return torch.bmm(query, keys[:, : before + end].transpose(1, 2))


def _softmax(
    scores: Tensor,
    slopes: Tensor | None,
    totals: Tensor,
    deltas: Tensor,
    first: Tensor,
    start: int,
    end: int,
    before: int,
    heads: int,
    scale: float,
) -> None:
    from aha.kernels import scores as kernel
    from aha.kernels.low import call

    count = scores.shape[0] * scores.shape[1]
    compiled = kernel.softmax(scores.dtype, slopes is not None)
    given = (count, scores.shape[2], scores, slopes, totals, deltas, first)
    numbers = (heads, end - start, before + start, float(scale))
    call(compiled, scores.numel(), *given, *numbers)
