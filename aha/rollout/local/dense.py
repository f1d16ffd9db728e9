"""A decoding step of Llama, Qwen2 and Qwen3 written out: few products, few passes, no modules.

What a module tree does in some forty operations a layer is four matrix products and four kernels
here. The weights are the policy's own. In bfloat16 they are packed once per policy version into the
blocks that the matrix kernel wants, which costs one more copy of them while answers are sampled.
"""

# R = rows of the step, V = vocabulary
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from aha.kernels import rows as kernels
from aha.kernels.low import call
from aha.models.policy import Policy
from aha.rollout.local.native import NativeLayout

FAMILIES = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
PACKED_ROWS = 64
"""The number of rows for which weights are packed; others work with the same blocks."""


def supported(policy: Policy) -> bool:
    """Is this a model that `Dense` computes?"""
    model = getattr(policy, "causal", None)  # a test's policy may have no model below it
    kind = type(model)
    if not (kind.__module__.startswith("transformers.") and kind.__name__ in FAMILIES):
        return False
    decoder: Any = model.get_decoder()  # type: ignore[union-attr]
    weight = decoder.embed_tokens.weight
    whole_head = 2 * decoder.rotary_emb.inv_freq.numel() == decoder.layers[0].self_attn.head_dim
    return (
        weight.dtype in (torch.float32, torch.bfloat16)
        and weight.device.type == "cpu"
        and decoder.config.hidden_act == "silu"
        and whole_head
        and not any(_adapting(module) for module in policy.modules())
    )


def _adapting(module: nn.Module) -> bool:
    """Is an adapter at work beside the weights (and so not merged into them)?"""
    return hasattr(module, "get_delta_weight") and not module.disable_adapters


class Dense:
    """Decoding with the weights that the policy has now; make a new one when they change."""

    def __init__(self, policy: Policy) -> None:
        model = policy.causal
        decoder = model.get_decoder()
        self.embedding: Tensor = model.get_input_embeddings().weight
        self.rotary = decoder.rotary_emb
        self.layers = [_Layer(layer) for layer in decoder.layers]
        self.norm = _Norm(decoder.norm)
        self.head = _Products([model.get_output_embeddings()])

    def logits(self, ids: Tensor, positions: Tensor, layout: NativeLayout) -> Tensor:
        """[R, V] in the working dtype, for one token of each row: ids [R], positions [R]."""
        hidden = self.embedding.index_select(0, ids)
        cos, sin = self.rotary(hidden[None], positions[None])
        rotate = cos[0].float().contiguous(), sin[0].float().contiguous()
        x = torch.empty_like(hidden)
        delta: Tensor | None = None
        for number, layer in enumerate(self.layers):
            self._add_norm(hidden, delta, layer.before_attention, x)
            q, k, v = layer.qkv(x)
            width = layer.width
            seen = hidden.new_empty(len(ids), q.shape[1])
            layout.rows_of(
                number,
                q.unflatten(1, (-1, width)),
                k.unflatten(1, (-1, width)),
                v.unflatten(1, (-1, width)),
                seen,
                layer.scale,
                rotate=rotate,
                norms=layer.head_norms,
                eps=layer.head_eps,
            )
            (delta,) = layer.o(seen)
            self._add_norm(hidden, delta, layer.before_mlp, x)
            gate, up = layer.gate_up(x)
            (delta,) = layer.down(self._swiglu(gate, up))
        self._add_norm(hidden, delta, self.norm, x)
        return self.head(x)[0]

    def _add_norm(self, hidden: Tensor, delta: Tensor | None, norm: "_Norm", out: Tensor) -> None:
        compiled, (rows, width) = kernels.add_norm(hidden.dtype), hidden.shape
        call(compiled, hidden.numel(), rows, width, hidden, delta, norm.weight, out, norm.eps)

    def _swiglu(self, gate: Tensor, up: Tensor) -> Tensor:
        out = torch.empty_like(gate, memory_format=torch.contiguous_format)
        given = (*out.shape, gate, gate.stride(0), up, out, up.stride(0))
        call(kernels.swiglu(gate.dtype), out.numel(), *given)
        return out


class _Norm:
    def __init__(self, module: Any) -> None:
        self.weight = module.weight.detach().float()
        self.eps = float(module.variance_epsilon)


class _Layer:
    def __init__(self, module: Any) -> None:
        attention, mlp = module.self_attn, module.mlp
        self.width: int = attention.head_dim
        self.scale: float = attention.scaling
        self.before_attention = _Norm(module.input_layernorm)
        self.before_mlp = _Norm(module.post_attention_layernorm)
        self.qkv = _Products([attention.q_proj, attention.k_proj, attention.v_proj])
        self.o = _Products([attention.o_proj])
        self.gate_up = _Products([mlp.gate_proj, mlp.up_proj])
        self.down = _Products([mlp.down_proj])
        self.head_norms: tuple[Tensor, Tensor] | None = None
        self.head_eps = 0.0
        if hasattr(attention, "q_norm"):
            q, k = attention.q_norm, attention.k_norm
            self.head_norms = q.weight.detach().float(), k.weight.detach().float()
            self.head_eps = q.variance_epsilon


class _Products:
    """Several linear maps of one input: one packed product in bfloat16, plain ones in float32."""

    def __init__(self, modules: Sequence[Any]) -> None:
        linears = [_plain(module) for module in modules]
        weights = [module.weight.detach() for module in linears]
        biases = [None if module.bias is None else module.bias.detach() for module in linears]
        self.sizes = [weight.shape[0] for weight in weights]
        self.plain = list(zip(weights, biases, strict=True))
        self.packed: Tensor | None = None
        self.bias: Tensor | None = None
        if weights[0].dtype == torch.bfloat16 and torch.backends.mkldnn.is_available():
            whole = torch.cat(weights) if len(weights) > 1 else weights[0]
            self.packed = torch.ops.mkldnn._reorder_linear_weight(whole, PACKED_ROWS)
            if any(bias is not None for bias in biases):
                self.bias = torch.cat(
                    [
                        weight.new_zeros(size) if bias is None else bias
                        for weight, bias, size in zip(weights, biases, self.sizes, strict=True)
                    ]
                )
            self.plain = []

    def __call__(self, x: Tensor) -> Sequence[Tensor]:
        if self.packed is None:
            return [linear(x, weight, bias) for weight, bias in self.plain]
        out = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return out.split(self.sizes, 1) if len(self.sizes) > 1 else [out]


def _plain(module: nn.Module) -> Any:
    """The linear map below an adapter (whose product is merged into it while answers are sampled)."""
    return module.get_base_layer() if hasattr(module, "get_base_layer") else module  # type: ignore[operator]
