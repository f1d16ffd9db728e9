"""Keys and values of live answers: one shared prefix per group, one slot per answer.

Everything is allocated once and written in place. Live slots and live prefixes are kept contiguous
(the last one moves into a hole), so attention reads plain views. One decode step attends to the
prefix (all answers of a group at once) and to the answer's own tokens, and joins both by their
log-sum-exp.

Memory: 2 x layers x key heads x key width x bytes a token (values are padded to the width of keys),
for slots x answer tokens plus prefixes x prompt tokens. Latent attention (MLA) is kept expanded.
"""

# R = rows of the step, K = key/value heads, G = query heads per key head, D = head width
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from aha.kernels import AVAILABLE
from aha.models.attention import PackedLayout, Segment

NATIVE = AVAILABLE
"""Attend with the compiled kernel (native.py) where there is a CPU; tests switch it off."""
MIN_ROWS = 8
"""Rows are padded to this: products of 1-3 rows use other kernels, whose rounding differs."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What one token costs."""

    layers: int
    heads: int
    width: int
    """Width of keys; values are padded to it."""
    dtype: torch.dtype
    device: torch.device

    @property
    def token_bytes(self) -> int:
        return 2 * self.layers * self.heads * self.width * self.dtype.itemsize


def kept_dtype(computed: torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype that keys and values are kept in: the model's own, if attention is as fast in it.

    Without the compiled kernel a CPU's attention is three times slower in bfloat16.
    """
    if device.type == "cpu" and not (NATIVE and computed in (torch.float32, torch.bfloat16)):
        return torch.float32
    return computed


class Cache:
    """Slots for `slots` answers of up to `answer_tokens`, prefixes for `groups` prompts."""

    def __init__(
        self, shape: Shape, *, slots: int, answer_tokens: int, groups: int, prompt_tokens: int
    ) -> None:
        self.shape = shape
        self.slots, self.answer_tokens = slots, answer_tokens
        self.groups, self.prompt_tokens = groups, prompt_tokens

        def room(rows: int, tokens: int) -> list[Tensor]:
            size = (rows, shape.heads, tokens, shape.width)
            make = lambda: torch.zeros(size, dtype=shape.dtype, device=shape.device)  # noqa: E731
            return [make() for _ in range(shape.layers)]

        padded = slots + MIN_ROWS  # rows that only fill a step up to MIN_ROWS write here
        self.own_k, self.own_v = room(padded, answer_tokens), room(padded, answer_tokens)
        self.prefix_k, self.prefix_v = room(groups, prompt_tokens), room(groups, prompt_tokens)

    def move_slot(self, source: int, target: int, tokens: int) -> None:
        for layer in (*self.own_k, *self.own_v):
            layer[target, :, :tokens].copy_(layer[source, :, :tokens])

    def move_prefix(self, source: int, target: int, tokens: int) -> None:
        for layer in (*self.prefix_k, *self.prefix_v):
            layer[target, :, :tokens].copy_(layer[source, :, :tokens])


class PrefillLayout(PackedLayout):
    """New prompts, packed; their keys and values go to the given prefix places."""

    def __init__(self, cache: Cache, lengths: list[int], places: list[int]) -> None:
        starts = [sum(lengths[:i]) for i in range(len(lengths))]
        super().__init__(
            [Segment(start, length) for start, length in zip(starts, lengths, strict=True)],
            device=cache.shape.device,
        )
        self.cache, self.places = cache, places

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        out = super().attend(layer, q, k, v, scale)
        if v.shape[-1] < k.shape[-1]:
            v = pad(v, (0, k.shape[-1] - v.shape[-1]))
        for segment, place in zip(self.segments, self.places, strict=True):
            span = slice(segment.start, segment.start + segment.length)
            self.cache.prefix_k[layer][place, :, : segment.length] = k[0, :, span]
            self.cache.prefix_v[layer][place, :, : segment.length] = v[0, :, span]
        return out


@dataclass(frozen=True, slots=True)
class StepShape:
    """Sizes of the tensors of one decoding step. What is beyond the answers that live is masked."""

    rows: int
    longest: int
    """Own tokens that attention reads, the new one included."""
    places: int
    most: int
    """Rows that one prefix is read for."""
    longest_prefix: int

    @classmethod
    def exact(cls, used: Sequence[int], group: Sequence[int], prefix: Sequence[int]) -> "StepShape":
        """As small as this step can be."""
        most = max(group.count(place) for place in range(len(prefix)))
        return cls(len(used), max(used) + 1, len(prefix), most, max(prefix))

    @property
    def words(self) -> int:
        return 2 * self.rows + self.places * self.most + self.places


class DecodeLayout:
    """One new token for each of the first R slots.

    Args:
        used: tokens each slot holds before this step, [R] list.
        group: prefix place of each slot, [R] list; -1 for padding rows.
        prefix: tokens of each live prefix, list over places.
        shape: as large as this step or larger; then the same layout serves later steps by `fill`.
    """

    def __init__(
        self,
        cache: Cache,
        used: Sequence[int],
        group: Sequence[int],
        prefix: Sequence[int],
        shape: StepShape | None = None,
    ) -> None:
        device = cache.shape.device
        self.cache, self.shape = cache, shape or StepShape.exact(used, group, prefix)
        rows, places, most = self.shape.rows, self.shape.places, self.shape.most
        self.rows = rows
        self.row = torch.arange(rows, device=device)
        self._words = torch.zeros(self.shape.words, dtype=torch.long, device=device)
        self.used, self.where, self.members, self.size = self._words.split(
            [rows, rows, places * most, places]
        )
        self.fill(used, group, prefix)
        self.begin()

    def fill(self, used: Sequence[int], group: Sequence[int], prefix: Sequence[int]) -> None:
        """Indices of a step, in the tensors that are there; `begin` comes after it."""
        rows, places, most = self.shape.rows, self.shape.places, self.shape.most
        members = [0] * (places * most)
        where = [0] * rows
        filled = [0] * places
        for row, place in enumerate(group):
            if place >= 0:
                where[row] = place * most + filled[place]
                members[where[row]] = row
                filled[place] += 1
        spare = [0] * (rows - len(used))
        sizes = [*prefix, *[1] * (places - len(prefix))]
        self._words.copy_(torch.tensor([*used, *spare, *where, *members, *sizes]))

    def begin(self) -> None:
        """Masks of this step, from its indices; operations of the device only."""
        device = self.cache.shape.device
        column = torch.arange(self.shape.longest, device=device)
        self.own_mask = (column[None] <= self.used[:, None])[:, None, None]  # [R,1,1,L]
        column = torch.arange(self.shape.longest_prefix, device=device)
        self.prefix_mask = (column[None] < self.size[:, None])[:, None, None]  # [P,1,1,L]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        cache, width, value_width = self.cache, k.shape[-1], v.shape[-1]
        longest, places, most = self.shape.longest, self.shape.places, self.shape.most
        if value_width < width:
            v = pad(v, (0, width - value_width))
        own_k, own_v = cache.own_k[layer], cache.own_v[layer]
        own_k[self.row, :, self.used] = k[0].transpose(0, 1).to(own_k.dtype)
        own_v[self.row, :, self.used] = v[0].transpose(0, 1).to(own_v.dtype)

        heads = k.shape[1]
        query = q[0].transpose(0, 1).reshape(self.rows, heads, -1, width)  # [R, K, G, D]
        query = query.to(own_k.dtype)
        near, near_total = attend_part(
            query,
            own_k[: self.rows, :, :longest],
            own_v[: self.rows, :, :longest],
            self.own_mask,
            scale,
        )
        per_head = query.shape[2]
        together = (
            query.index_select(0, self.members)
            .view(places, most, heads, per_head, width)
            .transpose(1, 2)
            .reshape(places, heads, most * per_head, width)
        )
        far, far_total = attend_part(
            together,
            cache.prefix_k[layer][:places, :, : self.shape.longest_prefix],
            cache.prefix_v[layer][:places, :, : self.shape.longest_prefix],
            self.prefix_mask,
            scale,
        )
        far = self._back(far.view(places, heads, most, per_head, width))
        far_total = self._back(far_total.view(places, heads, most, per_head, 1))
        near_total = near_total.unsqueeze(-1)
        share = torch.sigmoid(far_total - near_total)  # exp(far) / (exp(far) + exp(near))
        out = near.float() + share * (far.float() - near.float())
        return out.to(q.dtype).reshape(1, self.rows, -1, width)[..., :value_width]

    def _back(self, x: Tensor) -> Tensor:
        """[places, K, most, G, D] -> [R, K, G, D]."""
        return x.transpose(1, 2).flatten(0, 1).index_select(0, self.where)


def attend_part(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Attention over a part of the keys, and the log-sum-exp of its scores.

    q [B,K,N,D], k and v [B,K,L,D], mask [B,1,1,L] bool (at least one True a row)
    -> [B,K,N,D] and [B,K,N] float32.
    """
    if q.device.type == "cpu":
        bias = torch.zeros(mask.shape, dtype=q.dtype).masked_fill_(~mask, float("-inf"))
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, attn_mask=bias.expand(-1, 1, q.shape[2], -1), scale=scale
        )
    scores = torch.matmul(q, k.transpose(-1, -2)).float() * scale
    scores = scores.masked_fill(~mask, float("-inf"))
    total = scores.logsumexp(-1)
    shares = torch.exp(scores - total.unsqueeze(-1)).to(v.dtype)
    return torch.matmul(shares, v), total
