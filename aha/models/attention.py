"""One attention function for all transformers models: it asks the layout that travels with the call.

A model is called with `use_cache=False` on one packed stream `[1, T]`, explicit `position_ids`, and
`layout=`, a keyword that transformers hands down to the attention function. The layout decides who
sees whom and owns whatever keys and values are kept. So prefix sharing, packing and decoding need no
change in any model. (The HF `Cache` class cannot express a shared prefix.)

What a model must not need: sliding windows, attention sinks, logit soft-capping inside attention.
These are refused at load, not ignored.
"""

# T = tokens of the stream, H = query heads, K = key/value heads, D = head width, B = rows of a bucket
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
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


class PackedLayout:
    """A stream of segments, for training, scoring and prefill. Differentiable.

    Shared by all layers of one forward pass. Similar segments are padded together for the attention
    only (at most `waste` of the cells are padding), so many short answers cost few calls. The segments
    cover the stream, each position once.
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
        self._tokens = sum(segment.length for segment in segments)
        groups = _group(self.segments, waste=waste, cells=cells)
        self._buckets = [_Bucket(group, device) for group in groups]
        self._moves: dict[tuple[int, bool], _Moves] = {}

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        width, value_width, heads = q.shape[-1], v.shape[-1], q.shape[1]
        if value_width > width:
            raise ValueError(f"values wider than keys ({value_width} > {width}) are not supported")
        if q.shape[2] != self._tokens:
            raise ValueError(f"segments of {self._tokens} tokens for a stream of {q.shape[2]}")
        if value_width < width:  # SDPA on CPU wants one width for keys and values
            v = pad(v, (0, width - value_width))
        moves = self._moves_of(heads, keys=False)
        to_keys = self._moves_of(k.shape[1], keys=True)
        queries = _Spread.apply(_by_token(q), moves)
        keys, values = _Spread.apply(_by_token(k), to_keys), _Spread.apply(_by_token(v), to_keys)
        answers = []
        for bucket, query, key, value in zip(self._buckets, queries, keys, values, strict=True):
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
                    enable_gqa=heads != k.shape[1],
                )
            answers.append(answer)
        out = _Gather.apply(moves, *answers).view(1, -1, heads, width)
        return out if value_width == width else out[..., :value_width]

    def _moves_of(self, heads: int, *, keys: bool) -> "_Moves":
        if (heads, keys) not in self._moves:
            self._moves[heads, keys] = _Moves(self._buckets, heads, keys, self._tokens)
        return self._moves[heads, keys]


def _by_token(x: Tensor) -> Tensor:
    """[1, N, T, D] -> [T * N, D]; a view of what a projection gives."""
    return x[0].transpose(0, 1).reshape(-1, x.shape[3])


class _Bucket:
    """Segments of similar shape, padded to one call: B rows of L queries and P + L keys."""

    def __init__(self, segments: list[Segment], device: torch.device | str) -> None:
        self.prefix = prefix = max(s.prefix_length for s in segments)
        longest = max(s.length for s in segments)
        start = torch.tensor([s.start for s in segments], device=device)[:, None]
        length = torch.tensor([s.length for s in segments], device=device)[:, None]
        size = torch.tensor([s.prefix_length for s in segments], device=device)[:, None]
        offset = torch.arange(longest, device=device)[None]
        self.real = offset < length
        """[B, L]: not padding."""
        # padding repeats the first token; nobody sees it, and its own row is not used
        self.queries = self.keys = torch.where(self.real, start + offset, start)
        """[B, L] and [B, P + L]: positions in the stream."""
        if prefix:
            first = torch.tensor([s.prefix_start for s in segments], device=device)[:, None]
            column = torch.arange(prefix, device=device)[None] - (prefix - size)  # right-aligned
            self.keys = torch.cat(
                [torch.where(column >= 0, first + column, start), self.queries], 1
            )
        self.first = (prefix - size)[:, 0]
        """[B]: the first real key of each row; the last L keys are its own."""

    @functools.cached_property
    def mask(self) -> Tensor | None:
        """[B or 1, 1, L, P + L] bool; None: plain causal."""
        if not self.prefix:
            return None
        rows, longest = self.real.shape
        device = self.first.device
        causal = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
        seen = torch.arange(self.prefix, device=device)[None] >= self.first[:, None]
        if bool((self.first == 0).all()):
            rows, seen = 1, seen[:1]
        parts = [seen[:, None].expand(-1, longest, -1), causal.expand(rows, -1, -1)]
        return torch.cat(parts, 2)[:, None]


class _Moves:
    """Where numbers of a head go between stream order [T * N] and the buckets' [B, N, cells].

    Index tensors, int64, of one number of heads N; the flat order of all buckets, one after the other,
    is called the cells.
    """

    def __init__(self, buckets: Sequence[_Bucket], heads: int, keys: bool, tokens: int) -> None:
        device = buckets[0].first.device if buckets else torch.device("cpu")
        head = torch.arange(heads, device=device)[None, :, None]
        self.shapes: list[tuple[int, int, int]] = []
        self.sources: list[Tensor] = []
        """For each bucket: the stream index of each of its cells."""
        self.home = torch.zeros(tokens * heads, dtype=torch.long, device=device)
        """The cell of each stream index, as a segment's own token."""
        spare: list[Tensor] = []
        shared: list[Tensor] = []
        begin = 0
        for bucket in buckets:
            positions = bucket.keys if keys else bucket.queries
            before = bucket.prefix if keys else 0
            rows, width = positions.shape
            source = positions[:, None] * heads + head  # [B, N, cells of a row]
            cell = begin + torch.arange(source.numel(), device=device).view_as(source)
            real = bucket.real[:, None].expand(-1, heads, -1)
            own = source[..., before:][real]
            self.home[own] = cell[..., before:][real]
            spare.append(cell[..., before:][~real])
            seen = torch.arange(before, device=device)[None] >= bucket.first[:, None]
            shared.append(cell[..., :before][seen[:, None].expand(-1, heads, -1)])
            self.sources.append(source.flatten())
            self.shapes.append((rows, heads, width))
            begin += source.numel()
        self.spare = torch.cat(spare) if spare else self.home[:0]
        """Cells that only pad."""
        self.shared = torch.cat(shared) if shared else self.home[:0]
        """Cells of prefixes: copies of keys that have a home elsewhere."""
        self.every = torch.cat(self.sources) if self.sources else self.home[:0]
        self.shared_source = self.every[self.shared]


