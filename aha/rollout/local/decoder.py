"""A decoding step written out: few products, few passes, no modules.

What a module tree does in some forty operations a layer is four to ten matrix products and a few
kernels here. Layers of Llama, Qwen2 and Qwen3 are in dense.py, those of DeepSeek-V3 in latent.py. The
weights are the policy's own. In bfloat16 they are packed once per policy version into the blocks that
the matrix kernel wants, which costs one more copy of them while answers are sampled.
"""

# R = rows of the step, V = vocabulary
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from aha.kernels import rows as kernels
from aha.kernels.low import call
from aha.models.policy import Policy
from aha.rollout.local.native import NativeLayout

PACKED_ROWS = 64
"""The number of rows for which weights are packed; others work with the same blocks."""
JOINED_BYTES = 1 << 20
"""Float32 weights of one input are joined into one product up to this size: a call costs more."""
STATIC_ROTARY = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary embedding whose angles depend on the position alone."""

Rotate = tuple[Tensor, Tensor]
"""Cosines and sines [R, D] float32."""


class Layer(Protocol):
    """One block; see dense.py and latent.py."""

    before_attention: "Norm"
    before_mlp: "Norm"

    def attend(self, number: int, x: Tensor, rotate: Rotate, layout: NativeLayout) -> Tensor:
        """[R, width] -> [R, width]; writes keys and values of layer `number`."""

    def mlp(self, x: Tensor) -> Tensor:
        """[R, width] -> [R, width]."""


def of(policy: Policy) -> "Decoder | None":
    """A decoder with the weights that the policy has now, or None: not a model that is written out."""
    from aha.rollout.local import dense, latent

    model = getattr(policy, "causal", None)  # a test's policy may have no model below it
    if not type(model).__module__.startswith("transformers."):
        return None
    weight = model.get_decoder().embed_tokens.weight  # type: ignore[union-attr]
    if weight.dtype not in (torch.float32, torch.bfloat16) or weight.device.type != "cpu":
        return None
    if model.config.hidden_act != "silu" or any(map(_adapting, policy.modules())):  # type: ignore[union-attr]
        return None
    if dense.supported(model):
        return Decoder(model, dense.Layer)
    return Decoder(model, latent.Layer) if latent.supported(model) else None


def _adapting(module: nn.Module) -> bool:
    """Is an adapter at work beside the weights (and so not merged into them)?"""
    return hasattr(module, "get_delta_weight") and not module.disable_adapters


class Decoder:
    """Decoding with the weights that a model has now; make a new one when they change."""

    def __init__(self, model: Any, layer: Callable[[Any], Layer]) -> None:
        decoder = model.get_decoder()
        self.embedding: Tensor = model.get_input_embeddings().weight
        self.rotary = decoder.rotary_emb
        self.layers = [layer(module) for module in decoder.layers]
        self.norm = Norm(decoder.norm)
        self.head = Products([model.get_output_embeddings()])
        self._table: Rotate | None = None

    def logits(self, ids: Tensor, positions: Tensor, layout: NativeLayout) -> Tensor:
        """[R, V] in the working dtype, for one token of each row: ids [R], positions [R]."""
        hidden = self.embedding.index_select(0, ids)
        rotate = self._rotate(hidden, positions, layout.longest)
        x = torch.empty_like(hidden)
        delta: Tensor | None = None
        for number, layer in enumerate(self.layers):
            add_norm(hidden, delta, layer.before_attention, x)
            delta = layer.attend(number, x, rotate, layout)
            add_norm(hidden, delta, layer.before_mlp, x)
            delta = layer.mlp(x)
        add_norm(hidden, delta, self.norm, x)
        return self.head(x)[0]

    def _rotate(self, hidden: Tensor, positions: Tensor, longest: int) -> Rotate:
        """Cosines and sines of positions below `longest`, as the model would round them."""
        if self.rotary.rope_type not in STATIC_ROTARY:
            cos, sin = self.rotary(hidden[None], positions[None])
            return cos[0].float().contiguous(), sin[0].float().contiguous()
        if self._table is None or len(self._table[0]) < longest:
            every = torch.arange(2 * longest, device=hidden.device)
            cos, sin = self.rotary(hidden[None], every[None])
            self._table = cos[0].float().contiguous(), sin[0].float().contiguous()
        cos, sin = self._table
        return cos.index_select(0, positions), sin.index_select(0, positions)


def add_norm(hidden: Tensor, delta: Tensor | None, norm: "Norm", out: Tensor) -> None:
    """hidden += delta; out = norm(hidden). All [R, W], contiguous."""
    compiled, (rows, width) = kernels.add_norm(hidden.dtype), hidden.shape
    call(compiled, hidden.numel(), rows, width, hidden, delta, norm.weight, out, norm.eps)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up; both [R, W], each with its own row stride."""
    out = torch.empty_like(gate, memory_format=torch.contiguous_format)
    given = (*out.shape, gate, gate.stride(0), up, out, up.stride(0))
    call(kernels.swiglu(gate.dtype), out.numel(), *given)
    return out


class Norm:
    def __init__(self, module: Any) -> None:
        self.weight = module.weight.detach().float()
        self.eps = float(module.variance_epsilon)


class Gated:
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, mlp: Any) -> None:
        self.gate_up = Products([mlp.gate_proj, mlp.up_proj])
        self.down = Products([mlp.down_proj])

    def __call__(self, x: Tensor) -> Tensor:
        return self.down(swiglu(*self.gate_up(x)))[0]


class Products:
    """Several linear maps of one input: one packed product in bfloat16, plain ones in float32."""

    def __init__(self, modules: Sequence[Any]) -> None:
        linears = [_plain(module) for module in modules]
        weights = [module.weight.detach() for module in linears]
        biases = [None if module.bias is None else module.bias.detach() for module in linears]
        self.sizes = [weight.shape[0] for weight in weights]
        self._packed = _can_pack(weights[0])
        if len(weights) > 1 and (self._packed or sum(w.nbytes for w in weights) <= JOINED_BYTES):
            if any(bias is not None for bias in biases):
                filled = zip(weights, biases, strict=True)
                biases = [torch.cat([w.new_zeros(len(w)) if b is None else b for w, b in filled])]
            else:
                biases = [None]
            weights = [torch.cat(weights)]
        if self._packed:
            weights = [torch.ops.mkldnn._reorder_linear_weight(weights[0], PACKED_ROWS)]
        self._maps = list(zip(weights, biases, strict=True))

    def __call__(self, x: Tensor) -> Sequence[Tensor]:
        if self._packed:
            ((weight, bias),) = self._maps
            outs = [torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")]
        else:
            outs = [linear(x, weight, bias) for weight, bias in self._maps]
        return outs if len(outs) == len(self.sizes) else outs[0].split(self.sizes, 1)


def _can_pack(weight: Tensor) -> bool:
    """bfloat16, and this torch has the (not public) operations."""
    known = hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    known = known and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return known and weight.dtype == torch.bfloat16 and torch.backends.mkldnn.is_available()


def _plain(module: nn.Module) -> Any:
    """The linear map below an adapter (whose product is merged into it while answers are sampled)."""
    return module.get_base_layer() if hasattr(module, "get_base_layer") else module  # type: ignore[operator]
