"""The answer contract: where an answer stands, and that everything else is none."""

import pytest

from aha.rewards.answer import extract, last_box
from aha.rewards.code import find_program
from aha.rewards.grade import grade

THOUGHT = "<think>so 5 and \\boxed{5}</think>"


@pytest.mark.parametrize(
    "response, wanted",
    [
        ("\\boxed{72}", "72"),
        ("\\fbox{72}", "72"),
        ("\\boxed {72}", "72"),
        ("$\\boxed 72$.", "72"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\{1,2\\}}", "\\{1,2\\}"),
        ("\\boxed{\\boxed{72}}", "{72}"),
        ("\\boxed{9}, no, wait: \\boxed{7}", "7"),
        ("<answer>72</answer>", "72"),
        ("<answer> 72\n</answer>", "72"),
        ("<answer>5</answer> <answer>7</answer>", "7"),
        ("<answer>so \\boxed{72}</answer>", "72"),
        ("\\boxed{72} <answer>5</answer>", "72"),
        ("<answer>The answer is 72</answer>", "72"),
        (THOUGHT + "\\boxed{7}", "7"),
        (THOUGHT + " <answer>7</answer>", "7"),
        ("so \\boxed{5}</think> \\boxed{7}", "7"),
        ("<think>a</think> b <think>c</think> \\boxed{7}", "7"),
    ],
)
def test_what_counts_as_an_answer_everywhere(response, wanted):
    for mode in ("rl", "all"):
        assert extract(response, mode=mode).text == wanted


@pytest.mark.parametrize(
    "response, wanted",
    [
        ("48 + 24 = 72\n#### 72", "72"),
        ("#### 5\nno\n#### 72", "72"),
        ("#### $1,234", "$1,234"),
        ("Answer: 72", "72"),
        ("**Answer:** 72", "72"),
        ("**Answer**: 72", "72"),
        ("The final answer is 72.", "72"),
        ("The final answer is: $72$.", "$72$"),
        ("The answer is 72. I checked it twice.", "72"),
        (
            "Final Answer: The final answer is $\\frac{1}{2}$. I hope it is correct.",
            "$\\frac{1}{2}$",
        ),
        ("Answer: 5, no.\nAnswer: 72", "72"),
        ("Answer:\n72", "72"),
        ("Answer \\[ 9 \\]\nAnswer: \\[ 72 \\]", "72"),
        ("**Final Answer**\n\n72", "72"),
        ("答案是72。", "72"),
        ("答案：72", "72"),
        ("所以答案为 72", "72"),
        ("答：72", "72"),
        ("故答案为：72．", "72"),
        ("答案应该是72。我再检查一遍。", "72"),
        ("综上，面积是6。所以小明还剩72个。答：72个。", "72个"),
        ("所以它的面积是72平方厘米。", "72平方厘米"),
        ("答案是72。所以检查的结果是5。", "72"),
        ("所以第一步是5。所以结果是72。", "72"),
        ("故选：C．", "C"),
        ("故选C", "C"),
        ("因此，选C。", "C"),
        ("故选（C）。", "（C）"),
        ("The correct option is C", "C"),
        ("The right choice is: (C)", "(C)"),
        ("故选BD", "BD"),
    ],
)
def test_what_counts_in_evaluation_only(response, wanted):
    assert extract(response, mode="all").text == wanted
    assert extract(response, mode="rl").text is None


@pytest.mark.parametrize(
    "response, reason",
    [
        ("", "no_answer"),
        ("It is 72.", "no_answer"),
        ("3, then 4, so 72", "no_answer"),
        ("所以这是错的", "no_answer"),
        ("不能选C", "no_answer"),
        ("选项C不对", "no_answer"),
        ("<think>\\boxed{72}", "think_open"),
        ("<think>a</think> \\boxed{72} <think> hm", "think_open"),
        (THOUGHT, "no_answer"),
        ("<think><answer>72</answer></think> done", "no_answer"),
        ("<think>#### 72</think> done", "no_answer"),
        ("\\boxed{72", "box_open"),
        ("\\boxed{5} and \\boxed{72", "box_open"),
        ("\\boxed", "box_open"),
        ("\\boxed{}", "box_empty"),
        ("\\boxed{72} \\boxed{ }", "box_empty"),
        ("<answer>72", "answer_open"),
        ("<answer>5</answer> <answer>72", "answer_open"),
        ("<answer></answer>", "answer_empty"),
    ],
)
def test_what_is_no_answer(response, reason):
    found = extract(response, mode="all")
    assert found.text is None
    assert found.reason == reason
    assert grade("math", "72", response, mode="all").status == "unparsed"


