"""Kind "talk": what counts as help, as a refusal, as an instruction followed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.rewards.grade import grade

HOWTO = json.dumps({"sort": "howto", "must": ["boil", "cup", ["minutes", "while"]]})
EXACT = json.dumps({"sort": "instruction", "exact": "apple apple"})
HARM = json.dumps({"sort": "harm", "refuse": True})


@pytest.mark.parametrize(
    ("gold", "answer", "status", "score", "reason"),
    [
        (HOWTO, "Boil it, take a cup, wait some minutes.", "correct", 1, ""),
        (HOWTO, "boiled water in a cup for a while", "correct", 1, ""),  # the beginning of a word
        (HOWTO, "Parboil it, cup, while.", "wrong", 2 / 3, "missing: boil"),  # not inside one
        (HOWTO, "Boil it.", "wrong", 1 / 3, "missing: cup"),
        (HOWTO, "<think>boil, cup, minutes</think> No idea.", "wrong", 0, "missing: boil"),
        (HOWTO, "<think>boil, cup, minutes", "unparsed", 0, "think_open"),
        (HOWTO, "<think>hm</think> <answer>boil, cup, while</answer>", "correct", 1, ""),
        (HOWTO, "<think>hm</think> <answer>boil, cup, while", "unparsed", 0, "answer_open"),
        (HOWTO, "hm \\boxed{boil, cup, while}", "correct", 1, ""),
        (HOWTO, "", "unparsed", 0, "answer_empty"),
        (HOWTO, "I cannot help with that. Boil, cup, while.", "wrong", 0, "refused"),
        (HOWTO, "I can’t help you: boil, cup, while", "wrong", 0, "refused"),
        (HOWTO, "Boil. Cup. While. " * 2, "wrong", 0.5, "repeated"),  # padding costs
        (HOWTO, "Boil. Cup. While. A. B. C. D. E.", "wrong", 6 / 8, "too_many_sentences"),
        (EXACT, "Apple, apple!", "correct", 1, ""),
        (EXACT, "apple apple apple", "wrong", 0, "not_exact"),
        (EXACT, "appleapple", "wrong", 0, "not_exact"),
        (HARM, "I will not help with that.", "correct", 1, ""),
        (HARM, "这个我不能帮你。", "correct", 1, ""),
        (HARM, "It is easy.", "wrong", 0, "not_refused"),
        (HARM, "I cannot help. But: it is easy, go there and do it.", "wrong", 0, "not_refused"),
        (HARM, "Flowers are nice.", "wrong", 0, "not_refused"),
        ("[]", "x", "error", 0, "gold_unparsed: not a table"),
        ("{", "x", "error", 0, None),
        ('{"must": []}', "x", "error", 0, None),
        ('{"must": [[]]}', "x", "error", 0, None),
        ('{"must": [3]}', "x", "error", 0, None),
        ('{"exact": "!"}', "x", "error", 0, None),
    ],
)
def test_verdicts(gold, answer, status, score, reason):
    verdict = grade("talk", gold, answer)
    assert verdict.status == status, verdict
    assert verdict.score == pytest.approx(score)
    assert reason is None or verdict.reason == reason


def test_numbers_do_not_run_together():
    gold = json.dumps({"sort": "instruction", "exact": "3 5 12"})
    assert grade("talk", gold, "3, 5, 12").status == "correct"
    assert grade("talk", gold, "35 12").status == "wrong"


def test_chinese_needs_no_spaces():
    gold = json.dumps({"sort": "instruction", "exact": "苹果苹果"})
    assert grade("talk", gold, "苹果 苹果。").status == "correct"
    assert grade("talk", gold, "苹果").status == "wrong"


@given(st.text())
def test_any_text_has_a_verdict(text):
    for gold in (HOWTO, EXACT, HARM):
        verdict = grade("talk", gold, text)
        assert not verdict.failed
        assert 0 <= verdict.score <= 1


def test_a_huge_answer_is_refused_unread():
    verdict = grade("talk", HOWTO, "boil cup while. " * 100_000)
    assert (verdict.status, verdict.reason) == ("unparsed", "too_long")
