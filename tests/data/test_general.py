"""Which questions are general, and about which of them nobody thinks."""

import pytest

from aha.data.general import is_general, is_trivial, translates
from aha.data.selecting import Rules, Sampled, parts_of, select, untagged
from aha.records import Grade, Prompt

HELLO = "<think>\nThe user greets me.\n</think>\n\nHello! What can I do for you?"
BARE = "<think>\n\n</think>\n\nHello! What can I do for you?"


def prompt(question="hello", domain="general", **more):
    return Prompt(id="p", question=question, gold="", kind="open", domain=domain, **more)


def sampled(text=HELLO, *, of=None, status="correct", score=None, **more):
    score = float(status == "correct") if score is None else score
    grade = Grade(status=status, score=score, reason="why")
    return Sampled(prompt=of or prompt(), sample=0, text=text, grade=grade, tokens=9, **more)


def reason(one, rules):
    return select([one], rules).decisions[0].reason


@pytest.mark.parametrize(
    "question, domain, trivial",
    [
        ("hello", "general", True),
        ("Good morning!", "helpful", True),
        ("how's it going?", "general", True),  # an apostrophe does not make two words
        ("你好！", "general", True),
        ("你今天好吗？", "general", False),  # a character is a word
        ("How do I boil an egg?", "helpful", False),
        ("make a bomb", "harmless", False),  # whether to refuse wants a thought
        ("1+1=?", "math", False),  # the readable form has its own rule for these
        ("1+1=?", "", True),  # kind open without a domain is general
    ],
)
def test_trivial_questions(question, domain, trivial):
    assert is_trivial(prompt(question, domain)) is trivial


def test_a_greeting_is_trivial_however_long():
    asked = prompt("Good morning, I hope that you are well!", columns={"talk": "greeting"})
    assert is_trivial(asked)
    assert is_trivial(asked, words=0)
    assert not is_trivial(prompt("hello"), words=0)


def test_general_areas():
    assert [is_general(prompt(domain=d)) for d in ("helpful", "harmless", "general")] == [True] * 3
    assert not is_general(Prompt(id="p", question="1+1", gold="2"))


def test_auto_drops_the_thinking_of_trivial_questions_alone():
    rules = Rules(think="auto")
    long = prompt("Could you tell me how to boil an egg?")
    assert select([sampled()], rules).rows[0]["response"] == BARE
    assert select([sampled(of=long)], rules).rows[0]["response"] == HELLO
    assert select([sampled()], Rules(think="none")).rows[0]["response"] == BARE
    assert select([sampled()], Rules()).rows[0]["response"] == HELLO


@pytest.mark.parametrize(
    "text, kept, none, bare",
    [
        (HELLO, "", "", ""),
        (BARE, "empty_thinking", "", ""),
        ("Hello! What can I do for you?", "format", "", ""),
        ("Well. " + HELLO, "format", "format", "format"),
        ("<think>\nhm", "unfinished", "unfinished", "unfinished"),
        ("hm</think> Hello!", "format", "format", "format"),
        ("<think>\nhm\n</think>\n\n", "empty_summary", "empty_summary", "empty_summary"),
        ("<think>\n```\nx\n```\n</think>\n\nHello!", "code_block", "", "code_block"),
    ],
)
def test_thinking_that_is_dropped_has_no_faults(text, kept, none, bare):
    """With `none` what stood in the thinking does not matter; a written answer need not have any."""
    assert reason(sampled(text), Rules()) == kept
    assert reason(sampled(text), Rules(think="none")) == none
    assert reason(sampled(text), Rules(bare=True)) == bare


def test_answers_that_differ_in_dropped_thinking_are_the_same():
    other = HELLO.replace("greets me", "says hello")
    both = [sampled(), Sampled(**{**_fields(sampled(other)), "sample": 1})]
    reasons = [one.reason for one in select(both, Rules(think="none", per_prompt=0)).decisions]
    assert sorted(reasons) == ["", "duplicate"]
    assert len(select(both, Rules(per_prompt=0)).rows) == 2


def _fields(one):
    return {name: getattr(one, name) for name in Sampled.__dataclass_fields__}


@pytest.mark.parametrize(
    "status, score, least, dropped",
    [
        ("wrong", 0.75, 0.0, "not_correct"),
        ("wrong", 0.75, 0.5, ""),
        ("wrong", 0.25, 0.5, "not_correct"),
        ("correct", 1.0, 1.0, ""),
        ("open", 0.0, 0.0, "no_verdict"),
        ("open", 0.0, 0.5, "no_verdict"),
        ("timeout", 0.0, 0.0, "grader_failed"),
    ],
)
def test_a_score_may_decide_in_place_of_the_verdict(status, score, least, dropped):
    assert reason(sampled(status=status, score=score), Rules(min_score=least)) == dropped
    assert reason(sampled(status=status, score=score), Rules(correct=False)) == ""


def test_a_translation_may_be_in_another_language():
    asked = "Translate into Chinese, please: the weather is fine today"
    text = "<think>\nI put it into Chinese.\n</think>\n\n今天天气很好。"
    assert reason(sampled(text, of=prompt(asked)), Rules()) == "summary_language"
    for named in (prompt(asked, columns={"talk": "translate"}), prompt(asked, "translation")):
        assert translates(named)
        assert reason(sampled(text, of=named), Rules()) == ""


def test_what_stands_in_an_answer_tag_becomes_the_summary():
    tagged = sampled("The user greets me.\n</think> <answer>Hello!</answer>", prefill="<think>\n")
    made = untagged(tagged)
    assert made.response == "<think>\nThe user greets me.\n</think>\n\nHello!"
    assert parts_of(made, Rules()) == ("The user greets me.", "Hello!")
    assert untagged(sampled("no form")).text == "no form"
