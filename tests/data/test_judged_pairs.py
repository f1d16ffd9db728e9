"""Pairs from a judge: kept only with a clear verdict, balanced in length, everything counted."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judge_server import completion, send, server

from aha.config import DataConfig
from aha.data.judged_pairs import Answered, balance, judge_pairs, load_answered, to_rows
from aha.data.preferences import Pair, load_pairs
from aha.errors import DataError
from aha.files import write_jsonl
from aha.rewards.judge import Judge
from aha.rewards.judge_ask import Called
from aha.rewards.judge_http import Endpoint


def judged_by(reply):
    return Judge(asker=Called(reply, name="test"))


def places(text):
    """The texts that stand as A and as B in a judge's prompt."""
    return [text.split(f" answer {x} begins ---\n")[1].split("\n--- ")[0] for x in ("A", "B")]


def marks(messages):
    """A judge that reads the mark at the end of an answer: the larger one is better."""
    a, b = (int(text.split()[-1]) for text in places(messages[1]["content"]))
    word = {2: "A>>B", 1: "A>B", 0: "A=B", -1: "B>A", -2: "B>>A"}[max(-2, min(2, a - b))]
    return f"so\n[[{word}]]"


def asked(*marks, name="q1"):
    answers = tuple(f"an answer of {mark}" for mark in marks)
    return Answered(id=name, question="What is 6 x 7?", answers=answers, domain="maths")


def test_the_better_answer_is_chosen():
    found = judge_pairs(judged_by(marks), [asked(1, 9)])
    [one] = found.kept
    assert one.pair == Pair(
        id="q1",
        question="What is 6 x 7?",
        chosen="an answer of 9",
        rejected="an answer of 1",
        domain="maths",
        root="What is 6 x 7?",
    )
    assert one.score == 2.0
    assert (found.candidates, found.left_out, found.single) == (1, {}, 0)


def test_what_is_not_kept_is_counted_with_its_reason():
    questions = [
        asked(1, 9, name="clear"),
        asked(1, 2, name="slight"),  # both orders say 1: not above the margin
        Answered(id="same", question="q", answers=("a 1", " a 1 ")),
        Answered(id="equal", question="q", answers=("a 1", "b 1")),
        Answered(id="alone", question="q", answers=("a 1",)),
        Answered(id="empty", question="q", answers=("<think>a 1</think>:", "b 1")),
        Answered(id="odd", question="q", answers=("a 1", "b one")),  # the judge fails on it
    ]
    found = judge_pairs(judged_by(marks), questions)
    assert [one.pair.id for one in found.kept] == ["clear"]
    assert found.left_out == {"within_margin": 1, "tie": 1, "screened": 1, "error": 1}
    assert (found.questions, found.single, found.candidates) == (7, 2, 5)
    assert len(found.kept) + sum(found.left_out.values()) == found.candidates
    assert found.first_failures[0].startswith("odd: ")
    assert json.loads(json.dumps(found.facts()))["kept"] == 1
    # the paper's margin is 1; with less of it a slight difference counts
    assert len(judge_pairs(judged_by(marks), questions, margin=0.5).kept) == 2


def test_a_judge_that_likes_a_place_gives_no_pair():
    found = judge_pairs(judged_by(lambda messages: "[[A>>B]]"), [asked(1, 9)])
    assert (found.kept, found.left_out) == ([], {"inconsistent": 1})


def test_only_summaries_are_judged_but_whole_answers_are_kept():
    answers = ("<think>9</think> it is 1", "<think>1</think> it is 9")
    found = judge_pairs(judged_by(marks), [Answered(id="q", question="q", answers=answers)])
    assert found.kept[0].pair.chosen == answers[1]


def test_which_pairs_are_asked_about_is_a_matter_of_seed_and_question():
    questions = [asked(*range(1, 40, 4), name=f"q{i}") for i in range(6)]
    kept = [one.pair for one in judge_pairs(judged_by(marks), questions, per_question=3).kept]
    again = [one.pair for one in judge_pairs(judged_by(marks), questions, per_question=3).kept]
    turned = judge_pairs(judged_by(marks), questions[::-1], per_question=3).kept
    other = [
        one.pair for one in judge_pairs(judged_by(marks), questions, per_question=3, seed=1).kept
    ]
    assert kept == again
    assert sorted(kept, key=lambda p: p.id) == sorted((o.pair for o in turned), key=lambda p: p.id)
    assert kept != other
    assert len({(p.question, p.chosen, p.rejected, p.id) for p in kept}) == 18
    assert kept[1].id == "q0/1"
    # three answers have three pairs, however many are wanted
    assert judge_pairs(judged_by(marks), [asked(1, 5, 9)], per_question=99).candidates == 3


