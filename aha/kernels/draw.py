"""One token for each row by inverting the cumulative distribution in two levels, in two passes."""

# R = rows, V = vocabulary
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray, njit

from aha.kernels.low import (
    INLINE,
    STAMP,
    as_bits,
    at,
    exp,
    f32,
    float_of,
    highest,
    kernel,
    kind_of,
    load,
    take,
)

(
    ROWS,
    VOCABULARY,
    LOGITS,
    STRIDE,
    UNIFORM,
    TOKENS,
    LOGPS,
    SCRATCH,
    TEMPERATURE,
    TOP_P,
) = range(1, 11)
BLOCK = 256


def scratch_floats(vocabulary: int, threads: int) -> int:
    """Float32 numbers that `draw` needs for itself."""
    return threads * (-(-vocabulary // BLOCK) + BLOCK)


def nucleus_scratch_floats(vocabulary: int, threads: int) -> int:
    """Float32 numbers that `draw_nucleus` needs for itself."""
    return threads * _nucleus_scratch(vocabulary)


@njit(forceinline=True)
def _nucleus_scratch(vocabulary: int) -> int:
    """Shares of a row, sums of its blocks, and its candidates as int64."""
    even = (vocabulary + 1) // 2 * 2
    blocks = ((vocabulary + BLOCK - 1) // BLOCK + 1) // 2 * 2
    return even + blocks + 2 * even


@njit(**INLINE)
def _shares(x: Any, start: int, n: int, out: Any, high: Any, per: Any) -> None:
    for i in range(n):
        out[i] = exp((load(x, start + i) - high) * per)


@njit(**INLINE)
def _mass(x: Any, start: int, n: int, high: Any, per: Any) -> Any:
    """Sum of the shares. It stores nothing: a compiler checks at run time whether what a loop stores
    may overlap what it reads, and sums in another order if it may; then memory would decide bits."""
    total = f32(0.0)
    for i in range(n):
        total += exp((load(x, start + i) - high) * per)
    return total


@njit(**INLINE)
def _sum(x: Any, start: int, n: int) -> Any:
    total = f32(0.0)
    for i in range(start, start + n):
        total += x[i]
    return total


@cache
def draw(dtype: torch.dtype) -> Any:
    """Smallest token whose cumulative share is above u; its log-probability.

    LOGITS [R, V] of `dtype` with row stride STRIDE; UNIFORM [R] float64 in [0, 1); TEMPERATURE float32
    bits, 0 takes the likeliest token (lowest id among equals) and log-probabilities of the plain
    logits. Writes TOKENS [R] int64 and LOGPS [R] float32. A row with NaN or infinite logits gets NaN.
    """
    KIND, version = kind_of(dtype), STAMP

    def body(a: Any) -> None:
        _ = version
        rows, vocabulary = a[ROWS], a[VOCABULARY]
        logits = carray(at(a[LOGITS], KIND), (rows * a[STRIDE],))
        uniform = carray(at(a[UNIFORM], np.float64), (rows,))
        tokens = carray(at(a[TOKENS], np.int64), (rows,))
        logps = carray(at(a[LOGPS], np.float32), (rows,))
        temperature = float_of(a[TEMPERATURE])
        blocks = (vocabulary + BLOCK - 1) // BLOCK
        size = blocks + BLOCK
        room = carray(at(a[SCRATCH] + 4 * size * take(a[0] + 8), np.float32), (size,))
        sums, inside = room[:blocks], room[blocks:]
        per = f32(1.0) / temperature if temperature > f32(0.0) else f32(1.0)
        while True:
            r = take(a[0])
            if r >= rows:
                break
            x = logits[r * a[STRIDE] : r * a[STRIDE] + vocabulary]
            high = highest(x, 0, vocabulary)
            total = 0.0
            for b in range(blocks):
                start = b * BLOCK
                sums[b] = _mass(x, start, min(BLOCK, vocabulary - start), high, per)
                total += sums[b]
            token = -1
            if temperature > f32(0.0):
                goal = uniform[r] * total
                before = 0.0
                block = -1
                for b in range(blocks):
                    if sums[b] > 0:
                        block = b
                        if before + sums[b] > goal:
                            break
                    before += sums[b]
                if block >= 0:
                    if before > goal:  # rounding at the end: stay in the last block with a share
                        before = goal
                    start = block * BLOCK
                    n = min(BLOCK, vocabulary - start)
                    _shares(x, start, n, inside, high, per)
                    for i in range(n):
                        if inside[i] > 0:
                            token = start + i
                            before += inside[i]
                            if before > goal:
                                break
            else:
                for i in range(vocabulary):
                    if load(x, i) == high:
                        token = i
                        break
            tokens[r] = max(token, 0)
            chosen = load(x, max(token, 0))
            logp = (chosen - high) * per - f32(np.log(total))
            logps[r] = logp if token >= 0 and np.isfinite(total) else f32(np.nan)

    return kernel(body)


@cache
def draw_nucleus(dtype: torch.dtype) -> Any:
    """Sample among the smallest set of likeliest tokens whose mass is at least TOP_P.

    Arguments as for `draw`, with a temperature above 0, and TOP_P < 1 as float32 bits. Of equal shares
    the lower id comes first; the set always holds the likeliest token. Log-probabilities are those of
    all tokens. Tokens whose share is at most (1 - p) / V are left out at once: together they weigh no
    more than 1 - p. So only the others, few as a rule, are sorted.
    """
    KIND, version = kind_of(dtype), STAMP

    def body(a: Any) -> None:
        _ = version
        rows, vocabulary = a[ROWS], a[VOCABULARY]
        logits = carray(at(a[LOGITS], KIND), (rows * a[STRIDE],))
        uniform = carray(at(a[UNIFORM], np.float64), (rows,))
        tokens = carray(at(a[TOKENS], np.int64), (rows,))
        logps = carray(at(a[LOGPS], np.float32), (rows,))
        top_p = np.float64(float_of(a[TOP_P]))
        per = f32(1.0) / float_of(a[TEMPERATURE])
        blocks = (vocabulary + BLOCK - 1) // BLOCK
        even, size = (vocabulary + 1) // 2 * 2, _nucleus_scratch(vocabulary)
        start = a[SCRATCH] + 4 * size * take(a[0] + 8)
        share = carray(at(start, np.float32), (vocabulary,))
        sums = carray(at(start + 4 * even, np.float32), (blocks,))
        found = carray(at(start + 4 * (size - 2 * even), np.int64), (vocabulary,))
        while True:
            r = take(a[0])
            if r >= rows:
                break
            x = logits[r * a[STRIDE] : r * a[STRIDE] + vocabulary]
            high = highest(x, 0, vocabulary)
            total = 0.0
            for b in range(blocks):
                first = b * BLOCK
                n = min(BLOCK, vocabulary - first)
                _shares(x, first, n, share[first:], high, per)
                sums[b] = _sum(share, first, n)
                total += sums[b]
            if not np.isfinite(total):
                tokens[r], logps[r] = 0, f32(np.nan)
                continue
            # a little less: rounding must not lose a token
            least = f32((1.0 - top_p) * total / vocabulary * 0.999)
            count = 0
            for b in range(blocks):
                if sums[b] <= least:
                    continue
                for i in range(b * BLOCK, min(vocabulary, (b + 1) * BLOCK)):
                    if share[i] > least:
                        # likeliest first, then lowest id: bits of positive floats are in their order
                        bits = np.int64(as_bits(share[i]))
                        found[count] = ((np.int64(0x7FFFFFFF) - bits) << 32) | i
                        count += 1
            found[:count].sort()
            kept, mass = 0, 0.0
            while kept < count and (kept == 0 or mass < top_p * total):
                mass += share[found[kept] & 0xFFFFFFFF]
                kept += 1
            goal, seen, chosen = uniform[r] * mass, 0.0, 0
            for place in range(kept):
                chosen = found[place] & 0xFFFFFFFF
                seen += share[chosen]
                if seen > goal:
                    break
            tokens[r] = chosen
            logps[r] = (load(x, chosen) - high) * per - f32(np.log(total))

    return kernel(body)
