"""Attention of a decoding step by the compiled kernel: what DecodeLayout does, in one pass.

Serves every model on the CPU: as a layout for a model's own forward, and row by row for the decoder
in dense.py. Keys and values are kept in the dtype that the model computes.
"""

# R = rows of the step, K = key/value heads, G = query heads per key head, D = head width
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from aha.kernels import attend as kernel
from aha.kernels.low import bits_of, threads_for
from aha.rollout.local.cache import Cache


class NativeLayout:
    """One new token for each of the first R slots.

    Args:
        used: [R] int64, tokens each slot holds before this step.
        group: [R] int64, prefix place of each slot; -1 for spare rows, which come out as zeros.
        prefix: [places] int64, tokens of each live prefix.
    """

    def __init__(
        self, cache: Cache, used: NDArray[Any], group: NDArray[Any], prefix: NDArray[Any]
    ) -> None:
        self.cache, self.rows = cache, len(used)
        self._kept = used, group, prefix  # the kernel reads them by address
        self.longest = kernel.stride(int(used.max()) + 1 + int(prefix.max()))
        self._scratch: Tensor | None = None
        self._threads = 1
        self._arguments = kernel.arguments()
        values = self._arguments.values
        values[kernel.ROWS] = self.rows
        values[kernel.OWN_TOKENS] = cache.answer_tokens
        values[kernel.PREFIX_TOKENS] = cache.prompt_tokens
        values[kernel.USED] = used.ctypes.data
        values[kernel.PLACE] = group.ctypes.data
        values[kernel.PREFIX] = prefix.ctypes.data
        values[kernel.LONGEST] = self.longest

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        width, value_width = k.shape[-1], v.shape[-1]
        if value_width < width:
            v = pad(v, (0, width - value_width))
        out = q.new_empty(self.rows, q.shape[1] * width)
        self.rows_of(layer, _by_row(q), _by_row(k), _by_row(v), out, scale)
        return out.view(1, self.rows, -1, width)[..., :value_width]

    def rows_of(
        self,
        layer: int,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        scale: float,
        *,
        rotate: tuple[Tensor, Tensor] | None = None,
        norms: tuple[Tensor, Tensor] | None = None,
        eps: float = 0.0,
    ) -> None:
        """q [R, K*G, D], k and v [R, K, D], numbers of a head contiguous -> out [R, K*G*D].

        Args:
            rotate: cosines and sines [R, D] float32, contiguous, applied to q and k here.
            norms: weights [D] float32 of the RMSNorm of each query and key head before that.
        """
        heads, width = k.shape[1], k.shape[2]
        per_head = q.shape[1] // heads
        if self._scratch is None:
            self._threads = threads_for(self.rows * self.longest * heads * width)
            size = kernel.scratch_floats(per_head, width, self.longest, self._threads)
            self._scratch = torch.empty(size)
        cos, sin = rotate or (None, None)
        q_norm, k_norm = norms or (None, None)
        cache = self.cache
        arguments, a = self._arguments, self._arguments.values
        a[kernel.HEADS] = heads
        a[kernel.Q : kernel.OUT_ROW + 1] = (
            *(q.data_ptr(), q.stride(0), q.stride(1)),
            *(k.data_ptr(), k.stride(0), k.stride(1)),
            *(v.data_ptr(), v.stride(0), v.stride(1)),
            *(out.data_ptr(), out.stride(0)),
        )
        a[kernel.OWN_K : kernel.PREFIX_V + 1] = (
            cache.own_k[layer].data_ptr(),
            cache.own_v[layer].data_ptr(),
            cache.prefix_k[layer].data_ptr(),
            cache.prefix_v[layer].data_ptr(),
        )
        a[kernel.SCRATCH] = self._scratch.data_ptr()
        a[kernel.SCALE : kernel.EPS + 1] = (
            bits_of(scale),
            0 if cos is None else cos.data_ptr(),
            0 if sin is None else sin.data_ptr(),
            0 if q_norm is None else q_norm.data_ptr(),
            0 if k_norm is None else k_norm.data_ptr(),
            bits_of(eps),
        )
        arguments.run(kernel.attend(q.dtype, per_head, width), self._threads)


def _by_row(x: Tensor) -> Tensor:
    """[1, N, R, D] -> [R, N, D], without a copy where numbers of a head are contiguous."""
    x = x[0].transpose(0, 1)
    return x if x.stride(-1) == 1 else x.contiguous()
