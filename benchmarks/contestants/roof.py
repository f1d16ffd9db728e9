"""What this machine can do in torch, and what a model's shapes ask of it."""

import functools
import time
from collections.abc import Callable
from typing import Any

import torch

SIDES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 1536, 576), (8192, 576, 1536))
"""Rows, inner, columns: square, and as the feed-forward part of a small model has them."""
COPY_BYTES = 512 << 20
"""Well beyond the caches."""


def measured(*, quick: bool = False) -> dict[str, Any]:
    """Best rates over shapes: float32 and bfloat16 products in FLOP/s, memory in bytes/s."""
    repeats = 2 if quick else 12
    found: dict[str, Any] = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        rates = {}
        for m, k, n in SIDES[:1] if quick else SIDES:
            a, b = torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype)
            out = torch.empty(m, n, dtype=dtype)
            product = functools.partial(torch.mm, a, b.t(), out=out)
            rates[f"{m}x{k}x{n}"] = 2 * m * k * n / _best(product, repeats)
        found[name] = {"flops": max(rates.values()), "by_shape": rates}
    size = COPY_BYTES // (16 if quick else 1)
    x, y, z = (torch.ones(size // 4) for _ in range(3))
    copy = 2 * size / _best(lambda: y.copy_(x), repeats)
    triad = 3 * size / _best(lambda: torch.add(x, y, alpha=1.5, out=z), repeats)
    read = size / _best(lambda: x.sum(), repeats)
    found["memory"] = {"bytes": max(copy, triad, read)}
    found["memory"] |= {"copy": copy, "triad": triad, "read": read}
    return found


def _best(call: Callable[[], Any], repeats: int) -> float:
    call()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def shapes(model: Any) -> dict[str, Any]:
    """Numbers of parameters in products (body; head), bytes of them all, and sizes of attention. A
    routed expert counts by the share of tokens that it sees, but with all its bytes."""
    text = model.config.get_text_config()
    head = text.vocab_size * text.hidden_size
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    output = model.get_output_embeddings().weight
    routed = (getattr(text, "num_experts_per_tok", 0) or 0) / (
        getattr(text, "n_routed_experts", 0) or 1
    )
    body, read = 0.0, output.numel() * output.element_size()
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or id(parameter) in embeddings or parameter is output:
            continue
        body += parameter.numel() * (routed if ".experts." in name else 1)
        read += parameter.numel() * parameter.element_size()
    heads = text.num_attention_heads
    if getattr(text, "kv_lora_rank", None):
        width = text.qk_nope_head_dim + text.qk_rope_head_dim
    else:
        width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return {
        "body": body,
        "head": head,
        "parameters": sum(p.numel() for p in model.parameters()),
        "weight_bytes": read,
        "layers": text.num_hidden_layers,
        "attention_width": heads * width,
    }
