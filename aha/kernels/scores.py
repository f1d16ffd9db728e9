"""Kernels of attention in training: softmax over a range of keys, forward and backward."""

# B = segments, N = query heads, L = queries of the block, C = keys
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
    highest,
    kernel,
    kind_of,
    load,
    store,
    take,
)

ROWS, KEYS, SCORES, SLOPES, TOTALS, DELTAS, FIRST, HEADS, QUERIES, BEFORE, SCALE = range(1, 12)


@njit(**INLINE)
def _total(x: Any, start: int, end: int, high: Any, scale: Any) -> Any:
    total = f32(0.0)
    for i in range(start, end):
        total += exp((load(x, i) - high) * scale)
    return total


@njit(**INLINE)
def _shares(x: Any, start: int, end: int, log_total: Any, scale: Any) -> None:
    for i in range(start, end):
        store(x, i, exp(load(x, i) * scale - log_total))


@njit(**INLINE)
def _slopes(x: Any, y: Any, start: int, end: int, log_total: Any, delta: Any, scale: Any) -> None:
    for i in range(start, end):
        share = exp(load(x, i) * scale - log_total)
        store(x, i, share)
        store(y, i, share * (load(y, i) - delta) * scale)


@njit(**INLINE)
def _clear(x: Any, start: int, end: int) -> None:
    for i in range(start, end):
        store(x, i, f32(0.0))


@cache
def softmax(dtype: torch.dtype, backward: bool) -> Any:
    """Softmax over the keys that a query sees; zeros elsewhere.

    SCORES [B, N, L, C] contiguous, in place; row (b, n, t) sees keys FIRST[b] .. BEFORE + t. TOTALS
    [B, N, L] float32 is the log-sum-exp of the scaled scores: written forward, read backward.
    Backward, SLOPES (the gradient of the shares) become the gradient of the scores before scaling;
    DELTAS [B, N, L] float32 is the sum of shares times their gradient.
    """
    KIND, version, BACKWARD = kind_of(dtype), STAMP, int(backward)

    def body(a: Any) -> None:
        _ = version
        rows, keys, heads, queries = a[ROWS], a[KEYS], a[HEADS], a[QUERIES]
        scores = carray(at(a[SCORES], KIND), (rows * keys,))
        slopes = carray(at(a[SLOPES], KIND), (rows * keys,))
        totals = carray(at(a[TOTALS], np.float32), (rows,))
        deltas = carray(at(a[DELTAS], np.float32), (rows,))
        firsts = carray(at(a[FIRST], np.int64), (rows // (heads * queries),))
        scale = float_of(a[SCALE])
        groups = rows // queries
        while True:
            group = take(a[0])
            if group >= groups:
                break
            start = firsts[group // heads]
            for t in range(queries):
                r = group * queries + t
                end = a[BEFORE] + t + 1
                x = scores[r * keys : (r + 1) * keys]
                if BACKWARD:
                    y = slopes[r * keys : (r + 1) * keys]
                    _slopes(x, y, start, end, totals[r], deltas[r], scale)
                    _clear(y, 0, start)
                    _clear(y, end, keys)
                else:
                    high = highest(x, start, end)
                    total = _total(x, start, end, high, scale)
                    totals[r] = high * scale + f32(np.log(total))
                    _shares(x, start, end, totals[r], scale)
                _clear(x, 0, start)
                _clear(x, end, keys)

    return kernel(body)
