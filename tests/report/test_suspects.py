"""Answers that look like tricks are counted and named."""

import pytest

from aha.records import Grade, Group, Prompt, Rendered, Rollout, Scored
from aha.report import suspects
from aha.report.metrics import check

QUESTION = "What is the sum of the numbers 3 and 4 in this list?"


def group(*texts, status="wrong", rewards=None, name="q", kind="math"):
    scored = []
    for i, text in enumerate(texts):
        rollout = Rollout(
            prompt_id=name,
            sample=i,
            token_ids=(1,),
            logprobs=(0.0,),
            text=text,
            policy_version=0,
            stopped="eos",
        )
        reward = rewards[i] if rewards else 0.0
        grade = Grade(status=status, score=0.0)
        scored.append(Scored(rollout=rollout, grade=grade, parts={}, reward=reward))
    prompt = Prompt(id=name, question=QUESTION, gold="7", kind=kind)
    rendered = Rendered(prompt=prompt, text="?", token_ids=(1,))
    return Group(rendered=rendered, scored=tuple(scored))


def find(*texts, **more):
    return suspects.find([group(*texts, **more)], "think", "answer")


@pytest.mark.parametrize(
    "kind, text",
    [
        ("several", "<think>a</think>\\boxed{1} \\boxed{2} \\boxed{3}"),
        ("several", "<think>a</think>" + "<answer>1</answer>" * 3),
        ("empty", "<think></think><answer>7</answer>"),
        ("empty", "<think> \n </think><answer>7</answer>"),
        ("echo", f"<think>{QUESTION}</think><answer>7</answer>"),
        ("echo", f"<think>{QUESTION.upper()}!</think><answer>7</answer>"),
    ],
)
def test_a_trick_is_counted_and_only_it(kind, text):
    found = find(text, "<think>3 + 4 = 7, so it is 7</think><answer>7</answer>")
    shares = {name: share for name, share in found.shares.items() if share}
    assert shares == {kind: 0.5}
    assert found.named[kind] == [("q", 0)]
    check(suspects.as_metrics(found))


@pytest.mark.parametrize(
    "text",
    [
        "<think>\\boxed{1} \\boxed{2} \\boxed{3}</think>\\boxed{7}",  # tried in the thinking
        "<think>a</think>\\boxed{9}, no: \\boxed{7}",  # corrected once
        "no tags at all",
        "<think>cut",
        f"<think>{QUESTION} The numbers 3 and 4 make 7, and nothing else is left.</think>7",
        "<think>7</think>7",
        "",
    ],
)
def test_honest_answers_are_not(text):
    assert not any(find(text).shares.values())


def test_duplicates_are_counted_within_a_group():
    found = find("a", "b", "a", "a")
    assert found.shares["duplicates"] == 0.75
    assert found.named["duplicates"] == [("q", 0), ("q", 2), ("q", 3)]
    apart = suspects.find([group("a", name="q"), group("a", name="r")], "think", "answer")
    assert apart.shares["duplicates"] == 0


def test_a_thought_that_another_question_has_too_is_canned():
    canned, own = (
        "<think> Reasoning process here. </think> <answer>{}</answer>",
        "<think>3 and 4 make {}</think>",
    )
    first = group(canned.format(1), canned.format(2), own.format(7), name="q")
    second = group("<think>reasoning process here</think>8", own.format(8), name="r")
    found = suspects.find([first, second], "think", "answer")
    assert found.shares["canned"] == 0.6
    assert found.named["canned"] == [("q", 0), ("q", 1), ("r", 0)]
    alone = suspects.find([first], "think", "answer")
    assert alone.shares["canned"] == 0  # a group may agree
    greetings = [group("<think>a greeting</think>Hi!", name=name, kind="open") for name in "qr"]
    assert suspects.find(greetings, "think", "answer").shares["canned"] == 0


def test_the_best_paid_answers_that_are_not_right_come_first():
    found = find("a", "b", "c", "d", "e", rewards=[0.1, 0.9, 0.5, 0.2, 0.7])
    assert found.named["paid"] == [("q", 1), ("q", 4), ("q", 2)]
    assert find("a", status="correct").named["paid"] == []


def test_an_alert_says_what_to_read():
    found = find("a", "a", "b")
    said, samples = suspects.links("duplicates", found, "rollouts/step_000003.jsonl")
    assert said == " Read q #0, q #1 in rollouts/step_000003.jsonl."
    assert samples == [["q", 0], ["q", 1]]
    assert suspects.links("entropy", found, "x") == ("", [])
    assert suspects.links("enumeration", found, "x") == ("", [])
    assert suspects.links("duplicates", None, "x") == ("", [])


def test_any_text_and_no_text():
    for text in ("\ud800", "\0", "<think>" * 99, "\\boxed" * 99, "🙂" * 999):
        find(text)
    assert suspects.find([], "think", "answer").shares == dict.fromkeys(suspects.KINDS, 0.0)
