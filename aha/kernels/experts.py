"""Kernels of latent attention and of experts, for one decoding step of DeepSeek-V3."""

# R = rows, H = heads, E = experts, N = experts of a token, W = width
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

ROWS, HEADS, Q, Q_ROW, KV, TURNED, TURNED_ROW, KEYS, VALUES, COS, SIN = range(1, 12)
"""Arguments of `latent`."""
EXPERTS, LOGITS, BIAS, GROUPS, BEST_GROUPS, CHOSEN, NORMALISED, SCALE = range(2, 10)
SOURCE, PLACE, WEIGHT, EDGES, SCRATCH = range(10, 15)
"""Arguments of `route`, after ROWS."""
WIDTH, PER_ROW, PARTS, PLACES, WEIGHTS, SHARED, OUT = range(2, 9)
"""Arguments of `combine`, after ROWS."""


@njit(**INLINE)
def _turn(x: Any, out: Any, base: int, c: Any, s: Any, half: int, pairs: int) -> None:
    """Rotate 2 * half numbers: (x[0], x[1]), ... if `pairs`, else (x[0], x[half]), ..."""
    for d in range(half):
        if pairs:
            a, b = load(x, 2 * d), load(x, 2 * d + 1)
        else:
            a, b = load(x, d), load(x, half + d)
        store(out, base + d, rounded(x, a * c[d] - b * s[d]))
        store(out, base + half + d, rounded(x, b * c[d] + a * s[d]))


@cache
def latent(dtype: torch.dtype, plain: int, turned: int, value: int, pairs: bool) -> Any:
    """Keys, values and rotated queries of latent attention; a head is `plain` + `turned` wide.

    Q [R, H, plain + turned] (row stride Q_ROW) is rotated in place; KV [R, H, plain + value] are the
    expanded latents, TURNED [R, turned] the part of the key that all heads share. Writes KEYS and
    VALUES [R, H, plain + turned], contiguous; values are padded with zeros. COS, SIN [R, turned].
    """
    KIND, BYTES, version = kind_of(dtype), dtype.itemsize, STAMP
    P, T, V, PAIRS = plain, turned, value, int(pairs)
    D, HALF = plain + turned, turned // 2

    def body(a: Any) -> None:
        _ = version
        rows, heads = a[ROWS], a[HEADS]
        keys = carray(at(a[KEYS], KIND), (rows * heads * D,))
        values = carray(at(a[VALUES], KIND), (rows * heads * D,))
        kv = carray(at(a[KV], KIND), (rows * heads * (P + V),))
        while True:
            r = take(a[0])
            if r >= rows:
                break
            q = carray(at(a[Q] + BYTES * r * a[Q_ROW], KIND), (heads * D,))
            shared = carray(at(a[TURNED] + BYTES * r * a[TURNED_ROW], KIND), (T,))
            c = carray(at(a[COS] + 4 * r * T, np.float32), (T,))
            s = carray(at(a[SIN] + 4 * r * T, np.float32), (T,))
            first = r * heads * D
            _turn(shared, keys, first + P, c, s, HALF, PAIRS)
            for h in range(heads):
                base, source = first + h * D, (r * heads + h) * (P + V)
                # the query turns through the room of the value, which is written after it
                for d in range(T):
                    values[base + d] = q[h * D + P + d]
                _turn(values[base : base + T], q, h * D + P, c, s, HALF, PAIRS)
                for d in range(P):
                    keys[base + d] = kv[source + d]
                for d in range(T):
                    keys[base + P + d] = keys[first + P + d]
                for d in range(V):
                    values[base + d] = kv[source + P + d]
                for d in range(V, D):
                    store(values, base + d, f32(0.0))

    return kernel(body)


