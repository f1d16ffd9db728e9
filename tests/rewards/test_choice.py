"""Multiple choice: every verdict of the table, places, golds, hostile texts."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import cases, misjudged

from aha.rewards.choice import LETTERS, read_gold
from aha.rewards.grade import grade

OPTIONS = json.dumps({"answer": "C", "options": ["Paris", "Rome", "Berlin"]})


@pytest.mark.parametrize("category", sorted({case.category for case in cases("choice_cases")}))
@pytest.mark.parametrize("place", ["\\boxed{%s}", "<answer>%s</answer>"])
def test_every_verdict_of_the_table(category, place):
    listed = [case for case in cases("choice_cases") if case.category == category]
    assert all(case.why for case in listed)
    assert not misjudged("choice", listed, place)


@pytest.mark.parametrize(
    "answer, status, reason",
    [
        ("C", "correct", "equal"),
        ("D", "wrong", "not_equal"),
        ("C or D", "wrong", "hedged"),
        ("CD", "wrong", "several"),
        ("C. Rome", "wrong", "contradiction"),
        ("C is Berlin Rome", "wrong", "contradiction"),
        ("C. Berlin, because Rome is a city of Italy", "correct", "equal"),
        ("nothing of it", "unparsed", "no_choice"),
        ("c" * 5000, "unparsed", "too_long"),
    ],
)
def test_why(answer, status, reason):
    verdict = grade("choice", OPTIONS, f"<answer>{answer}</answer>")
    assert (verdict.status, verdict.reason) == (status, reason)


@pytest.mark.parametrize(
    "response",
    [
        "所以面积是4。故选：C．",
        "故选C",
        "因此，选C。",
        "The correct option is C",
        "The correct option is (C).",
        "答案：C",
        "答案为 C。",
        "A 不对，B 不对，所以选C",
        "先看A选项，再看B选项。故选C。A选项不对。",
        "Answer: C",
    ],
)
def test_places_of_evaluation(response):
    assert grade("choice", "C", response, mode="all").status == "correct"
    assert grade("choice", "C", response).status == "unparsed"
    assert grade("choice", "D", response, mode="all").status == "wrong"


@pytest.mark.parametrize(
    "gold",
    [
        "",
        "K",
        "Berlin",
        "{",
        "{}",
        '{"answer": 2, "options": ["a", "b", "c"]}',
        '{"answer": "C", "options": ["a", "b"]}',
        '{"answer": "A", "options": "ab"}',
        json.dumps({"answer": "A", "options": ["x"] * 11}),
        '{"answer": "A", "options": [["a"], "b"]}',
    ],
)
def test_a_gold_that_is_none_is_our_failure(gold):
    verdict = grade("choice", gold, "\\boxed{A}")
    assert (verdict.status, verdict.score) == ("error", 0.0)
    assert verdict.reason.startswith("gold_unparsed")


def test_golds_in_several_forms_are_one():
    assert len({read_gold(gold) for gold in ("BD", "B, D", "D B", "(B)(D)")}) == 1
    assert read_gold('{"answer": ["B", "D"]}').letters == {"B", "D"}


@given(st.sampled_from(LETTERS), st.sampled_from(LETTERS))
def test_a_letter_is_right_exactly_where_it_is_the_gold(gold, answer):
    for form in ("%s", "(%s)", "%s.", "option %s", "选%s", "%s: 7"):
        verdict = grade("choice", gold, f"\\boxed{{{form % answer}}}")
        assert (verdict.status == "correct") is (gold == answer)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=120))
def test_any_text_gets_a_verdict(text):
    for gold in ("C", OPTIONS):
        verdict = grade("choice", gold, f"<answer>{text}</answer>", mode="all")
        assert verdict.status in ("correct", "wrong", "unparsed")


WORDS = "A B C D ( ) , . or and not 选 是 ： \\text{ } is the Berlin Rome"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS.split()), max_size=8))
def test_what_names_another_letter_is_never_paid(parts):
    text = " ".join(parts)
    verdict = grade("choice", OPTIONS, f"<answer>{text}</answer>")
    if verdict.status == "correct":
        assert not {"B", "D", "or", "not", "Rome"} & set(parts), text
