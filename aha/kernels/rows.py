"""Kernels over rows of hidden states: RMSNorm with the residual before it, and SwiGLU."""

# R = rows, W = width
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray, njit

from aha.kernels.low import (
    INLINE,
    STAMP,
    at,
    exp,
    f32,
    float_of,
    kernel,
    kind_of,
    load,
    rounded,
    store,
    take,
)

ROWS, WIDTH, HIDDEN, DELTA, WEIGHT, OUT, EPS = range(1, 8)
"""Places of the arguments of `add_norm`; 0 is the counters."""
GATE, GATE_ROW, UP, UP_ROW = HIDDEN, DELTA, WEIGHT, EPS
"""Those of `swiglu`, which shares ROWS, WIDTH and OUT."""


@njit(**INLINE)
def _squares(x: Any, n: int) -> Any:
    total = f32(0.0)
    for i in range(n):
        y = load(x, i)
        total += y * y
    return total


@njit(**INLINE)
def _add(x: Any, y: Any, n: int) -> None:
    for i in range(n):
        store(x, i, load(x, i) + load(y, i))


@njit(**INLINE)
def _scaled(x: Any, weight: Any, out: Any, part: Any, n: int) -> None:
    for i in range(n):
        store(out, i, rounded(x, load(x, i) * part) * weight[i])


@njit(**INLINE)
def _gated(gate: Any, up: Any, out: Any, n: int) -> None:
    for i in range(n):
        x = load(gate, i)
        store(out, i, rounded(gate, x / (f32(1.0) + exp(-x))) * load(up, i))


@cache
def add_norm(dtype: torch.dtype) -> Any:
    """hidden += delta; out = RMSNorm(hidden) * weight, rounded as transformers rounds.

    HIDDEN, DELTA (0: nothing is added), OUT [R, W] of `dtype`, contiguous; WEIGHT [W] float32.
    """
    KIND, version = kind_of(dtype), STAMP

    def body(a: Any) -> None:
        _ = version
        rows, width = a[ROWS], a[WIDTH]
        hidden = carray(at(a[HIDDEN], KIND), (rows * width,))
        delta = carray(at(a[DELTA], KIND), (rows * width,))
        out = carray(at(a[OUT], KIND), (rows * width,))
        weight = carray(at(a[WEIGHT], np.float32), (width,))
        eps = float_of(a[EPS])
        while True:
            r = take(a[0])
            if r >= rows:
                break
            start, end = r * width, (r + 1) * width
            x = hidden[start:end]
            if a[DELTA]:
                _add(x, delta[start:end], width)
            part = f32(1.0) / np.sqrt(_squares(x, width) / f32(width) + eps)
            _scaled(x, weight, out[start:end], part, width)

    return kernel(body)


@cache
def swiglu(dtype: torch.dtype) -> Any:
    """out = silu(gate) * up. GATE, UP [R, W] with their own row strides; OUT [R, W] contiguous."""
    KIND, version = kind_of(dtype), STAMP

    def body(a: Any) -> None:
        _ = version
        rows, width = a[ROWS], a[WIDTH]
        gate = carray(at(a[GATE], KIND), (rows * a[GATE_ROW],))
        up = carray(at(a[UP], KIND), (rows * a[UP_ROW],))
        out = carray(at(a[OUT], KIND), (rows * width,))
        while True:
            r = take(a[0])
            if r >= rows:
                break
            g, u = r * a[GATE_ROW], r * a[UP_ROW]
            _gated(gate[g : g + width], up[u : u + width], out[r * width : (r + 1) * width], width)

    return kernel(body)
