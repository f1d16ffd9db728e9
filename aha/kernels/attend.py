"""Attention of one decoding step: each row reads the shared prefix of its group and its own tokens.

One pass per row and key head: write the new key and value, scores, softmax, values. Nothing is
padded: a row reads as many tokens as it has. Rows of one group follow each other, so their prefix is
in the cache of the core after the first of them.
"""

# R = rows, K = key/value heads, G = query heads per key head, D = head width
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray, njit

from aha.kernels import simd
from aha.kernels.low import (
    INLINE,
    STAMP,
    Arguments,
    at,
    f32,
    float_of,
    kernel,
    kind_of,
    load,
    rounded,
    store,
    take,
)

# places of the arguments; 0 is the counters
(
    ROWS,
    HEADS,
    OWN_TOKENS,
    PREFIX_TOKENS,
    Q,
    Q_ROW,
    Q_HEAD,
    K,
    K_ROW,
    K_HEAD,
    V,
    V_ROW,
    V_HEAD,
    OUT,
    OUT_ROW,
    OWN_K,
    OWN_V,
    PREFIX_K,
    PREFIX_V,
    USED,
    PLACE,
    PREFIX,
    SCRATCH,
    LONGEST,
    SCALE,
    COS,
    SIN,
    Q_NORM,
    K_NORM,
    EPS,
) = range(1, 31)
SIZE = 30


def arguments() -> Arguments:
    return Arguments(SIZE)


def stride(longest: int) -> int:
    """LONGEST for rows of at most so many tokens, prefix and own together."""
    return -(-longest // 16) * 16


def scratch_floats(per_head: int, width: int, longest: int, threads: int) -> int:
    """Float32 numbers that the kernel needs for itself; `longest` as in the arguments."""
    return threads * _scratch(per_head, width, longest)


@njit(forceinline=True)
def _scratch(per_head: int, width: int, longest: int) -> int:
    return per_head * longest + 2 * per_head * width + width


@njit(**INLINE)
def _head(
    source: Any, out: Any, base: int, norm: int, eps: Any, cos: int, sin: int, r: int, D: int
) -> None:
    """One head as float32, normalised and rotated; rounded as the tensor operations round."""
    for d in range(D):
        out[base + d] = load(source, d)
    if norm:
        weight = carray(at(norm, np.float32), (D,))
        total = f32(0.0)
        for d in range(D):
            total += out[base + d] * out[base + d]
        part = f32(1.0) / np.sqrt(total / f32(D) + eps)
        for d in range(D):
            out[base + d] = rounded(source, rounded(source, out[base + d] * part) * weight[d])
    if cos:
        c = carray(at(cos + 4 * r * D, np.float32), (D,))
        s = carray(at(sin + 4 * r * D, np.float32), (D,))
        half = D // 2
        for d in range(half):
            a, b = out[base + d], out[base + half + d]
            out[base + d] = rounded(source, a * c[d] - b * s[d])
            out[base + half + d] = rounded(source, b * c[half + d] + a * s[half + d])


@cache
def attend(dtype: torch.dtype, per_head: int, width: int) -> Any:
    """The kernel for `per_head` query heads per key head (G), heads `width` wide (D).

    Arguments (see the names above): rows of q, k, v and out are strided, heads too, numbers in a
    head are contiguous; own keys are [slots, K, OWN_TOKENS, D], prefixes [places, K, PREFIX_TOKENS,
    D], of the same dtype. USED [R] is the number of own tokens before this one, PLACE [R] the place
    of the row's prefix (negative: a spare row, computed as zeros), PREFIX [places] their lengths.
    COS, SIN [R, D] float32 rotate q and k (0: they come rotated); Q_NORM, K_NORM [D] float32 are
    weights of an RMSNorm of each head before that (0: none). SCALE and EPS are float32 bits.
    """
    G, D = per_head, width
    KIND, BYTES, version = kind_of(dtype), dtype.itemsize, STAMP

    def body(a: Any) -> None:
        _ = version
        rows, heads, longest = a[ROWS], a[HEADS], a[LONGEST]
        size = _scratch(G, D, longest)
        room = a[SCRATCH] + 4 * take(a[0] + 8) * size
        scores_at, query_at = room, room + 4 * G * longest
        result_at, key_at = query_at + 4 * G * D, query_at + 8 * G * D
        query = carray(at(query_at, np.float32), (G * D,))
        result = carray(at(result_at, np.float32), (G * D,))
        key = carray(at(key_at, np.float32), (D,))
        used = carray(at(a[USED], np.int64), (rows,))
        place = carray(at(a[PLACE], np.int64), (rows,))
        prefix = at(a[PREFIX], np.int64)
        scale, eps = float_of(a[SCALE]), float_of(a[EPS])
        while True:
            r = take(a[0])
            if r >= rows:
                break
            out = carray(at(a[OUT] + BYTES * r * a[OUT_ROW], KIND), (heads * G * D,))
            if place[r] < 0:
                for i in range(heads * G * D):
                    store(out, i, f32(0.0))
                continue
            n, p = used[r] + 1, prefix[place[r]]
            for h in range(heads):
                mine = BYTES * (r * heads + h) * a[OWN_TOKENS] * D
                theirs = BYTES * (place[r] * heads + h) * a[PREFIX_TOKENS] * D
                new_k = carray(at(a[OWN_K] + mine + BYTES * (n - 1) * D, KIND), (D,))
                new_v = carray(at(a[OWN_V] + mine + BYTES * (n - 1) * D, KIND), (D,))
                k = carray(at(a[K] + BYTES * (r * a[K_ROW] + h * a[K_HEAD]), KIND), (D,))
                v = carray(at(a[V] + BYTES * (r * a[V_ROW] + h * a[V_HEAD]), KIND), (D,))
                _head(k, key, 0, a[K_NORM], eps, a[COS], a[SIN], r, D)
                for d in range(D):
                    store(new_k, d, key[d])
                    new_v[d] = v[d]
                for g in range(G):
                    start = r * a[Q_ROW] + (h * G + g) * a[Q_HEAD]
                    q = carray(at(a[Q] + BYTES * start, KIND), (D,))
                    _head(q, query, g * D, a[Q_NORM], eps, a[COS], a[SIN], r, D)
                for i in range(G * D):
                    query[i] *= scale
                    result[i] = f32(0.0)
                own_k, own_v = a[OWN_K] + mine, a[OWN_V] + mine
                pre_k, pre_v = a[PREFIX_K] + theirs, a[PREFIX_V] + theirs
                own_scores, after = scores_at + 4 * p, own_k + BYTES * a[OWN_TOKENS] * D
                simd.scores(query_at, pre_k, scores_at, p, longest, G, D, KIND, 0)
                simd.scores(query_at, own_k, own_scores, n, longest, G, D, KIND, own_v)
                for g in range(G):
                    simd.softmax(scores_at + 4 * g * longest, p + n)
                simd.mixture(scores_at, pre_v, result_at, p, longest, G, D, KIND, 0)
                simd.mixture(own_scores, own_v, result_at, n, longest, G, D, KIND, after)
                for i in range(G * D):
                    store(out, h * G * D + i, result[i])

    return kernel(body)
