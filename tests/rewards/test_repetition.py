"""Repetition against counting by hand and against slow loops."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.rewards.repetition import (
    CYCLES,
    LEAST,
    loop_share,
    repeated_share,
    repetition_penalty,
    units,
)

few_values = st.lists(st.integers(0, 2), max_size=60)


def test_repeated_ngrams_by_hand():
    # 3-grams of abcabcd: abc bca cab abc bcd: one of five was there before
    assert repeated_share("abcabcd", 3) == pytest.approx(1 / 5)
    assert repeated_share("aaaa", 1) == pytest.approx(3 / 4)
    assert repeated_share("abcd", 4) == 0
    assert repeated_share("aaaa", 5) == 0  # shorter than an n-gram
    assert repeated_share("", 2) == 0
    with pytest.raises(ValueError, match="n=0"):
        repeated_share("abc", 0)


@given(few_values, st.integers(1, 9))
def test_repeated_ngrams_agree_with_a_set_of_tuples(items, n):
    grams = [tuple(items[at : at + n]) for at in range(len(items) - n + 1)]
    expected = 1 - len(set(grams)) / len(grams) if grams else 0
    assert repeated_share(items, n) == pytest.approx(expected)


def test_a_loop_at_the_end_by_hand():
    # 8 tokens, then abcd four times: three turns (12 of 24 tokens) say nothing new
    assert loop_share("stuvwxyz" + "abcd" * 4) == pytest.approx(12 / 24)
    # cut within a turn: 2 more of 26
    assert loop_share("stuvwxyz" + "abcd" * 4 + "ab") == pytest.approx(14 / 26)
    assert loop_share("stuvwxyz" + "abcd" * 2 + "ab") == 0  # two turns and a half are no loop
    assert loop_share("stuvwxyz" + "a" * (LEAST - 1)) == 0
    assert loop_share("stuvwxyz" + "a" * LEAST) == pytest.approx((LEAST - 1) / (8 + LEAST))
    assert loop_share("abcd" * 9 + "end") == 0  # it found its way out
    assert loop_share("") == 0


@given(few_values)
def test_a_loop_agrees_with_trying_every_cycle(items):
    size, most = len(items), 0
    for cycle in range(1, size):
        length = cycle
        while length < size and items[size - 1 - length] == items[size - 1 - length + cycle]:
            length += 1
        if length >= max(CYCLES * cycle, LEAST):
            most = max(most, length - cycle)
    assert loop_share(items) == pytest.approx(most / size if size else 0)


def test_penalty_is_the_worse_of_both():
    assert repetition_penalty(list(range(500))) == 0
    assert str(repetition_penalty([])) == "0.0"  # not -0.0
    # 100 tokens, the same again, then 100 others: 40-grams that start at 100..160 were there (61 of
    # 261); no loop
    twice = [*range(100), *range(100), *range(100, 200)]
    assert repetition_penalty(twice) == pytest.approx(-61 / 261)
    # one turn of 50 and five more: no 40-gram repeats before the second turn; 250 of 300 tokens
    looping = list(range(50)) * 6
    assert repetition_penalty(looping) == pytest.approx(-250 / 300)
    # a loop that has just begun is seen before its 40-grams repeat
    begun = [*range(1000, 1100), *[1, 2, 3] * 5]
    assert repeated_share(begun, 40) == 0
    assert repetition_penalty(begun) == pytest.approx(-12 / 115)


@given(st.lists(st.integers(0, 5), max_size=200), st.integers(1, 50))
def test_penalty_stays_in_its_range(token_ids, n):
    assert -1 < repetition_penalty(token_ids, n=n) <= 0


def test_a_long_loop_of_one_token():
    """The worst case for comparing every place with every other: that would take hours."""
    assert repetition_penalty([7] * 300_000) == pytest.approx(-299_999 / 300_000)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("we 我们 use", ["we", "我", "们", "use"]),
        ("x+1, ok", ["x", "+", "1", ",", "ok"]),
        ("a" * 20, ["a" * 16, "a" * 4]),
        ("\ud800 \x00", ["\ud800", "\x00"]),  # what no text should hold is a sign
        ("", []),
    ],
)
def test_units_of_a_text(text, expected):
    assert units(text) == expected
