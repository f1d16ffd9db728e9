"""One attention function for all transformers models: it asks the layout that travels with the call.

A model is called with `use_cache=False` on one packed stream `[1, T]`, explicit `position_ids`, and
`layout=`, a keyword that transformers hands down to the attention function. The layout decides who
sees whom and owns whatever keys and values are kept. So prefix sharing, packing and decoding need no
change in any model. (The HF `Cache` class cannot express a shared prefix.)

What a model must not need: sliding windows, attention sinks, logit soft-capping inside attention.
These are refused at load, not ignored.
"""

# T = tokens of the stream, H = query heads, K = key/value heads, D = head width, B = rows of a bucket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from aha.models import fused

NAME = "aha_layout"


class Layout(Protocol):
    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """q [1,H,T,D], k [1,K,T,D], v [1,K,T,Dv] -> [1,T,H,Dv]."""


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    layout: Layout | None = None,
    **ignored: Any,
) -> tuple[Tensor, None]:
    if layout is None:
        raise ValueError(
            f"attention {NAME!r} needs the keyword layout=; call the model through Policy"
        )
    if ignored.get("sliding_window") or ignored.get("softcap") or ignored.get("s_aux") is not None:
        raise ValueError("sliding windows, soft-capping and attention sinks are not supported")
    layer: int = module.layer_idx  # type: ignore[assignment]
    return layout.attend(layer, query, key, value, scaling), None


def register() -> str:
    """Make the attention function known to transformers; returns its name."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)
    return NAME


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens start..start+length of the stream; each sees the prefix and, causally, its own segment."""

    start: int
    length: int
    prefix_start: int = 0
    prefix_length: int = 0


@dataclass(frozen=True, slots=True)
class _Bucket:
    """Segments of similar shape, padded to one SDPA call."""

    queries: Tensor  # [B * L] stream index of each query (padding repeats index 0 of its row)
    keys: Tensor  # [B * (P + L)] stream index of each key
    mask: Tensor | None  # [B or 1, 1, L, P + L] bool, None: plain causal
    rows: int
    first: Tensor  # [B] int64, the first real key of each segment; the last L keys are its own
    take: Tensor  # flat indices of real queries among B * L
    put: Tensor  # their stream positions


class PackedLayout:
    """A stream of segments, for training, scoring and prefill. Differentiable.

    Shared by all layers of one forward pass. Similar segments are padded together for the attention
    only (at most `waste` of the cells are padding), so many short answers cost few calls.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        *,
        device: torch.device | str = "cpu",
        waste: float = 0.3,
        cells: int = 1 << 22,
    ) -> None:
        self.segments = tuple(segments)
        self._buckets = [
            _bucket(group, device) for group in _group(self.segments, waste=waste, cells=cells)
        ]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        width, value_width = q.shape[-1], v.shape[-1]
        if value_width > width:
            raise ValueError(f"values wider than keys ({value_width} > {width}) are not supported")
        if value_width < width:  # SDPA on CPU wants one width for keys and values
            v = pad(v, (0, width - value_width))
        grouped = q.shape[1] != k.shape[1]
        out = q.new_zeros(q.shape[2], q.shape[1], width)
        for bucket in self._buckets:
            query = _rows(q, bucket.queries, bucket.rows)
            key, value = _rows(k, bucket.keys, bucket.rows), _rows(v, bucket.keys, bucket.rows)
            if q.dtype == torch.bfloat16 and fused.usable(q, k, v):
                answer = fused.Attention.apply(query, key, value, bucket.first, scale)
            else:
                answer = scaled_dot_product_attention(
                    query,
                    key,
                    value,
                    attn_mask=bucket.mask,
                    is_causal=bucket.mask is None,
                    scale=scale,
                    enable_gqa=grouped,
                )
            flat = answer.transpose(1, 2).reshape(-1, q.shape[1], width)
            out = out.index_put((bucket.put,), flat[bucket.take])
        return out[None, ..., :value_width]


def _rows(x: Tensor, index: Tensor, rows: int) -> Tensor:
    """[1, N, T, D] -> [rows, N, len(index) / rows, D]."""
    heads, width = x.shape[1], x.shape[3]
    picked = x[0].index_select(1, index)
    return picked.view(heads, rows, -1, width).transpose(0, 1)


def _group(segments: Sequence[Segment], *, waste: float, cells: int) -> list[list[Segment]]:
    """Segments of similar prefix and length together; prefixless ones apart (plain causal)."""
    groups: list[list[Segment]] = []
    order = sorted(
        (s for s in segments if s.length),
        key=lambda s: (s.prefix_length > 0, s.length + s.prefix_length, s.length),
    )
    for segment in order:
        if groups:
            last = [*groups[-1], segment]
            longest = max(s.length for s in last)
            prefix = max(s.prefix_length for s in last)
            padded = len(last) * longest * (longest + prefix)
            real = sum(s.length * (s.length + s.prefix_length) for s in last)
            same = (groups[-1][0].prefix_length > 0) == (segment.prefix_length > 0)
            small = padded <= 64 * 1024  # so small that a call costs more than its padding
            if same and padded <= cells and (small or real >= (1 - waste) * padded):
                groups[-1].append(segment)
                continue
        groups.append([segment])
    return groups


def _bucket(segments: list[Segment], device: torch.device | str) -> _Bucket:
    longest = max(s.length for s in segments)
    prefix = max(s.prefix_length for s in segments)
    start = torch.tensor([s.start for s in segments])[:, None]
    length = torch.tensor([s.length for s in segments])[:, None]
    offset = torch.arange(longest)[None]
    real = offset < length
    own = torch.where(real, start + offset, start)  # padding repeats the first token: masked anyway
    keys, mask = own, None
    if prefix:
        size = torch.tensor([s.prefix_length for s in segments])[:, None]
        first = torch.tensor([s.prefix_start for s in segments])[:, None]
        column = torch.arange(prefix)[None] - (prefix - size)  # right-aligned
        shared = torch.where(column >= 0, first + column, start)
        keys = torch.cat([shared, own], 1)
        causal = torch.ones(longest, longest, dtype=torch.bool).tril()
        seen = (column >= 0)[:, None, :].expand(-1, longest, -1)
        mask = torch.cat([seen, causal.expand(len(segments), -1, -1)], 2)[:, None]
        if bool((size == prefix).all()):
            mask = mask[:1]
    take = real.flatten().nonzero().squeeze(1)
    return _Bucket(
        queries=own.flatten().to(device),
        keys=keys.flatten().to(device),
        mask=None if mask is None else mask.to(device),
        rows=len(segments),
        first=torch.tensor([prefix - s.prefix_length for s in segments], device=device),
        take=take.to(device),
        put=own.flatten()[take].to(device),
    )
