"""pass@k against every subset, Wilson's interval against textbook numbers, votes by hand."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.evals.passk import (
    cons_at_k,
    paired_difference,
    pass_at_1,
    pass_at_k,
    pass_at_k_of,
    vote_key,
)


def problem(marks: str) -> list[tuple[bool, str | None]]:
    """ "+-?" -> right, wrong, nothing found."""
    return [(mark == "+", {"+": "1", "-": "2", "?": None}[mark]) for mark in marks]


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(n):
    for c in range(n + 1):
        for k in range(1, n + 1):
            subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
            assert pass_at_k_of(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_of_many_answers_is_a_number():
    # 1 right in 64: a draw of 32 holds it half of the time
    assert pass_at_k_of(64, 1, 32) == pytest.approx(0.5)
    # 500 of 1000 drawn, 100 right: 1 - C(900, 500) / C(1000, 500), numbers of 270 and 299 digits
    assert pass_at_k_of(1000, 100, 500) == pytest.approx(1.0)
    for wrong in [(3, 4, 1), (3, 1, 0), (3, 1, 4), (0, 0, 1)]:
        with pytest.raises(ValueError, match="needs"):
            pass_at_k_of(*wrong)


def test_pass_at_k_is_the_mean_over_problems():
    # n=4, c=1, k=2: 1 - C(3,2)/C(4,2) = 1/2; c=0: 0; c=4: 1
    got = pass_at_k([problem("+---"), problem("----"), problem("++++")], 2)
    assert got.value == pytest.approx(0.5)
    assert got.problems == 3


def test_pass_at_1_weighs_problems_not_answers():
    # (1/4 + 1/1) / 2; pooled answers would say 2/5
    assert pass_at_1([problem("+---"), problem("+")]).value == pytest.approx(0.625)


def test_one_answer_a_problem_gives_wilsons_interval():
    # Wilson, 95 %: 8 of 10 -> 0.4902 .. 0.9433; 0 of 10 -> 0 .. 0.2775 (textbook values)
    eight = pass_at_1([problem("+")] * 8 + [problem("-")] * 2)
    assert (eight.low, eight.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    none = pass_at_1([problem("-")] * 10)
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(0.2775, abs=1e-4)


def test_more_samples_of_the_same_problems_do_not_count_as_problems():
    # each problem is always right or always wrong: 16 answers say no more than 1
    few = pass_at_1([problem("+")] * 5 + [problem("-")] * 15)
    many = pass_at_1([problem("+" * 16)] * 5 + [problem("-" * 16)] * 15)
    assert (many.low, many.high) == pytest.approx((few.low, few.high))
    # all problems are alike: 20 problems of 4 answers are worth 80 answers, and no more
    alike = pass_at_1([problem("++--")] * 20)
    independent = pass_at_1([problem("+")] * 40 + [problem("-")] * 40)
    assert (alike.low, alike.high) == pytest.approx((independent.low, independent.high))


def test_all_right_is_not_certainty():
    all_right = pass_at_1([problem("+" * 64)] * 10)
    assert all_right.value == all_right.high == 1
    assert all_right.low == pytest.approx(1 - 0.2775, abs=1e-4)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    draw = random.Random(1)
    held = 0
    for _ in range(500):
        problems = []
        for _ in range(60):
            chance = draw.betavariate(0.5, 1.0)  # true mean 1/3
            problems.append([(draw.random() < chance, "x") for _ in range(4)])
        got = pass_at_1(problems)
        held += got.low <= 1 / 3 <= got.high
    assert 0.92 <= held / 500 <= 0.98


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=12))
def test_estimates_are_shares_in_order(marks):
    problems = [[(right, "x") for right in row] for row in marks]
    for got in (pass_at_1(problems), cons_at_k(problems), pass_at_k(problems, 1)):
        assert 0 <= got.low <= got.value <= got.high <= 1
        assert got.high - got.low > 0
    assert pass_at_k(problems, 1).value == pytest.approx(pass_at_1(problems).value)
    shortest = min(map(len, marks))
    curve = [pass_at_k(problems, k).value for k in range(1, shortest + 1)]
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(curve))


@pytest.mark.parametrize(
    "answers, right",
    [
        ([(False, "2"), (True, "1"), (True, "1")], True),  # most votes
        ([(True, "1"), (False, "2"), (False, "2")], False),
        ([(True, "1"), (False, "2")], True),  # tie: the first by index
        ([(False, "2"), (True, "1")], False),
        ([(False, None), (False, None), (False, None), (True, "1")], True),  # None does not vote
        ([(False, None), (False, None)], False),  # no votes
        ([(False, "2"), (True, "1"), (True, " 1.0"), (False, "3")], True),  # written alike
    ],
)
def test_votes(answers, right):
    assert cons_at_k([answers]).value == float(right)


def test_vote_of_the_first_k():
    answers = [(False, "2"), (True, "1"), (True, "1")]
    assert [cons_at_k([answers], k).value for k in (1, 2, 3)] == [0, 0, 1]
    with pytest.raises(ValueError, match="3 judged answers, 4"):
        cons_at_k([answers], 4)


def test_a_key_of_ones_own():
    answers = [(False, "5"), (True, "2+1"), (True, "1+2")]
    assert cons_at_k([answers]).value == 0
    assert cons_at_k([answers], key=lambda text: "".join(sorted(text))).value == 1


@pytest.mark.parametrize(
    "alike",
    [
        ["1000", "1,000", " 1000.0 ", "$1000$", "1000.", "+1000", "2000/2", "１０００"],
        ["-1/2", "-0.5", "- 0.50"],
        ["x + 1", "x+1"],
    ],
)
def test_answers_written_alike_share_a_key(alike):
    assert len({vote_key(text) for text in alike}) == 1


def test_keys_keep_different_answers_apart():
    different = ["1", "-1", "10", "1,2", "(1, 2)", "12", "0.1", "1/3", "0.333", "1/0", "", "x"]
    assert len({vote_key(text) for text in different}) == len(different)
    assert len(vote_key("9" * 100_000)) == 100_000  # no arithmetic with hostile numbers


def test_paired_difference_by_hand():
    a = {"p": problem("--"), "q": problem("+-"), "r": problem("++"), "only": problem("+")}
    b = {"p": problem("++"), "q": problem("++"), "r": problem("+-"), "x": problem("-"), "y": []}
    got = paired_difference(a, b)
    assert got.value == pytest.approx((1 + 0.5 - 0.5) / 3)
    assert (got.problems, got.better, got.worse, got.only_a, got.only_b) == (3, 2, 1, 1, 2)
    # mean of three draws from {1, .5, -.5}: extremes -1/2 (chance 1/27 > 2.5 %) and 1 (same)
    assert (got.low, got.high) == pytest.approx((-0.5, 1.0))
    assert got == paired_difference(dict(reversed(a.items())), b)
    back = paired_difference(b, a)
    assert back.value == pytest.approx(-got.value)


def test_paired_difference_is_as_wide_as_the_normal_interval():
    draw = random.Random(0)
    a = {str(i): [(draw.random() < 0.4, "x")] for i in range(400)}
    b = {str(i): [(draw.random() < 0.6, "x")] for i in range(400)}
    got = paired_difference(a, b)
    each = [b[i][0][0] - a[i][0][0] for i in a]
    mean = sum(each) / 400
    error = math.sqrt(sum((d - mean) ** 2 for d in each) / 400 / 400)
    assert (got.low, got.high) == pytest.approx(
        (mean - 1.96 * error, mean + 1.96 * error), abs=0.01
    )


def test_refusals_say_what_is_missing():
    with pytest.raises(ValueError, match="no problems"):
        pass_at_1([])
    with pytest.raises(ValueError, match="problem 1 has 0 judged answers"):
        pass_at_1([problem("+"), []])
    with pytest.raises(ValueError, match="same held-out problems"):
        paired_difference({"a": problem("+")}, {"b": problem("+")})
    with pytest.raises(ValueError, match="k=0"):
        pass_at_k([problem("+")], 0)
