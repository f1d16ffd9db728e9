"""Parts of the real line as unions of intervals, with exact ends.

A region is kept sorted and merged, so that two spellings of one region are equal part by part.
"""

import functools
from dataclasses import dataclass

from aha.rewards.equality import compare
from aha.rewards.tokens import Unreadable
from aha.rewards.tree import Node


@dataclass(frozen=True)
class Interval:
    """From `low` to `high` (trees without symbols; infinities allowed), ends closed or not."""

    low: Node
    low_closed: bool
    high: Node
    high_closed: bool


@dataclass(frozen=True)
class Region:
    parts: tuple[Interval, ...]


def union(*regions: Region) -> Region:
    """All of them, sorted and merged.

    Raises:
        Unreadable: an interval whose ends are in the wrong order.
    """
    parts = [part for region in regions for part in region.parts]
    for part in parts:
        order = compare(part.low, part.high)
        if order > 0 or (order == 0 and not (part.low_closed and part.high_closed)):
            raise Unreadable("empty_interval")
    parts.sort(key=functools.cmp_to_key(_by_low))
    merged: list[Interval] = []
    for part in parts:
        if merged and _touches(merged[-1], part):
            merged[-1] = _joined(merged[-1], part)
        else:
            merged.append(part)
    return Region(tuple(merged))


def intersect(a: Region, b: Region) -> Region:
    """What is in both."""
    parts = []
    for first in a.parts:
        for second in b.parts:
            low, low_closed = _later(first, second)
            high, high_closed = _earlier(first, second)
            order = compare(low, high)
            if order < 0 or (order == 0 and low_closed and high_closed):
                parts.append(Interval(low, low_closed, high, high_closed))
    return union(Region(tuple(parts)))


def same(a: Region, b: Region) -> bool:
    """Whether both hold the same numbers."""
    a, b = union(a), union(b)
    return len(a.parts) == len(b.parts) and all(
        x.low_closed == y.low_closed
        and x.high_closed == y.high_closed
        and compare(x.low, y.low) == 0
        and compare(x.high, y.high) == 0
        for x, y in zip(a.parts, b.parts, strict=True)
    )


def _by_low(a: Interval, b: Interval) -> int:
    return compare(a.low, b.low) or b.low_closed - a.low_closed


def _touches(a: Interval, b: Interval) -> bool:
    order = compare(b.low, a.high)
    return order < 0 or (order == 0 and (a.high_closed or b.low_closed))


def _joined(a: Interval, b: Interval) -> Interval:
    order = compare(a.high, b.high)
    if order > 0:
        return a
    closed = b.high_closed or (order == 0 and a.high_closed)
    return Interval(a.low, a.low_closed, b.high, closed)


def _later(a: Interval, b: Interval) -> tuple[Node, bool]:
    order = compare(a.low, b.low)
    if order == 0:
        return a.low, a.low_closed and b.low_closed
    return (a.low, a.low_closed) if order > 0 else (b.low, b.low_closed)


def _earlier(a: Interval, b: Interval) -> tuple[Node, bool]:
    order = compare(a.high, b.high)
    if order == 0:
        return a.high, a.high_closed and b.high_closed
    return (a.high, a.high_closed) if order < 0 else (b.high, b.high_closed)
