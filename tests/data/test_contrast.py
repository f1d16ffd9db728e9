"""Pairs of a right and a wrong answer of one problem, as preference rows; the same ones each time."""

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from aha import files
from aha.config import DataConfig
from aha.data import preferences
from aha.data.contrast import Rewrites, contrasts, facts
from aha.data.selecting import Rules, Sampled, select
from aha.records import Grade, Prompt

THOUGHT = "First the units and then the tens are added, which gives the sum that was asked for"
WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def sample(problem, number, right, *, text=None, stopped="eos", status=None):
    word = WORDS[number % 10]
    whole = f"<think>{THOUGHT}, {word} times {word}.</think> <answer>The sum is {word}.</answer>"
    return Sampled(
        prompt=Prompt(id=problem, question=f"What is the sum {problem}?", gold="4", source="s"),
        sample=number,
        text=whole if text is None else text,
        stopped=stopped,
        grade=Grade(status=status or ("correct" if right else "wrong"), score=float(right)),
        policy="zero",
    )


def pairs_of(samples, **keys):
    rules = Rules(answer_tag="answer", prefer="seeded", **{"per_prompt": 4, **keys})
    return contrasts(select(samples, rules), rules)


def test_a_kept_answer_against_a_wrong_one():
    """Both in the form of the dialogues, so that a pair differs in what is said."""
    samples = [
        sample("a", 0, True),
        sample("a", 1, False),
        sample("b", 0, False),
        sample("c", 0, True),
    ]
    (row,) = pairs_of(samples)
    assert row["id"] == "a/0-1"
    assert row["question"] == "What is the sum a?"
    assert row["chosen"].startswith(f"<think>\n{THOUGHT}, one times one.\n</think>\n\n")
    assert row["rejected"].startswith(f"<think>\n{THOUGHT}, two times two.\n</think>\n\n")
    assert row["from"] == {"chosen": 0, "rejected": 1, "policy": "zero", "why": ""}
    assert facts([row]) == {"pairs": 1, "problems": 1, "rewritten": 0}


def test_whole_wrong_answers_are_taken_before_broken_ones():
    wrong = [
        sample("a", 1, False, text="<think>and so on", stopped="length"),
        sample("a", 2, False, text="four"),
        sample("a", 3, False),
        sample("a", 4, False, text="", status="unparsed"),  # says nothing: in no pair
    ]
    right = [sample("a", number, True) for number in (5, 6, 7, 8)]
    rows = pairs_of([*wrong, *right])
    assert [row["from"]["rejected"] for row in rows] == [3, 2, 1]
    assert rows[1]["rejected"] == "four"


def test_neither_failed_graders_nor_dropped_right_answers_are_rejected_ones():
    others = [
        sample("a", 1, False, status="error"),
        sample("a", 2, False, status="timeout"),
        sample("a", 3, True, text="4"),  # right, but without the form: dropped, and not wrong
    ]
    assert pairs_of([sample("a", 0, True), *others]) == []


def test_a_problem_gives_as_many_pairs_as_it_may():
    samples = [sample("a", number, number % 2 == 0) for number in range(10)]
    assert len(pairs_of(samples, per_prompt=2)) == 2
    assert len(pairs_of(samples, per_prompt=0)) == 5
    drawn = {
        tuple(row["id"] for row in pairs_of(samples, per_prompt=2, seed=seed)) for seed in range(5)
    }
    assert len(drawn) > 1


@settings(max_examples=50, deadline=None)
@given(
    rights=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=12),
    seed=st.integers(0, 3),
)
def test_the_pairs_do_not_depend_on_the_order_of_the_samples(rights, seed):
    samples = [sample(problem, number, right) for number, (problem, right) in enumerate(rights)]
    rows = pairs_of(samples, seed=seed)
    random.Random(seed).shuffle(samples)
    assert pairs_of(samples, seed=seed) == rows
    by_number = dict(enumerate(rights))
    for row in rows:
        chosen, rejected = by_number[row["from"]["chosen"]], by_number[row["from"]["rejected"]]
        assert (chosen[0], chosen[1], rejected[1]) == (rejected[0], True, False)


