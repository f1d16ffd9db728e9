"""Kernels over rows of hidden states: RMSNorm and SwiGLU, for decoding and for training."""

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


# -- training -----------------------------------------------------------------------------------------

INVERSE, SLOPE, TOTAL = DELTA, OUT, EPS
"""Places of `norm` and `norm_backward`: 1 / root mean square, gradients, and sums for the weight."""
BLOCKS = 16


@njit(**INLINE)
def _weight_slopes(x: Any, dy: Any, total: Any, part: Any, n: int) -> None:
    for i in range(n):
        total[i] += load(dy, i) * rounded(x, load(x, i) * part)


@njit(**INLINE)
def _shared_slope(x: Any, dy: Any, weight: Any, n: int) -> Any:
    """Sum of dy * weight * x. Sums and stores have loops of their own: see `draw._mass`."""
    total = f32(0.0)
    for i in range(n):
        total += load(dy, i) * weight[i] * load(x, i)
    return total


@njit(**INLINE)
def _norm_slopes(x: Any, dy: Any, weight: Any, part: Any, shared: Any, n: int) -> None:
    """dy becomes the gradient of x."""
    for i in range(n):
        store(dy, i, part * (load(dy, i) * weight[i] - load(x, i) * shared))


@njit(**INLINE)
def _gate_slopes(gate: Any, up: Any, dy: Any, n: int) -> None:
    """gate and up become their gradients."""
    for i in range(n):
        x, u, g = load(gate, i), load(up, i), load(dy, i)
        s = f32(1.0) / (f32(1.0) + exp(-x))
        silu = x * s
        store(gate, i, g * u * (s + silu * (f32(1.0) - s)))
        store(up, i, g * silu)


@cache
def norm(dtype: torch.dtype) -> Any:
    """OUT = RMSNorm(HIDDEN) * WEIGHT; INVERSE [R] float32 is kept for the backward pass."""
    KIND, version = kind_of(dtype), STAMP

    def body(a: Any) -> None:
        _ = version
        rows, width = a[ROWS], a[WIDTH]
        hidden = carray(at(a[HIDDEN], KIND), (rows * width,))
        out = carray(at(a[OUT], KIND), (rows * width,))
        weight = carray(at(a[WEIGHT], np.float32), (width,))
        inverse = carray(at(a[INVERSE], np.float32), (rows,))
        eps = float_of(a[EPS])
        while True:
            r = take(a[0])
            if r >= rows:
                break
            start, end = r * width, (r + 1) * width
            x = hidden[start:end]
            part = f32(1.0) / np.sqrt(_squares(x, width) / f32(width) + eps)
            inverse[r] = part
            _scaled(x, weight, out[start:end], part, width)

    return kernel(body)


@cache
def norm_backward(dtype: torch.dtype) -> Any:
    """SLOPE [R, W]: the gradient of the output becomes that of HIDDEN.

    TOTAL [BLOCKS, W] float32, zeros before, gets the gradient of the weight, a row for each block of
    rows: whoever computes a block, its sum is the same.
    """
    KIND, version = kind_of(dtype), STAMP

    def body(a: Any) -> None:
        _ = version
        rows, width = a[ROWS], a[WIDTH]
        hidden = carray(at(a[HIDDEN], KIND), (rows * width,))
        slope = carray(at(a[SLOPE], KIND), (rows * width,))
        weight = carray(at(a[WEIGHT], np.float32), (width,))
        inverse = carray(at(a[INVERSE], np.float32), (rows,))
        while True:
            block = take(a[0])
            if block >= BLOCKS:
                break
            total = carray(at(a[TOTAL] + 4 * width * block, np.float32), (width,))
            for r in range(block * rows // BLOCKS, (block + 1) * rows // BLOCKS):
                x, dy = hidden[r * width : (r + 1) * width], slope[r * width : (r + 1) * width]
                part = inverse[r]
                _weight_slopes(x, dy, total, part, width)
                shared = _shared_slope(x, dy, weight, width) * part * part / f32(width)
                _norm_slopes(x, dy, weight, part, shared, width)

    return kernel(body)


@cache
def swiglu_backward(dtype: torch.dtype) -> Any:
    """GATE and UP, contiguous copies, become their gradients; OUT is the gradient of the product."""
    KIND, version = kind_of(dtype), STAMP

    def body(a: Any) -> None:
        _ = version
        rows, width = a[ROWS], a[WIDTH]
        gate = carray(at(a[GATE], KIND), (rows * width,))
        up = carray(at(a[UP], KIND), (rows * width,))
        out = carray(at(a[OUT], KIND), (rows * width,))
        while True:
            r = take(a[0])
            if r >= rows:
                break
            start, end = r * width, (r + 1) * width
            _gate_slopes(gate[start:end], up[start:end], out[start:end], width)

    return kernel(body)
