"""The accept and refuse table of the format reward, as in docs/rewards.md."""

import time

import pytest

from aha.rewards.format import format_reward

GOOD = "<think>a</think><answer>b</answer>"


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "<think>a</think> <answer>b</answer>",
        "\n <think>\na\n</think>\n\n<answer>\nb\n</answer>\n",
        "<think>a < b > c</think><answer><b>x</b></answer>",
        "<think>1</think><answer>\\boxed{2}</answer>",
    ],
)
def test_accepted(text):
    assert format_reward(text) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "<think>a</think>",
        "<answer>b</answer>",
        "<think>a</think>b",
        "<think></think><answer>b</answer>",
        "<think> \n</think><answer>b</answer>",
        "<think>a</think><answer></answer>",
        "<think>a</think><answer> </answer>",
        "x" + GOOD,
        GOOD + "x",
        "<think>a</think>x<answer>b</answer>",
        GOOD + GOOD,
        GOOD + "<answer>c</answer>",
        "<think>a</think>" + GOOD,
        "<think>a<think>b</think><answer>c</answer>",
        "<think>a</think></think><answer>b</answer>",
        "<think>a<answer>b</answer></think>",
        "<think>a<answer>x</answer></think><answer>b</answer>",
        "<think>a</think><answer><think>b</think></answer>",
        "<think>a</think><answer>b<answer>c</answer></answer>",
        "<answer>b</answer><think>a</think>",
        "<think>a<answer>b</answer>",
        "<think>a</think><answer>b",
        "<THINK>a</THINK><ANSWER>b</ANSWER>",
        "<think >a</think><answer>b</answer>",
    ],
)
def test_refused(text):
    assert format_reward(text) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "<think>a</think>b",
        "<think>\na\n</think>\n\nThe answer is \\boxed{2}.",
        "\n <think>a</think>b \n",
        "<think>a < b</think>c > d",
        "<think>\n" + "a\n</think>\n\nb",  # the tag was prefilled
        GOOD,  # without an answer tag, `<answer>` is text like any other
        "<think>a<answer>x</answer></think>b",
    ],
)
def test_accepted_in_chat_style(text):
    assert format_reward(text, answer_tag="") == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "<answer>b</answer>",
        "<think>a b",
        "<think>a</think>",
        "<think>a</think> \n",
        "<think></think>b",
        "<think>\n\n</think>\n\nb",  # an answer without thinking
        "a</think>b",
        "x<think>a</think>b",
        "<think>a</think>b<think>c</think>d",
        "<think>a</think>b</think>c",
        "<think>a<think>b</think>c",
        "<think>\n" + "<think>a</think>b",  # prefilled, and written again
        "<THINK>a</THINK>b",
        "<think >a</think>b",
    ],
)
def test_refused_in_chat_style(text):
    assert format_reward(text, answer_tag="") == 0.0


def test_a_summary_that_the_cap_cut_is_not_complete():
    assert format_reward("<think>a</think>b", answer_tag="", cut=True) == 0.0
    assert format_reward(GOOD, cut=True) == 1.0  # the closed tag says that it is


def test_other_tag_names():
    assert format_reward("<思考>a</思考><回答>b</回答>", "思考", "回答") == 1.0
    assert format_reward(GOOD, "思考", "回答") == 0.0


def test_linear_on_hostile_text():
    start = time.perf_counter()
    for piece in ("<think>", "<think>a</think>", "</answer>"):
        format_reward("<think>" + piece * 200_000)
    assert time.perf_counter() - start < 1.0
