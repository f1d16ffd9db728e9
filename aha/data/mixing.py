"""Several sources as one stream: whose turn it is, and which of its problems comes.

Weights are shares of the questions asked, whatever the sizes of the sources. After any number of
places each source has had its share of them, rounded down or up. Each source goes through its own
permutations, one for each epoch; near the border of two epochs a problem is put off until it is far
enough from where it stood before, so that no phase asks it twice and the shares still hold.

Not covered: the same question under two sources.
"""

from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil, lcm
from random import Random
from typing import TypeVar

from aha.data.order import Order, permutation

T = TypeVar("T")


def turns(weights: Sequence[Fraction], seed: int | str) -> Iterator[int]:
    """Endlessly, the number of the source whose turn it is.

    Turn i of a source with share p may come from place floor(i / p) on and is due before
    ceil((i + 1) / p); the earliest due is next. One turn a place is always feasible, as the shares
    sum to 1, so the number of turns in the first t places is floor(p t) or ceil(p t).
    """
    unit = lcm(*(weight.denominator for weight in weights))
    whole = [int(weight * unit) for weight in weights]
    total = sum(whole)
    rank = list(range(len(whole)))
    Random(f"aha turns {seed}").shuffle(rank)  # who is first when two are due together
    had = [0] * len(whole)
    place = 0
    while True:
        due, _, source = min(
            (-(-(had[s] + 1) * total // weight), rank[s], s)
            for s, weight in enumerate(whole)
            if had[s] * total // weight <= place
        )
        assert due > place
        had[source] += 1
        place += 1
        yield source


def interleave(sources: Sequence[Sequence[T]], weights: Sequence[Fraction]) -> list[T]:
    """All items, each source in its own order, every prefix in proportion to the weights.

    When a source has no items left, its turns fall out and the others go on in their proportion.
    """
    left = [deque(items) for items in sources]
    mixed: list[T] = []
    for source in turns(weights, "interleave"):
        if left[source]:
            mixed.append(left[source].popleft())
        elif not any(left):
            break
    return mixed


def mixed(source_of: Sequence[int], weights: Sequence[Fraction], *, seed: int, phase: int) -> Order:
    """The order of questions that belong to several sources.

    Args:
        source_of: of each question, the number of its source.
        weights: of each source; each must have at least one question.
        phase: questions that one phase asks; within as many places no question comes twice, if its
            source has more than its share.
    """
    return Order(len(source_of), seed, Mixed(source_of, weights, seed=seed, phase=phase))


class Mixed:
    """The stream (`order.Stream`); computed from its beginning and kept, 8 bytes a place."""

    def __init__(
        self, source_of: Sequence[int], weights: Sequence[Fraction], *, seed: int, phase: int
    ):
        members: list[list[int]] = [[] for _ in weights]
        for index, source in enumerate(source_of):
            members[source].append(index)
        if not all(members):
            raise ValueError(f"source {members.index([])} has no question")
        total = sum(weights)
        self._sources = [
            _Source(each, f"{seed} source {s}", most=ceil(weights[s] / total * phase) + 1)
            for s, each in enumerate(members)
        ]
        self._turns = turns(weights, seed)
        self._places = array("q")

    def at(self, place: int) -> int:
        while len(self._places) <= place:
            self._places.append(self._sources[next(self._turns)].next())
        return self._places[place]


class _Source:
    """The problems of one source, epoch after epoch."""

    def __init__(self, members: Sequence[int], seed: str, *, most: int):
        """`most`: so many turns can fall into one phase; as far apart are two of one problem."""
        self.members = members
        self.seed = seed
        self.epoch = 0
        self.left: list[int] = []  # of this epoch, the next one last
        # a source of fewer goes round and round, which spreads its problems as far as can be
        self.recent: deque[int] = deque(maxlen=min(most, len(members)) - 1)

    def next(self) -> int:
        if not self.left:
            order = permutation(len(self.members), self.seed, self.epoch)
            self.left = [self.members[place] for place in reversed(order)]
            self.epoch += 1
        at = len(self.left) - 1
        while self.left[at] in self.recent:
            at -= 1
        index = self.left.pop(at)
        self.recent.append(index)
        return index
