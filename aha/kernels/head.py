"""Kernels of the log-probability: statistics of logits, and their gradient in place of them."""

# S = scored tokens, V = vocabulary
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

ROWS, VOCABULARY, LOGITS, TARGETS, LOGPS, TOTALS, ENTROPIES, TEMPERATURE = range(1, 9)
GRADIENT = LOGPS
"""Place of the incoming gradient in the arguments of `gradient`."""


@njit(**INLINE)
def _sums(x: Any, n: int, high: Any, per: Any) -> Any:
    """Sum of e**y and of y e**y, for y = (x - high) / temperature."""
    total, moment = f32(0.0), f32(0.0)
    for i in range(n):
        y = (load(x, i) - high) * per
        share = exp(y)
        total += share
        moment += share * y
    return total, moment


@njit(**INLINE)
def _slopes(x: Any, n: int, per: Any, log_total: Any, scale: Any) -> None:
    for i in range(n):
        store(x, i, -exp(load(x, i) * per - log_total) * scale)


@cache
def statistics(dtype: torch.dtype) -> Any:
    """Log-probabilities of the targets, log-sum-exp and entropy of logits / temperature.

    LOGITS [S, V] contiguous, TARGETS [S] int64 -> LOGPS, TOTALS (log-sum-exp), ENTROPIES [S] float32.
    """
    KIND, version = kind_of(dtype), STAMP

    def body(a: Any) -> None:
        _ = version
        rows, vocabulary = a[ROWS], a[VOCABULARY]
        targets = carray(at(a[TARGETS], np.int64), (rows,))
        logps = carray(at(a[LOGPS], np.float32), (rows,))
        totals = carray(at(a[TOTALS], np.float32), (rows,))
        entropies = carray(at(a[ENTROPIES], np.float32), (rows,))
        per = f32(1.0) / float_of(a[TEMPERATURE])
        logits = carray(at(a[LOGITS], KIND), (rows * vocabulary,))
        while True:
            r = take(a[0])
            if r >= rows:
                break
            x = logits[r * vocabulary : (r + 1) * vocabulary]
            high = highest(x, 0, vocabulary)
            total, moment = f32(0.0), f32(0.0)
            for start in range(0, vocabulary, 2048):  # parts: float32 sums stay exact
                n = min(2048, vocabulary - start)
                part, part_moment = _sums(x[start : start + n], n, high, per)
                total += part
                moment += part_moment
            log_total = f32(np.log(total))
            totals[r] = high * per + log_total
            logps[r] = (load(x, targets[r]) - high) * per - log_total
            entropies[r] = log_total - moment / total

    return kernel(body)


@cache
def gradient(dtype: torch.dtype) -> Any:
    """LOGITS become the gradient of sum(GRADIENT * log-probability), GRADIENT [S] float32.

    That is GRADIENT * (one-hot - softmax) / temperature; TOTALS are those of `statistics`.
    """
    KIND, version = kind_of(dtype), STAMP

    def body(a: Any) -> None:
        _ = version
        rows, vocabulary = a[ROWS], a[VOCABULARY]
        targets = carray(at(a[TARGETS], np.int64), (rows,))
        incoming = carray(at(a[GRADIENT], np.float32), (rows,))
        totals = carray(at(a[TOTALS], np.float32), (rows,))
        per = f32(1.0) / float_of(a[TEMPERATURE])
        logits = carray(at(a[LOGITS], KIND), (rows * vocabulary,))
        while True:
            r = take(a[0])
            if r >= rows:
                break
            x = logits[r * vocabulary : (r + 1) * vocabulary]
            scale = incoming[r] * per
            chosen = exp(load(x, targets[r]) * per - totals[r])
            _slopes(x, vocabulary, per, totals[r], scale)
            store(x, targets[r], (f32(1.0) - chosen) * scale)

    return kernel(body)
