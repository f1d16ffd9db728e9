"""Blocks of DeepSeek-V3 for decoder.py: latent attention, and experts of which each row uses a few."""

# R = rows of the step, E = experts, N = experts of a row
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from aha.kernels import experts as kernel
from aha.kernels.low import call
from aha.rollout.local.decoder import Gated, Norm, Products, Rotate, add_norm, swiglu
from aha.rollout.local.native import NativeLayout


def supported(model: Any) -> bool:
    """Is every block of this model what `Layer` computes?"""
    if type(model).__name__ != "DeepseekV3ForCausalLM":
        return False
    config, angles = model.config, model.get_decoder().rotary_emb.inv_freq.numel()
    narrow = config.v_head_dim <= config.qk_nope_head_dim + config.qk_rope_head_dim
    return bool(narrow and 2 * angles == config.qk_rope_head_dim)


class Layer:
    """Latent attention, its keys and values expanded; a gated MLP or a mixture of experts."""

    def __init__(self, module: Any) -> None:
        attention, config = module.self_attn, module.self_attn.config
        self.before_attention = Norm(module.input_layernorm)
        self.before_mlp = Norm(module.post_attention_layernorm)
        self.mlp = _Experts(module.mlp) if hasattr(module.mlp, "experts") else Gated(module.mlp)
        self._heads: int = config.num_attention_heads
        self._plain: int = config.qk_nope_head_dim
        self._turned: int = config.qk_rope_head_dim
        self._value: int = config.v_head_dim
        self._pairs = bool(config.rope_interleave)
        self._scale: float = attention.scaling
        self._latent: int = config.kv_lora_rank
        lora = attention.q_lora_rank is not None
        self._into = Products(
            [attention.q_a_proj if lora else attention.q_proj, attention.kv_a_proj_with_mqa]
        )
        self._q_norm = Norm(attention.q_a_layernorm) if lora else None
        self._q = Products([attention.q_b_proj]) if lora else None
        self._kv_norm = Norm(attention.kv_a_layernorm)
        self._kv = Products([attention.kv_b_proj])
        self._o = Products([attention.o_proj])

    def attend(self, number: int, x: Tensor, rotate: Rotate, layout: NativeLayout) -> Tensor:
        q, small = self._into(x)
        if self._q is not None and self._q_norm is not None:
            (q,) = self._q(_normed(q, self._q_norm))
        (kv,) = self._kv(_normed(small[:, : self._latent], self._kv_norm))
        turned = small[:, self._latent :]
        rows, width = len(x), self._plain + self._turned
        keys, values = (x.new_empty(rows, self._heads, width) for _ in range(2))
        compiled = kernel.latent(x.dtype, self._plain, self._turned, self._value, self._pairs)
        given = (rows, self._heads, q, q.stride(0), kv, turned, turned.stride(0), keys, values)
        call(compiled, 4 * keys.numel(), *given, *rotate)
        out = torch.empty_like(keys)
        query = q.unflatten(1, (-1, width))
        layout.rows_of(number, query, keys, values, out.flatten(1), self._scale)
        return self._o(out[..., : self._value].flatten(1))[0]


def _normed(x: Tensor, norm: Norm) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    add_norm(x, None, norm, out)
    return out


class _Experts:
    """Rows sorted by expert, so each expert is two products over its rows; and the shared expert."""

    def __init__(self, module: Any) -> None:
        gate = module.gate
        self._router = gate.weight.detach().float()
        self._bias = gate.e_score_correction_bias.detach().float()
        self._groups = int(gate.num_group), int(gate.topk_group)
        self._chosen = int(gate.top_k)
        self._rule = int(gate.norm_topk_prob), float(gate.routed_scaling_factor)
        self._gate_up = module.experts.gate_up_proj.detach().transpose(1, 2).unbind()
        self._down = module.experts.down_proj.detach().transpose(1, 2).unbind()
        self._shared = Gated(module.shared_experts)

    def __call__(self, x: Tensor) -> Tensor:
        logits = linear(x.float(), self._router)
        (rows, experts), chosen = logits.shape, self._chosen
        source = torch.empty(rows * chosen, dtype=torch.long)
        places, edges = torch.empty_like(source), torch.empty(experts + 1, dtype=torch.long)
        weights, room = torch.empty(rows * chosen), torch.empty(2 * experts + self._groups[0])
        given = (experts, logits, self._bias, *self._groups, chosen, *self._rule)
        call(kernel.route(), 0, rows, *given, source, places, weights, edges, room)

        moved = x.index_select(0, source)
        between = x.new_empty(len(moved), self._gate_up[0].shape[1])
        parts = torch.empty_like(moved)
        bounds = edges.tolist()
        used = [e for e in range(experts) if bounds[e + 1] > bounds[e]]
        for e in used:
            mine = slice(bounds[e], bounds[e + 1])
            torch.mm(moved[mine], self._gate_up[e], out=between[mine])
        inner = swiglu(*between.chunk(2, 1))
        for e in used:
            mine = slice(bounds[e], bounds[e + 1])
            torch.mm(inner[mine], self._down[e], out=parts[mine])
        shared, out = self._shared(x), torch.empty_like(x)
        joined = (parts, places, weights, shared, out)
        call(kernel.combine(x.dtype), parts.numel(), rows, x.shape[1], chosen, *joined)
        return out
