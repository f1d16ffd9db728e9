"""Length rewards against numbers worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.rewards.lengths import absolute, group_lengths


def test_shorter_right_answers_earn_more_and_wrong_ones_never_earn():
    # lambda = 0.5 - (length - 100) / 400: 0.5, 0.25, 0, -0.5
    lengths = [100, 200, 300, 500]
    assert group_lengths(lengths, [True] * 4) == [0.5, 0.25, 0.0, -0.5]
    assert group_lengths(lengths, [False] * 4) == [0.0, 0.0, 0.0, -0.5]


def test_the_shortest_may_be_a_wrong_answer():
    # the range is that of all answers: 100..300, so the right one of 200 stands in the middle
    assert group_lengths([100, 200, 300], [False, True, True]) == [0.0, 0.0, -0.5]


@pytest.mark.parametrize("lengths", [[], [7], [7, 7, 7], [0, 0]])
def test_a_flat_group_earns_nothing(lengths):
    assert group_lengths(lengths, [True] * len(lengths)) == [0.0] * len(lengths)


def test_one_verdict_for_each_length():
    with pytest.raises(ValueError, match="3 lengths, but 2 verdicts"):
        group_lengths([1, 2, 3], [True, False])


@given(st.lists(st.tuples(st.integers(0, 10**6), st.booleans()), min_size=2))
def test_the_order_of_lengths_is_the_order_of_rewards(group):
    lengths, correct = zip(*group, strict=True)
    rewards = group_lengths(lengths, correct)
    for length, right, reward in zip(lengths, correct, rewards, strict=True):
        assert -0.5 <= reward <= (0.5 if right else 0.0)
        for other, same, earned in zip(lengths, correct, rewards, strict=True):
            if length < other and right >= same:
                assert reward >= earned


@pytest.mark.parametrize(
    "tokens, expected",
    [
        (100, 0.0), (400, 0.0), (1000, 0.0),  # both ends belong to the band
        (75, -0.25), (0, -1.0),  # a quarter of 100 is missing; all of it is
        (1250, -0.25), (2000, -1.0), (10**9, -1.0),
    ],
)  # fmt: skip
def test_a_band(tokens, expected):
    assert absolute(tokens, 100, 1000) == expected


def test_a_band_without_a_lower_end():
    assert absolute(0, 0, 10) == 0.0
    assert absolute(15, 0, 10) == -0.5


@pytest.mark.parametrize("low, high", [(5, 4), (-1, 4), (0, 0)])
def test_a_band_that_is_none_is_refused(low, high):
    with pytest.raises(ValueError, match="0 <= low <= high"):
        absolute(1, low, high)