def test_impossible_settings_are_refused():
    for more in ({"margin": 2.0}, {"margin": -1.0}, {"per_question": 0}, {"rounds": 0}):
        with pytest.raises(ValueError, match="="):
            judge_pairs(judged_by(marks), [asked(1, 9)], **more)


def test_through_an_endpoint_to_a_file_of_pairs(tmp_path):
    """The whole way: questions in a file, a judge that is a server, pairs that can be trained on."""
    rows = [{"id": "a", "prompt": "q", "responses": ["bad 1", "good 9"]}]
    rows += [{"id": "b", "prompt": "other", "response": text} for text in ("x 3", "y 8")]
    rows += [{"id": "c", "prompt": "none"}, {"id": "d", "prompt": "odd", "answers": ["x", 3]}]
    write_jsonl(tmp_path / "a.jsonl", rows)
    questions, bad = load_answered(
        str(tmp_path / "a.jsonl"), split="train", config=DataConfig(max_bad_share=0.5)
    )
    assert [(one.id, len(one.answers)) for one in questions] == [("a", 2), ("b", 2)]
    assert [row.line for row in bad] == [4, 5]

    def respond(handler, number, body):
        send(handler, 200, json.dumps(completion(marks(body["messages"]))).encode())

    with server(respond) as (url, seen):
        judge = Judge(asker=Endpoint(base_url=url, model="judge-1"))
        found = judge_pairs(judge, questions)
    assert len(seen) == 8  # two pairs, two rounds, both orders
    pairs = [one.pair for one in found.kept]
    write_jsonl(tmp_path / "p.jsonl", to_rows(pairs))
    read = load_pairs(str(tmp_path / "p.jsonl"), split="train", config=DataConfig())
    asked = [replace(pair, turns=(("user", pair.question),)) for pair in pairs]
    assert read.items == asked
    assert [pair.chosen for pair in pairs] == ["good 9", "y 8"]


def test_no_answers_at_all_says_what_is_needed(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"prompt": "q"}])
    with pytest.raises(DataError, match=r"1 of 1 rows are broken(.|\n)*a list of texts in answers"):
        load_answered(str(tmp_path / "a.jsonl"), split="train", config=DataConfig())


# -- balance of length --------------------------------------------------------------------------


def pair(chosen, rejected, name="p"):
    return Pair(id=name, question="q", chosen="x" * chosen, rejected="y" * rejected)


def test_pairs_that_are_longest_go_first():
    # logs of the ratios: 3, 1, 0, -1 doublings; mean 3/4. Without the first: 0
    pairs = [pair(40, 20, "a"), pair(80, 10, "b"), pair(10, 10, "c"), pair(10, 20, "d")]
    found = balance(pairs, bound=1.0)
    assert [one.id for one in found.dropped] == ["b"]
    assert [one.id for one in found.kept] == ["a", "c", "d"]  # in their order
    assert found.before.ratio == pytest.approx(2**0.75)
    assert found.after.ratio == pytest.approx(1)
    # by hand: longer 2, equal 1, shorter 1 of 4; then 1, 1, 1 of 3
    assert (found.before.longer_share, found.after.longer_share) == (0.625, 0.5)
    assert (found.before.chosen_mean, found.before.rejected_mean) == (35, 15)
    assert found.facts()["dropped_ids"] == ["b"]
    # 2^(3/4) = 1.68: a wider bound drops nothing
    assert balance(pairs, bound=1.7).dropped == []


def test_thinking_is_no_length_of_a_summary():
    long = Pair(id="p", question="q", chosen="<think>" + "x" * 500 + "</think>ab", rejected="yz")
    assert balance([long], bound=1.0).dropped == []
    assert balance([long], bound=1.0, part="whole").dropped == [long]


SIZES = st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), max_size=30)


@settings(max_examples=200, deadline=None)
@given(SIZES, st.sampled_from([1.0, 1.05, 1.5]))
def test_the_bound_holds_and_nothing_is_lost(sizes, bound):
    pairs = [pair(a, b, str(i)) for i, (a, b) in enumerate(sizes)]
    found = balance(pairs, bound=bound)
    assert sorted([*found.kept, *found.dropped], key=lambda p: int(p.id)) == pairs
    longer = math.fsum(math.log(a / b) for a, b in sizes) > 0
    mean = [math.log(len(p.chosen) / len(p.rejected)) for p in found.kept]
    mean = math.fsum(mean) / len(mean) if mean else 0.0
    assert (mean if longer else -mean) <= math.log(bound) + 1e-9
    for p in found.dropped:  # only from the side that was too long
        assert (len(p.chosen) > len(p.rejected)) is longer
    swapped = balance([pair(b, a, str(i)) for i, (a, b) in enumerate(sizes)], bound=bound)
    if abs(math.fsum(math.log(a / b) for a, b in sizes)) > 1e-9:
        assert [p.id for p in swapped.dropped] == [p.id for p in found.dropped]
