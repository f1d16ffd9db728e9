"""Countdown: each number exactly once, exact value, no tricks."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.rewards.grade import grade

GOLD = json.dumps({"numbers": [3, 7, 8, 8], "target": 24})


def verdict(answer, gold=GOLD):
    return grade("countdown", gold, f"<answer>{answer}</answer>")


@pytest.mark.parametrize(
    "answer",
    [
        "3 * 8 * (8 - 7)",
        "(8-7)*3*8 = 24",
        "3×8×(8−7)",
        "3 \\times 8 \\times (8 - 7)",
        "3 \\cdot 8 \\div (8 - 7)",
        "$\\frac{3 \\cdot 8}{8 - 7}$",
        "[3*8]/{8-7}",
        "((((3*8*(8-7)))))",
    ],
)
def test_right(answer):
    assert verdict(answer).status == "correct"


@pytest.mark.parametrize(
    "answer, reason",
    [
        ("24", "wrong_numbers"),
        ("3*8", "wrong_numbers"),
        ("3*8*(8-7)*8/8", "wrong_numbers"),
        ("3*8*(8-7)+0", "wrong_numbers"),
        ("3+7+8+8", "wrong_value"),
        ("3*8*(8-7) = 25", "wrong_tail"),
        ("3*8*(8-7) = 24 = 24", "wrong_tail"),
        ("3*8*(8-7) = 3*8*(8-7)", "wrong_tail"),
        ("8/(8-8)+3*7", "division_by_zero"),
        ("38 - 7 - 8", "wrong_numbers"),
        ("3 8 - 7 - 8", "bad_expression"),
        ("3(8)(8-7)", "bad_expression"),
        ("8**3 - 7 - 8", "bad_expression"),
        ("8^3 - 7 - 8", "bad_expression"),
        ("8//3*7+8", "bad_expression"),
        ("-7 + 8 + 8 * 3", "bad_expression"),
        ("+7 + 8 + 8 * 3", "bad_expression"),
        ("8! / 7 / 8 / 3", "bad_expression"),
        ("3.0*8*(8-7)", "bad_expression"),
        ("03*8*(8-7)", "bad_expression"),
        ("3*8*(8-7", "bad_expression"),
        ("3*8*(8-7))", "bad_expression"),
        ("3e0*8*(8-7)", "bad_expression"),
        ("__import__('os')", "bad_expression"),
        ("(" * 400 + "3" + ")" * 400, "bad_expression"),
    ],
)
def test_wrong_and_why(answer, reason):
    grade_ = verdict(answer)
    assert (grade_.status, grade_.reason) == ("wrong", reason)


def test_division_is_exact():
    # 8 / (3 - 8/3) = 24, the classic that floats miss
    assert verdict("8/(3-8/3)", json.dumps({"numbers": [8, 3, 8, 3], "target": 24})).score == 1.0


def test_a_broken_gold_is_our_failure():
    for gold in (
        "24",
        "{}",
        '{"numbers": [], "target": 1}',
        '{"numbers": ["1"], "target": 1}',
        "[",
    ):
        assert verdict("1", gold).status == "error"


def test_no_answer_and_too_long():
    assert grade("countdown", GOLD, "3*8*(8-7)").status == "unparsed"
    assert verdict("1+" * 2000).reason == "too_long"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_agrees_with_pythons_own_arithmetic(seed):
    # a random tree over random numbers; eval of our own text gives the expected value
    rng = random.Random(seed)
    numbers = [rng.randint(1, 30) for _ in range(rng.randint(2, 5))]
    parts = [str(n) for n in numbers]
    while len(parts) > 1:
        a, b = (parts.pop(rng.randrange(len(parts))) for _ in range(2))
        parts.append(f"({a}{rng.choice('+-*')}{b})")
    target = eval(parts[0])
    gold = json.dumps({"numbers": numbers, "target": target})
    assert verdict(parts[0], gold).status == "correct"
    other = json.dumps({"numbers": numbers, "target": target + 1})
    assert verdict(parts[0], other).reason == "wrong_value"
