"""The verdict tables, bombs in process, and properties. Verdicts in the files of cases are by hand."""

import time
from fractions import Fraction

import pytest
from grading_bombs import BOMBS
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import cases, misjudged

from aha.rewards.grade import grade

FILES = ("math_cases", "math_zh_cases")


def test_there_are_enough_cases_and_each_says_why():
    listed = [case for file in FILES for case in cases(file)]
    assert len(listed) >= 600
    assert all(case.why for case in listed)
    assert len({(case.gold, case.answer) for case in listed}) == len(listed)


@pytest.mark.parametrize(
    "file, category", sorted({(file, case.category) for file in FILES for case in cases(file)})
)
def test_every_verdict_of_the_tables(file, category):
    assert not misjudged("math", [case for case in cases(file) if case.category == category])


def test_a_right_verdict_does_not_depend_on_dollars_or_display():
    for gold, answer in (("$\\frac12$", "$0.5$"), ("\\[ 9 \\]", "\\(9\\)"), ("5", "$5$.")):
        assert grade("math", gold, f"\\boxed{{{answer}}}").status == "correct"


def test_the_gold_may_be_a_whole_solution():
    assert grade("math", "48/2 = 24, 48+24 = 72\n#### 72", "\\boxed{72}").status == "correct"
    assert grade("math", "So it is \\boxed{72}.", "\\boxed{72}").status == "correct"


def test_a_gold_that_cannot_be_read_is_our_failure_and_never_paid():
    for gold in ("", "\\frac{1}{", "\\sum_{k} k^2", "1, 2, \\ldots"):
        verdict = grade("math", gold, "\\boxed{5}")
        assert (verdict.status, verdict.score) == ("error", 0.0)
        assert "gold_unparsed" in verdict.reason


def test_the_same_text_is_right_even_if_nobody_can_read_it():
    assert grade("math", "\\sum_{k} k^2", "\\boxed{\\sum_{k} k^2}").status == "correct"


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_is_not_paid_and_ends_soon(bomb):
    for gold in ("7", "x+1", "\\sqrt{2}"):
        start = time.perf_counter()
        verdict = grade("math", gold, f"\\boxed{{{bomb}}}", mode="all")
        assert verdict.status in ("wrong", "unparsed"), verdict
        assert time.perf_counter() - start < 1.5


def test_a_bomb_as_gold_is_a_failure_of_the_data():
    assert grade("math", "9^{9^{9}}", "\\boxed{7}").failed
    assert grade("math", "1e3", "\\boxed{1000}").status == "correct"


def test_huge_responses_are_read_in_linear_time():
    for piece in (
        "\\boxed{",
        "\\boxed ",
        "<answer>",
        "</think>",
        "#### ",
        "Answer: ",
        "答案是",
        "{",
    ):
        start = time.perf_counter()
        grade("math", "7", f"answer{piece * 100_000}", mode="all")
        assert time.perf_counter() - start < 2.0, piece


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
def test_grading_never_raises(gold, response):
    verdict = grade("math", gold, response, mode="all")
    assert not verdict.reason.startswith("grader_failed"), verdict
    boxed = grade("math", gold, f"\\boxed{{{response}}}", mode="all")
    assert not boxed.reason.startswith("grader_failed"), boxed


MARKS = r"1 2 x y ( ) { } [ ] , ; : + - * / ^ _ = < > ! | & % ° $ and or \{ \} \\"
COMMANDS = r"\frac \sqrt \pi \pm \cup \in \text{a} \le \infty \sin \begin{pmatrix} \end{pmatrix}"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(f"{MARKS} {COMMANDS}".split()),
        max_size=14,
    )
)
def test_scrambled_mathematics_never_breaks_the_grader(parts):
    verdict = grade("math", "x+1", f"\\boxed{{{' '.join(parts)}}}")
    assert verdict.status in ("correct", "wrong", "unparsed"), verdict
    as_gold = grade("math", " ".join(parts), "\\boxed{x+1}")
    assert not as_gold.reason.startswith("grader_failed"), as_gold


@given(st.integers(-(10**30), 10**30))
def test_every_integer_is_itself(number):
    assert grade("math", str(number), f"\\boxed{{{number:,}}}").status == "correct"
    assert grade("math", str(number), f"\\boxed{{{number + 1}}}").status == "wrong"


@given(st.fractions(max_denominator=10**6))
def test_every_fraction_is_itself(value):
    top, bottom = value.numerator, value.denominator
    answer = f"\\boxed{{\\frac{{{3 * top}}}{{{3 * bottom}}}}}"
    assert grade("math", f"{top}/{bottom}", answer).status == "correct"
    other = value + Fraction(1, 10**9)
    wrong = f"\\boxed{{\\frac{{{other.numerator}}}{{{other.denominator}}}}}"
    assert grade("math", f"{top}/{bottom}", wrong).status == "wrong"


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=5, min_value=-(10**9), max_value=10**9
    )
)
def test_every_decimal_is_its_fraction(value):
    exact = Fraction(value)
    answer = f"\\boxed{{{exact.numerator}/{exact.denominator}}}"
    assert grade("math", f"{value:f}", answer).status == "correct"


def test_grade_school_answers_are_judged_at_five_thousand_a_second():
    responses = [f"<think>2+2</think> so \\boxed{{{n}}}" for n in range(2000)]
    best = 1e9
    for _ in range(3):
        start = time.perf_counter()
        for n, response in enumerate(responses):
            assert grade("math", f"{n}", response).score == 1.0
        best = min(best, time.perf_counter() - start)
    assert len(responses) / best > 5000
