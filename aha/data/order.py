"""Which problems come next: a permutation for each epoch, and one integer that remembers the place.

The cursor counts places of an endless stream; what is taken is a pure function of the problems,
the seed, the cursor and k, so a resumed run asks what the unbroken one would have. With one source
the stream is permutation(0), permutation(1), ...; with several it is dealt by `mixing.py`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Protocol


@lru_cache(maxsize=4)
def permutation(n: int, seed: int | str, epoch: int) -> tuple[int, ...]:
    """The order of 0..n-1 in one epoch."""
    order = list(range(n))
    Random(f"aha order {seed} {epoch}").shuffle(order)
    return tuple(order)


class Stream(Protocol):
    """An endless stream of problems from several sources."""

    def at(self, place: int) -> int:
        """The problem (0..n-1) at a place."""


@dataclass(frozen=True, slots=True)
class Order:
    """The stream over `n` problems under one seed."""

    n: int
    seed: int
    mix: Stream | None = None
    """The stream of several sources; None permutes the problems epoch by epoch."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n={self.n}: an order needs at least one problem")

    def take(self, k: int, cursor: int, *, avoid: Iterable[int] = ()) -> tuple[list[int], int]:
        """The next `k` indices (0..n-1) and the new cursor.

        No index comes twice in one take unless k is above n, nor one of `avoid` (what the phase has asked
        before, for its refills) unless fewer than `k` others are left to give. Where a take runs into the
        next epoch, the places there of problems it holds already are passed over.
        """
        if k < 0 or cursor < 0:
            raise ValueError(f"k={k}, cursor={cursor}: both count from 0")
        taken: list[int] = []
        used = set(avoid)
        while len(taken) < k:
            if len(used) >= self.n:  # all were asked: the data are smaller than the phase
                used = set(taken) if len(taken) < self.n else set()
            index = self._at(cursor)
            cursor += 1
            if index not in used:
                used.add(index)
                taken.append(index)
        return taken, cursor

    def _at(self, place: int) -> int:
        if self.mix is not None:
            return self.mix.at(place)
        epoch, inside = divmod(place, self.n)
        return permutation(self.n, self.seed, epoch)[inside]


def set_aside(roots: Sequence[str], part: float, seed: int, *, most: int) -> set[str]:
    """Beginnings whose examples are held out: about this share of all examples, `most` at most.

    `roots` holds what each example began with; examples that begin alike belong on one side.
    """
    by_root = Counter(roots)
    names = list(by_root)
    wanted = min(most, int(len(roots) * part))
    out: set[str] = set()
    held = 0
    for place in permutation(len(names), f"heldout {seed}", 0):
        if held >= wanted:
            break
        if held + by_root[names[place]] <= wanted:
            out.add(names[place])
            held += by_root[names[place]]
    return out