def rewritten(one, by="rules"):
    """As refine.py writes it, in whatever hand."""
    text = f"<think>\n{THOUGHT}, {one.sample} by {by}.\n</think>\n\nIt is \\boxed{{{one.sample}}}."
    return replace(one, text=text, rewritten=by)


def pairs_of_rewritten(sampled, *, kept, by_rules):
    raw = Rules(answer_tag="answer", prefer="seeded", per_prompt=4)
    rules = replace(raw, answer_tag="")
    return contrasts(
        select(kept, rules), rules, Rewrites(sampled=sampled, by_rules=by_rules, rules=raw)
    )


def test_both_sides_of_a_pair_are_by_one_hand():
    """Rewritten against as sampled would teach who wrote it, not what is right."""
    right, wrong = sample("a", 0, True), sample("a", 1, False)
    new = [rewritten(right), rewritten(wrong)]
    (row,) = pairs_of_rewritten([right, wrong], kept=new[:1], by_rules=new)
    assert (row["chosen"], row["rejected"]) == (new[0].text, new[1].text)
    assert row["from"]["rewritten"] == "rules"
    assert facts([row])["rewritten"] == 1

    (row,) = pairs_of_rewritten([right, wrong], kept=new[:1], by_rules=new[:1])
    for side, word in (("chosen", "one"), ("rejected", "two")):
        assert row[side].startswith(f"<think>\n{THOUGHT}, {word} times {word}.\n</think>")
        assert row[side].endswith(f"<answer>The sum is {word}.</answer>")
    assert "rewritten" not in row["from"]


def test_a_model_that_rewrote_the_right_answer_has_not_rewritten_the_wrong_one():
    right, wrong = sample("a", 0, True), sample("a", 1, False)
    by_model, by_rules = rewritten(right, "model"), [rewritten(right), rewritten(wrong)]
    (row,) = pairs_of_rewritten([right, wrong], kept=[by_model], by_rules=by_rules)
    assert (row["chosen"], row["rejected"]) == (by_rules[0].text, by_rules[1].text)
    (row,) = pairs_of_rewritten([right, wrong], kept=[by_model], by_rules=by_rules[1:])
    assert row["chosen"].endswith("<answer>The sum is one.</answer>")
    assert row["rejected"].endswith("<answer>The sum is two.</answer>")


def test_wrong_answers_that_could_be_rewritten_come_first():
    right = [sample("a", number, True) for number in (5, 6, 7)]
    wrong = [
        sample("a", 1, False, text="four"),
        sample("a", 2, False),
        sample("a", 3, False, text="<think>and so", stopped="length"),
    ]
    new = [rewritten(one) for one in (*right, wrong[1])]
    rows = pairs_of_rewritten([*wrong, *right], kept=new[:3], by_rules=new)
    assert [row["from"]["rejected"] for row in rows] == [2, 1, 3]
    assert ["rewritten" in row["from"] for row in rows] == [True, False, False]


def test_they_are_read_as_preferences(tmp_path):
    rows = pairs_of([sample("a", 0, True), sample("a", 1, False)])
    files.write_jsonl(tmp_path / "pairs.jsonl", rows)
    found = preferences.load_pairs(
        str(tmp_path / "pairs.jsonl"), split="train", config=DataConfig()
    ).items
    assert (found[0].chosen, found[0].rejected) == (rows[0]["chosen"], rows[0]["rejected"])
    assert found[0].turns == (("user", "What is the sum a?"),)


def test_a_kept_answer_that_beats_nobody_takes_no_partner():
    """Where wrong answers are kept too."""
    samples = [sample("a", 0, False), sample("a", 1, True), sample("a", 2, False, text="no form")]
    (row,) = pairs_of(samples, correct=False, per_prompt=2)
    assert row["id"] == "a/1-2"