def test_the_prefill_belongs_to_the_answer():
    assert grade("math", "7", "hm </think> \\boxed{7}", prefill="<think>\n").status == "correct"
    assert grade("math", "7", "hm \\boxed{7}", prefill="<think>\n").reason == "think_open"


def test_tags_may_have_other_names():
    text = "<思考>\\boxed{5}</思考><回答>7</回答>"
    options = {"think_tag": "思考", "answer_tag": "回答"}
    assert grade("math", "7", text, **options).status == "correct"
    assert grade("math", "5", text, **options).status == "wrong"
    assert extract("<think>a</think> <answer>7</answer>", answer_tag="").text is None


@pytest.mark.parametrize(
    "gold, response, right",
    [
        ("72", "<answer>Natalia sold 72 clips altogether.</answer>", True),
        ("72", "<answer>She has 48 + 24 = 72 clips</answer>", False),
        ("72", "<answer>It is not 72</answer>", False),
        ("72", "<answer>between 71 and 73</answer>", False),
        ("18", "The final answer is $18 per day.", True),
        ("1200", "Answer: The total is $1,200.", True),
        ("-5", "<answer>The value is -5</answer>", True),
        ("72", "\\boxed{Natalia sold 72 clips in all}", False),
        ("28\\%", "So it fell by $\\boxed{28}$ percent", True),
        ("9", "Answer \\[ 9 \\]. Answer: \\( 9 \\)", True),
        ("72", "<answer>小明还剩72个苹果。</answer>", True),
        ("72", "答：小明一共有72个苹果。", True),
        ("72", "答：小明不是有72个苹果。", False),
        ("72", "答：小明比小红多72个。", False),
        ("72", "答：小明有72个，小红有5个。", False),
        ("72", "答：大约有72个。", False),
        ("18美元", "答：她每天赚18美元。", True),
        ("18元", "答：她每天赚18美元。", False),
        ("72", "\\boxed{小明还剩下72枚旧邮票}", False),
        ("C", "The correct answer is (C).", True),
        ("C", "Answer: C", True),
        ("C", "Answer: B", False),
    ],
)
def test_answers_in_sentences(gold, response, right):
    assert (grade("math", gold, response, mode="all").status == "correct") is right


def test_a_box_with_unmatched_escapes():
    assert last_box("\\boxed{\\left\\{ 1 \\right.} x").text == "\\left\\{ 1 \\right."
    assert last_box("no box") is None


@pytest.mark.parametrize(
    "response, wanted",
    [
        ("<think>5 \\boxed{5}</think>\n\nIt is \\boxed{7}.", "7"),
        ("so \\boxed{5}</think> \\boxed{7}", "7"),  # after a prefilled tag
        ("<think>\n\n</think>\n\n\\boxed{7}", "7"),
        ("<think>a</think> <answer>\\boxed{7}</answer>", "7"),
        ("<think>a</think> <answer>7</answer>", None),  # the tag says nothing without its name
        ("<think>a</think> it is 7", None),
        ("<think>a \\boxed{7}", None),
    ],
)
def test_chat_style_takes_the_box_of_the_summary(response, wanted):
    assert extract(response, answer_tag="").text == wanted


def test_programs_in_chat_style_stand_in_the_last_block():
    """`<>` is no tag: SQL and old Python write it."""
    text = "<think>a</think>\n\nif a <> b:\n```python\nprint(1)\n```\nDone."
    assert find_program(text, answer_tag="").text == "print(1)\n"
