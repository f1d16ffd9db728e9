"""Knights and knaves: every verdict of the table, reasons, golds, every assignment of three people."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import cases, misjudged

from aha.rewards.grade import grade

GOLD = json.dumps({"names": ["Zoey", "Oliver"], "solution": [True, False]})


@pytest.mark.parametrize("category", sorted({case.category for case in cases("knights_cases")}))
@pytest.mark.parametrize("place", ["\\boxed{%s}", "<answer>\n%s\n</answer>"])
def test_every_verdict_of_the_table(category, place):
    listed = [case for case in cases("knights_cases") if case.category == category]
    assert all(case.why for case in listed)
    assert not misjudged("knights", listed, place)


@pytest.mark.parametrize(
    "answer, status, reason",
    [
        ("Zoey: knight, Oliver: knave", "correct", "equal"),
        ("Zoey: knight, Oliver: knight", "wrong", "not_equal"),
        ("Zoey: knight", "wrong", "missing: Oliver"),
        ("Zoey: knight, Oliver: knave, Bob: knave", "wrong", "extra_name: Bob"),
        ("Zoey: knight, knave, Oliver: knave", "wrong", "a role without a name"),
        ("Zoey: knight, Oliver: knave, Zoey: knave", "wrong", "both: Zoey"),
        ("Zoey is not a knave", "wrong", "hedged"),
        ("Zoey: knight so there", "wrong", "unexpected: there"),
        ("both are honest", "unparsed", "no_roles"),
        ("z" * 5000, "unparsed", "too_long"),
    ],
)
def test_why(answer, status, reason):
    verdict = grade("knights", GOLD, f"<answer>{answer}</answer>")
    assert (verdict.status, verdict.reason) == (status, reason)


@pytest.mark.parametrize(
    "gold",
    [
        "",
        "{",
        "Zoey is tall",
        "Zoey is a knight, Zoey is a knave",
        "Zoey is a knight, Oliver is no knave",
        '{"names": [], "solution": []}',
        '{"names": ["A", "A"], "solution": [true, true]}',
        '{"names": ["A"], "solution": [1]}',
        '{"names": ["A", "B"], "solution": [true]}',
        '{"names": [3], "solution": [true]}',
        json.dumps({"names": [f"n{i}" for i in range(65)], "solution": [True] * 65}),
    ],
)
def test_a_gold_that_is_none_is_our_failure(gold):
    verdict = grade("knights", gold, "<answer>A is a knight</answer>")
    assert (verdict.status, verdict.score) == ("error", 0.0)
    assert verdict.reason.startswith("gold_unparsed")


def test_of_all_assignments_only_the_gold_is_paid():
    people = ["Ann", "Will", "甲"]
    for roles, said in itertools.product(itertools.product([True, False], repeat=3), repeat=2):
        gold = json.dumps({"names": people, "solution": roles})
        words = [
            f"{name} is a {'knight' if role else 'knave'}"
            for name, role in zip(people, said, strict=True)
        ]
        for joint in (", ", "\n", " and ", ". "):
            verdict = grade("knights", gold, f"<answer>{joint.join(words)}</answer>")
            assert (verdict.status == "correct") is (roles == said)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=120))
def test_any_text_gets_a_verdict(text):
    verdict = grade("knights", GOLD, f"<answer>{text}</answer>", mode="all")
    assert verdict.status in ("correct", "wrong", "unparsed"), verdict
    assert not grade("knights", text, "<answer>A is a knight</answer>").reason.startswith(
        "grader_failed"
    )


WORDS = "Zoey Oliver Bob is a knight knave not or and , . : knights knaves 骑士 不 1. ( ) ? maybe"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS.split()), max_size=12))
def test_what_is_paid_names_both_without_doubt(parts):
    verdict = grade("knights", GOLD, f"<answer>{' '.join(parts)}</answer>")
    if verdict.status == "correct":
        assert {"Zoey", "Oliver"} <= set(parts)
        assert not {"not", "or", "Bob", "不", "?", "maybe"} & set(parts)