class _Spread(torch.autograd.Function):
    """Numbers in stream order [T * N, D] -> for each bucket [B, N, cells, D]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, moves: _Moves) -> tuple[Tensor, ...]:
        ctx.moves = moves
        found = zip(moves.sources, moves.shapes, strict=True)
        return tuple(x.index_select(0, source).view(*shape, -1) for source, shape in found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        moves: _Moves = ctx.moves
        flat = [slope.reshape(-1, slope.shape[-1]) for slope in slopes]
        cells = flat[0] if len(flat) == 1 else torch.cat(flat)
        out = cells.index_select(0, moves.home)
        if len(moves.shared):
            out.index_add_(0, moves.shared_source, cells.index_select(0, moves.shared))
        return out, None


class _Gather(torch.autograd.Function):
    """What each bucket has computed [B, N, L, D] -> stream order [T * N, D]."""

    @staticmethod
    def forward(ctx: Any, moves: _Moves, *answers: Tensor) -> Tensor:
        ctx.moves = moves
        flat = [answer.reshape(-1, answer.shape[-1]) for answer in answers]
        return (flat[0] if len(flat) == 1 else torch.cat(flat)).index_select(0, moves.home)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        moves: _Moves = ctx.moves
        cells = slope.index_select(0, moves.every)
        cells.index_fill_(0, moves.spare, 0.0)
        sizes = [len(source) for source in moves.sources]
        parts = zip(cells.split(sizes), moves.shapes, strict=True)
        return None, *(part.view(*shape, -1) for part, shape in parts)


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
