"""Numbers within a tolerance: every verdict of the table, exact bounds, golds, bombs."""

import json
from fractions import Fraction

import pytest
from grading_bombs import BOMBS
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import cases, misjudged

from aha.rewards.grade import grade

NEAR = '{"value": 3.14, "rel": 0.01, "abs": 0.05}'


@pytest.mark.parametrize("category", sorted({case.category for case in cases("numeric_cases")}))
def test_every_verdict_of_the_table(category):
    listed = [case for case in cases("numeric_cases") if case.category == category]
    assert all(case.why for case in listed)
    assert not misjudged("numeric", listed)


def test_one_number_in_a_plain_sentence():
    for said in ("The length is 3.15 cm.", "It weighs 3.15 kg", "长度是3.15", "小明走了3.15千米"):
        assert grade("numeric", NEAR, f"<answer>{said}</answer>").status == "correct", said
        assert grade("numeric", NEAR, f"<answer>{said.replace('3.15', '4.15')}</answer>").score == 0
    for said in ("It is not 3.15", "between 3.1 and 3.2", "不是3.15", "3.15左右"):
        assert grade("numeric", NEAR, f"<answer>{said}</answer>").status != "correct", said


@pytest.mark.parametrize(
    "answer, status, reason",
    [
        ("3.15", "correct", "equal"),
        ("3.5", "wrong", "not_equal"),
        ("yes", "wrong", "not_a_number"),
        ("3+0.14", "wrong", "restated"),
        ("9" * 300, "unparsed", "too_many_digits"),
        ("9" * 5000, "unparsed", "too_long"),
        ("9^{9^{9^9}}", "unparsed", "too_large"),
        ("1/0", "unparsed", "undefined"),
    ],
)
def test_why(answer, status, reason):
    verdict = grade("numeric", NEAR, f"\\boxed{{{answer}}}")
    assert (verdict.status, verdict.reason) == (status, reason)


def test_why_a_unit_is_refused():
    verdict = grade("numeric", "5 ± 1 km", "\\boxed{5 m}")
    assert (verdict.status, verdict.reason) == ("wrong", "unit")


@pytest.mark.parametrize(
    "gold",
    [
        "",
        "x",
        "nan",
        "inf",
        "\\infty",
        "2i",
        "1, 2",
        "9^{9^{9}}",
        "{",
        '{"value": NaN}',
        '{"value": Infinity, "rel": 0.1}',
        '{"value": true, "rel": 0.1}',
        '{"value": 1, "rel": -0.1}',
        '{"value": 1, "rel": 1}',
        '{"value": 1, "abs": "wide"}',
        '{"value": 1, "abs": 1e999999999}',
        '{"value": 1, "abs": null}',
        '{"value": 1, "relative": 0.1}',
        '{"value": [1], "rel": 0.1}',
        '{"value": 1e999999999, "rel": 0.1}',
    ],
)
def test_a_gold_that_is_none_is_our_failure(gold):
    verdict = grade("numeric", gold, "\\boxed{1}")
    assert (verdict.status, verdict.score) == ("error", 0.0)
    assert "gold_unparsed" in verdict.reason


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_is_not_paid(bomb):
    verdict = grade("numeric", '{"value": 7, "abs": 0.5}', f"\\boxed{{{bomb}}}", mode="all")
    assert verdict.status in ("wrong", "unparsed"), verdict


@given(
    st.decimals(-(10**6), 10**6, places=4),
    st.decimals(-(10**6), 10**6, places=4),
    st.decimals(0, 1000, places=4),
    st.decimals(0, "0.9", places=4),
)
def test_agrees_with_exact_arithmetic(gold, answer, wide, rel):
    # the definition itself, over fractions of the decimals as they are written
    fields = json.loads(f'{{"value": "{gold:f}", "abs": {wide:f}, "rel": {rel:f}}}')
    text = json.dumps(fields)
    bound = max(Fraction(str(fields["rel"])) * abs(Fraction(gold)), Fraction(str(fields["abs"])))
    right = abs(Fraction(answer) - Fraction(gold)) <= bound
    verdict = grade("numeric", text, f"\\boxed{{{answer:f}}}")
    assert (verdict.status == "correct") is right


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_any_text_gets_a_verdict(text):
    verdict = grade("numeric", NEAR, f"<answer>{text}</answer>", mode="all")
    assert verdict.status in ("correct", "wrong", "unparsed"), verdict
    assert not grade("numeric", text, "\\boxed{1}").reason.startswith("grader_failed")
