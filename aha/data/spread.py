"""How numbers are spread: smallest, median, 95th percentile, largest, and a histogram."""

from collections.abc import Sequence
from typing import TypedDict

BINS = 20


class Spread(TypedDict):
    count: int
    min: int
    median: int
    p95: int
    max: int
    histogram: list[int]
    """Counts of `BINS` ranges of one width from min to max."""


def spread(values: Sequence[int]) -> Spread | None:
    """None of no values. Percentiles are values that occur: the smallest with at least that share
    of the values at or below it."""
    if not values:
        return None
    ordered = sorted(values)
    count, low, high = len(ordered), ordered[0], ordered[-1]
    width = (high - low) / BINS or 1.0
    histogram = [0] * BINS
    for value in ordered:
        histogram[min(BINS - 1, int((value - low) / width))] += 1
    return {
        "count": count,
        "min": low,
        "median": ordered[(count + 1) // 2 - 1],
        "p95": ordered[-(-95 * count // 100) - 1],
        "max": high,
        "histogram": histogram,
    }
