"""A response in its parts."""

import time

from hypothesis import given
from hypothesis import strategies as st

from aha.data.thinking import split


def test_thinking_and_answer():
    parsed = split("<think>a b</think>\n<answer> c </answer> d")
    assert (parsed.think, parsed.answer, parsed.complete, parsed.has_think) == (
        "a b",
        "c",
        True,
        True,
    )
    assert parsed.rest == "\n<answer> c </answer> d"


def test_no_tags_at_all_is_all_answer_part():
    parsed = split("just text")
    assert (parsed.think, parsed.rest, parsed.answer) == ("", "just text", None)
    assert parsed.complete
    assert not parsed.has_think


def test_unfinished_thinking_has_no_answer_part():
    parsed = split("<think>a <answer>b</answer>")
    assert (parsed.rest, parsed.answer, parsed.complete) == ("", None, False)
    assert parsed.think == "a <answer>b</answer>"


def test_thinking_that_is_opened_again_is_unfinished():
    assert not split("<think>a</think> b <think> c").complete


def test_an_opening_tag_written_by_the_template():
    parsed = split("a</think> b")
    assert (parsed.think, parsed.rest, parsed.complete) == ("a", " b", True)


def test_the_last_closing_tag_counts():
    parsed = split("<think>a</think> b </think> c")
    assert (parsed.think, parsed.rest) == ("a</think> b", " c")


def test_other_tag_names():
    parsed = split("<思考>a</思考><回答>b</回答>", "思考", "回答")
    assert (parsed.think, parsed.answer) == ("a", "b")


def test_chat_style_has_no_answer_tag():
    """What follows the thinking is the answer; a prefilled tag counts, and an empty part is one."""
    for text in ("<think>\na\n</think>\n\n<answer>7</answer>", "a</think><answer>7</answer>"):
        parsed = split(text, answer_tag="")
        assert (parsed.think, parsed.rest.strip()) == ("a", "<answer>7</answer>")
        assert (parsed.answer, parsed.complete, parsed.has_think) == (None, True, True)
    empty = split("<think>\n\n</think>\n\nHello!", answer_tag="")
    assert (empty.think, empty.rest.strip(), empty.has_think) == ("", "Hello!", True)


def test_an_answer_that_is_cut():
    assert split("<answer>1</answer><answer>2").answer is None


@given(st.text(alphabet="<>/thinkanswer ", max_size=300))
def test_rest_is_always_the_tail(text):
    parsed = split(text)
    assert text.endswith(parsed.rest)
    assert "</think>" not in parsed.rest


def test_linear_on_hostile_text():
    for piece in ("<think>", "</think>", "<answer>", "<think></think>", "<"):
        start = time.perf_counter()
        split(piece * 200_000)
        assert time.perf_counter() - start < 1.0
