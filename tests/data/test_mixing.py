"""Shares at every prefix, epochs, phases without repeats: properties, and cases by hand."""

from collections import Counter
from fractions import Fraction
from itertools import islice
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.data.mixing import interleave, mixed, turns
from aha.data.order import Order

WEIGHTS = st.lists(st.fractions(Fraction(1, 100), 20, max_denominator=100), min_size=1, max_size=5)


def sources(*sizes):
    return [source for source, size in enumerate(sizes) for _ in range(size)]


@given(WEIGHTS, st.integers(0, 5))
def test_every_prefix_has_the_shares_rounded_down_or_up(weights, seed):
    had = [0] * len(weights)
    total = sum(weights)
    for place, source in enumerate(islice(turns(weights, seed), 300), 1):
        had[source] += 1
        for count, weight in zip(had, weights, strict=True):
            share = place * weight / total
            assert floor(share) <= count <= ceil(share)


def test_three_to_one_by_hand():
    for seed in range(5):
        first = list(islice(turns([Fraction(3), Fraction(1)], seed), 8))
        assert first[:2] == first[4:6] == [0, 0]
        assert sorted(first[2:4]) == sorted(first[6:]) == [0, 1]


def test_interleaved_items():
    items = [list("abcdef"), list("XY"), list("123456789")]
    mix = interleave(items, [Fraction(1), Fraction(2), Fraction(1)])
    assert sorted(mix) == sorted("abcdefXY123456789")
    for each in items:
        assert [item for item in mix if item in each] == each
    assert Counter(map(str.isdigit, mix[:4])) == {True: 1, False: 3}
    assert sum(item in "XY" for item in mix[:4]) == 2
    rest = mix[5:]  # X and Y are gone: the others take turns
    assert abs(sum(map(str.isdigit, rest[:6])) - 3) <= 1


@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=4),
    data=st.data(),
    seed=st.integers(0, 5),
)
def test_phases(sizes, data, seed):
    """Never a problem twice; the shares, unless a source has not enough for a phase."""
    weights = data.draw(
        st.lists(st.integers(1, 9).map(Fraction), min_size=len(sizes), max_size=len(sizes))
    )
    k = data.draw(st.integers(1, sum(sizes)))
    of = sources(*sizes)
    shares = [k * weight / sum(weights) for weight in weights]
    order = mixed(of, weights, seed=seed, phase=k)
    cursor = 0
    for _ in range(6):
        taken, cursor = order.take(k, cursor)
        assert len(taken) == len(set(taken)) == k
        by = Counter(of[index] for index in taken)
        if all(size > ceil(share) for size, share in zip(sizes, shares, strict=True)):
            assert all(abs(by[source] - share) < 2 for source, share in enumerate(shares))
    if all(size > ceil(share) for size, share in zip(sizes, shares, strict=True)):
        assert cursor == 6 * k  # nothing was passed over


def test_phases_are_exact_where_they_can_be():
    """Whole shares, sources of enough problems: each phase has just its shares, all different."""
    of = sources(9, 100)
    order = mixed(of, [Fraction(1), Fraction(3)], seed=1, phase=32)
    cursor = 0
    for _ in range(50):
        taken, after = order.take(32, cursor)
        assert after == cursor + 32  # nothing was passed over
        cursor = after
        assert Counter(of[index] for index in taken) == {0: 8, 1: 24}
        assert len(set(taken)) == 32


def test_each_epoch_of_a_source_asks_all_of_it():
    of = sources(7, 13)
    taken = [mixed(of, [Fraction(1), Fraction(1)], seed=0, phase=4).mix.at(p) for p in range(400)]
    for source, size in ((0, 7), (1, 13)):
        mine = [index for index in taken if of[index] == source]
        assert len(mine) == 200
        for start in range(0, 200 - size, size):
            assert len(set(mine[start : start + size])) == size
    seven = [index for index in taken if of[index] == 0]
    assert len({tuple(seven[start : start + 7]) for start in range(0, 70, 7)}) > 5


def test_the_place_is_all_the_state():
    of = sources(5, 20, 3)
    weights = [Fraction(1), Fraction(5, 2), Fraction(1, 3)]
    unbroken, cursor = [], 0
    for _ in range(10):
        taken, cursor = mixed(of, weights, seed=3, phase=8).take(8, cursor)  # anew each time
        unbroken += taken
    order, cursor, again = mixed(of, weights, seed=3, phase=8), 0, []
    for _ in range(10):
        taken, cursor = order.take(8, cursor)
        again += taken
    assert again == unbroken
    assert mixed(of, weights, seed=4, phase=8).take(40, 0)[0] != unbroken[:40]


def test_refills_ask_others():
    of = sources(10, 10)
    order = mixed(of, [Fraction(1), Fraction(1)], seed=0, phase=6)
    asked, cursor = order.take(6, 0)
    fresh, _ = order.take(6, cursor, avoid=asked)
    assert len(set(asked + fresh)) == 12


def test_turns_of_a_source_that_is_used_up_are_passed_over():
    of = sources(2, 50)
    taken, _ = mixed(of, [Fraction(1), Fraction(1)], seed=0, phase=10).take(10, 0)
    assert Counter(of[index] for index in taken) == {0: 2, 1: 8}
    more, _ = mixed(of, [Fraction(1), Fraction(1)], seed=0, phase=10).take(60, 0)
    assert sorted(more[:52]) == list(range(52))  # then all of it again


def test_a_source_without_questions():
    with pytest.raises(ValueError, match="source 1 has no question"):
        mixed([0, 0], [Fraction(1), Fraction(1)], seed=0, phase=1)


def test_one_source_is_asked_as_ever():
    """The first questions of seed 0, written down when there was only one source."""
    assert Order(20, 0).take(25, 0) == (ONE_SOURCE, ONE_SOURCE_CURSOR)


ONE_SOURCE = [15, 7, 0, 5, 13, 8, 19, 1, 3, 18, 4, 14, 17, 2, 11, 9, 10, 6, 16, 12, 16, 4, 3, 0, 9]
ONE_SOURCE_CURSOR = 25
