"""Decoding on a GPU: one CUDA graph for each shape of a step, replayed with other indices.

A step launches hundreds of small kernels, which take longer to launch from Python than to run. So the
shape of a step is rounded up to a few sizes, the step is recorded once for each, and later steps fill
its indices in and replay it. Without capture (tests on a CPU) the same steps run op by op.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from aha.models.policy import Policy
from aha.rollout.local.cache import MIN_ROWS, Cache, DecodeLayout, StepShape

KEPT = 64
"""Graphs kept; one more and all are made anew."""
WARM_UPS = 2
"""Runs before a capture: libraries choose and allocate in them."""


def _power(n: int, least: int, most: int) -> int:
    """The power of two at or above n, within least and most."""
    return min(max(least, 1 << (n - 1).bit_length()), most)


def _multiple(n: int, of: int, most: int) -> int:
    return min(-(-n // of) * of, most)


def covering(
    cache: Cache, used: Sequence[int], group: Sequence[int], prefix: Sequence[int]
) -> StepShape:
    """The rounded shape of a step: few shapes, and little more work than the exact one."""
    exact = StepShape.exact(used, group, prefix)
    rows = _power(exact.rows, MIN_ROWS, cache.slots + MIN_ROWS)
    return StepShape(
        rows=rows,
        longest=_multiple(exact.longest, 64 if exact.longest <= 512 else 256, cache.answer_tokens),
        places=_power(exact.places, 1, cache.groups),
        most=_power(exact.most, 1, rows),
        longest_prefix=_multiple(exact.longest_prefix, 64, cache.prompt_tokens),
    )


class Graphs:
    """Steps of one policy over one cache.

    Args:
        capture: record and replay; the cache must be on a CUDA device.
    """

    def __init__(self, policy: Policy, cache: Cache, *, capture: bool) -> None:
        self.cache, self.captures = cache, 0
        self._policy, self._capture = policy, capture
        self._steps: dict[StepShape, _Step] = {}
        self._pool = torch.cuda.graph_pool_handle() if capture else None

    def logits(
        self, ids: Sequence[int], used: Sequence[int], group: Sequence[int], prefix: Sequence[int]
    ) -> Tensor:
        """[rows at or above R, V], valid until the next call. Lists over the R live answers: their last
        tokens, the tokens their slots hold, their prefix places; and the tokens of each prefix."""
        shape = covering(self.cache, used, group, prefix)
        step = self._steps.get(shape)
        if step is None:
            if len(self._steps) >= KEPT:
                self._steps.clear()
            step = self._steps[shape] = _Step(self._policy, self.cache, shape, used, group, prefix)
        step.fill(ids, used, group, prefix)
        if self._capture and step.graph is None:
            step.capture(self._pool)
            self.captures += 1
        return step.run()


class _Step:
    """Tensors of one shape, and the graph that reads and writes them."""

    def __init__(
        self,
        policy: Policy,
        cache: Cache,
        shape: StepShape,
        used: Sequence[int],
        group: Sequence[int],
        prefix: Sequence[int],
    ) -> None:
        device = cache.shape.device
        self.policy = policy
        self.layout = DecodeLayout(cache, used, group, prefix, shape)
        self.ids = torch.zeros(1, shape.rows, dtype=torch.long, device=device)
        self.positions = torch.zeros_like(self.ids)
        self.graph: torch.cuda.CUDAGraph | None = None
        self._out: Tensor | None = None

    def fill(
        self, ids: Sequence[int], used: Sequence[int], group: Sequence[int], prefix: Sequence[int]
    ) -> None:
        spare = [0] * (self.ids.shape[1] - len(ids))
        at = [prefix[place] + n for place, n in zip(group, used, strict=True)]
        self.ids.copy_(torch.tensor([[*ids, *spare]]))
        self.positions.copy_(torch.tensor([[*at, *spare]]))
        self.layout.fill(used, group, prefix)

    def capture(self, pool: Any) -> None:
        """Record the step. It may run any number of times: it writes the same keys to the same places."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self._compute()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            self._out = self._compute()
        self.graph = graph

    def run(self) -> Tensor:
        if self.graph is None:
            return self._compute()
        self.graph.replay()
        assert self._out is not None
        return self._out

    def _compute(self) -> Tensor:
        self.layout.begin()
        hidden = self.policy.hidden(self.ids, self.positions, self.layout)
        return self.policy.logits(hidden)
