"""Blocks of Llama, Qwen2 and Qwen3 for decoder.py."""

# R = rows of the step
from typing import Any

from torch import Tensor

from aha.rollout.local.decoder import Gated, Norm, Products, Rotate
from aha.rollout.local.native import NativeLayout

FAMILIES = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")


def supported(model: Any) -> bool:
    """Is every block of this model what `Layer` computes?"""
    if type(model).__name__ not in FAMILIES:
        return False
    decoder = model.get_decoder()
    return bool(2 * decoder.rotary_emb.inv_freq.numel() == decoder.layers[0].self_attn.head_dim)


class Layer:
    """Attention of grouped queries, heads normalised in Qwen3; a gated MLP."""

    def __init__(self, module: Any) -> None:
        attention = module.self_attn
        self.before_attention = Norm(module.input_layernorm)
        self.before_mlp = Norm(module.post_attention_layernorm)
        self.mlp = Gated(module.mlp)
        self._width: int = attention.head_dim
        self._scale: float = attention.scaling
        self._qkv = Products([attention.q_proj, attention.k_proj, attention.v_proj])
        self._o = Products([attention.o_proj])
        self._head_norms: tuple[Tensor, Tensor] | None = None
        self._head_eps = 0.0
        if hasattr(attention, "q_norm"):
            q, k = Norm(attention.q_norm), Norm(attention.k_norm)
            self._head_norms, self._head_eps = (q.weight, k.weight), q.eps

    def attend(self, number: int, x: Tensor, rotate: Rotate, layout: NativeLayout) -> Tensor:
        q, k, v = self._qkv(x)
        out = x.new_empty(len(x), q.shape[1])
        layout.rows_of(
            number,
            q.unflatten(1, (-1, self._width)),
            k.unflatten(1, (-1, self._width)),
            v.unflatten(1, (-1, self._width)),
            out,
            self._scale,
            rotate=rotate,
            norms=self._head_norms,
            eps=self._head_eps,
        )
        return self._o(out)[0]