@cache
def route() -> Any:
    """Experts of each row, and the rows in the order of their experts.

    Sigmoid scores of LOGITS [R, E] float32; with BIAS [E] they choose the BEST_GROUPS of GROUPS by the
    sum of a group's two highest, and in these the CHOSEN highest experts (N); the lower id first among
    equals. Without the bias they are the weights: divided by their sum if NORMALISED, times SCALE.
    Places are sorted by expert: those of e are EDGES [E + 1] int64 from e to e + 1. Writes SOURCE
    [R * N] int64, the row at each place, PLACE [R, N] int64 and WEIGHT [R, N] float32. SCRATCH: 2 E +
    GROUPS float32. One thread.
    (DeepSeek-V3 report, section 2.1.2.)
    """
    version = STAMP

    def body(a: Any) -> None:
        _ = version
        rows, experts, chosen = a[ROWS], a[EXPERTS], a[CHOSEN]
        groups, best = a[GROUPS], a[BEST_GROUPS]
        logits = carray(at(a[LOGITS], np.float32), (rows * experts,))
        bias = carray(at(a[BIAS], np.float32), (experts,))
        source = carray(at(a[SOURCE], np.int64), (rows * chosen,))
        place = carray(at(a[PLACE], np.int64), (rows * chosen,))
        weight = carray(at(a[WEIGHT], np.float32), (rows * chosen,))
        edges = carray(at(a[EDGES], np.int64), (experts + 1,))
        room = carray(at(a[SCRATCH], np.float32), (2 * experts + groups,))
        score, wanted, group = room[:experts], room[experts : 2 * experts], room[2 * experts :]
        size = experts // groups
        least = f32(-np.inf)
        for e in range(experts + 1):
            edges[e] = 0
        for r in range(rows):
            for e in range(experts):
                score[e] = f32(1.0) / (f32(1.0) + exp(-logits[r * experts + e]))
                wanted[e] = score[e] + bias[e]
            for g in range(groups):
                first, second = least, least
                for e in range(g * size, (g + 1) * size):
                    if wanted[e] > first:
                        first, second = wanted[e], first
                    elif wanted[e] > second:
                        second = wanted[e]
                group[g] = first + second
            for _i in range(groups - best):  # leave out the lowest groups, the last of equals first
                low = -1
                for g in range(groups):
                    if group[g] < f32(np.inf) and (low < 0 or group[g] <= group[low]):
                        low = g
                if low < 0:  # not finite: nothing can be told apart
                    break
                group[low] = f32(np.inf)
                for e in range(low * size, (low + 1) * size):
                    wanted[e] = least
            total = f32(0.0)
            for n in range(chosen):
                high = -1
                for e in range(experts):
                    if wanted[e] > least and (high < 0 or wanted[e] > wanted[high]):
                        high = e
                high = max(high, 0)
                wanted[high] = least
                place[r * chosen + n] = high
                weight[r * chosen + n] = score[high]
                total += score[high]
                edges[high + 1] += 1
            scale = float_of(a[SCALE])
            if a[NORMALISED]:
                scale = scale / (total + f32(1e-20))
            for n in range(chosen):
                weight[r * chosen + n] *= scale
        for e in range(experts):
            edges[e + 1] += edges[e]
        for i in range(rows * chosen):
            e = place[i]
            source[edges[e]] = i // chosen
            place[i] = edges[e]
            edges[e] += 1
        for e in range(experts, 0, -1):  # each beginning has moved to its end: put it back
            edges[e] = edges[e - 1]
        edges[0] = 0

    return kernel(body)


@cache
def combine(dtype: torch.dtype) -> Any:
    """OUT [R, W] = SHARED [R, W] + the PER_ROW weighted PARTS of each row.

    PARTS [places, W]; PLACES [R, PER_ROW] int64; WEIGHTS [R, PER_ROW] float32. Summed in float32.
    """
    KIND, version = kind_of(dtype), STAMP

    def body(a: Any) -> None:
        _ = version
        rows, width, per_row = a[ROWS], a[WIDTH], a[PER_ROW]
        parts = carray(at(a[PARTS], KIND), (rows * per_row * width,))
        places = carray(at(a[PLACES], np.int64), (rows * per_row,))
        weights = carray(at(a[WEIGHTS], np.float32), (rows * per_row,))
        shared = carray(at(a[SHARED], KIND), (rows * width,))
        out = carray(at(a[OUT], KIND), (rows * width,))
        while True:
            r = take(a[0])
            if r >= rows:
                break
            for i in range(width):
                total = f32(0.0)
                for n in range(r * per_row, (r + 1) * per_row):
                    total += load(parts, places[n] * width + i) * weights[n]
                store(out, r * width + i, total + load(shared, r * width + i))

    return kernel(body)
