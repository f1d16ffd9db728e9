"""Low-rank adapters while decoding: W + BA, computed anew each time from the kept base.

Training runs base and adapter side by side. For a rollout phase each adapted matrix is replaced by
the rounded sum, which costs one product per phase instead of two more per token; afterwards the kept
base tensor itself is put back. It is never subtracted out again: in bfloat16 that would drift.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from aha.models.policy import Policy


@contextmanager
def merged(policy: Policy) -> Iterator[None]:
    """While inside, the policy computes with merged weights. Without adapters: nothing happens.

    Memory: one more copy of the adapted matrices.
    """
    layers: list[Any] = [m for m in policy.modules() if _adapted(m)]
    kept: list[tuple[Any, torch.Tensor]] = []
    try:
        with torch.no_grad():
            for layer in layers:
                base = layer.get_base_layer()
                delta = sum(layer.get_delta_weight(name).float() for name in layer.active_adapters)
                kept.append((base, base.weight.data))
                base.weight.data = (base.weight.data.float() + delta).to(base.weight.dtype)
                layer.enable_adapters(False)
        yield
    finally:
        for base, weight in kept:
            base.weight.data = weight
        for layer in layers:
            layer.enable_adapters(True)


def _adapted(module: torch.nn.Module) -> bool:
    return hasattr(module, "get_delta_weight") and hasattr(module, "get_base_layer")
