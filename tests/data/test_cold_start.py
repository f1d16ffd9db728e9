"""The routes of cold-start data: layouts, examples and that these hold what they show."""

import pytest

from aha.config import DataConfig
from aha.data import templates
from aha.data.cold_start import (
    DEMANDS,
    EXAMPLES,
    SHORT,
    as_messages,
    as_text,
    check_examples,
    chosen,
    is_trivial,
    rendered,
)
from aha.data.dialogues import Dialogue
from aha.data.refine_text import is_false, sentences
from aha.data.selecting import form
from aha.data.thinking import split
from aha.errors import ConfigError
from aha.records import Prompt
from aha.report.text import measure
from aha.rewards.answer import extract
from aha.rewards.language import target
from aha.rewards.readability import faults

OURS = [(lang, one) for table in (EXAMPLES, SHORT) for lang, some in table.items() for one in some]
ANSWERS = {
    "ours-en-product": "319", "ours-en-difference": "260", "ours-en-order": "\\text{Tom}",
    "ours-zh-product": "319", "ours-zh-difference": "260", "ours-zh-order": "\\text{小王}",
    "ours-en-knights": "\\text{Ann is a knight, Bob is a knave}",
    "ours-zh-knights": "\\text{小明是骑士，小李是无赖}",
    "ours-en-short-sum": "7", "ours-en-short-difference": "7", "ours-en-short-product": "6",
    "ours-zh-short-sum": "7", "ours-zh-short-difference": "7", "ours-zh-short-product": "6",
}  # fmt: skip
"""Worked out by hand."""


def prompt(question, **more):
    return Prompt(id=more.pop("id", "p"), question=question, gold="1", **more)


@pytest.mark.parametrize("lang, one", OURS, ids=lambda x: x if isinstance(x, str) else x.id)
def test_our_examples_are_readable_and_right(lang, one):
    question, answer = one.messages[0][1], one.messages[1][1]
    thinking, summary = form(answer)
    assert faults(thinking, summary, language=lang) == []
    assert extract(answer, answer_tag="").text == ANSWERS[one.id]
    assert not any(is_false(part.text) for text in (thinking, summary) for part in sentences(text))
    assert target(question) in (lang, "")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_long_examples_reflect_and_verify_and_short_ones_do_not(lang):
    assert len(EXAMPLES[lang]) == 4
    assert {one.domain for one in EXAMPLES[lang]} == {"math", "logic"}
    for one in EXAMPLES[lang]:
        said = measure(one.messages[1][1])
        assert said.reflection + said.reflection_zh > 0, one.id
    for one in SHORT[lang]:
        assert is_trivial(one.messages[0][1]), one.messages[0][1]
        assert len(split(one.messages[1][1]).think) < 20


def test_the_truth_of_the_puzzles():
    """Knights and knaves by trying all cases: one solution, the one that the example gives."""
    fits = [
        (ann, bob)
        for ann in (True, False)
        for bob in (True, False)
        if ann == (not bob) and bob == (ann == bob)
    ]
    assert fits == [(True, False)]


def test_few_shot_text():
    asking = as_text("few_shot", prompt("Compute 9 + 8 * 7.", lang="en"), shots=1)
    one = chosen(prompt("Compute 9 + 8 * 7.", lang="en"), None, 1)[0]
    assert asking.text == (
        f"User: {one.messages[0][1]}\nAssistant: {one.messages[1][1]}\n\n"
        "User: Compute 9 + 8 * 7.\nAssistant: <think>\n"
    )
    assert asking.text.endswith(asking.prefill)
    assert asking.stop == ("\nUser:",)
    other = as_text("few_shot", prompt("Compute 9 + 8 * 7."), think_tag="思考")
    assert other.prefill == "<思考>\n"
    assert "<think>" not in other.text


def test_few_shot_on_lines_without_tags():
    asking = as_text(
        "few_shot", prompt("求 9 + 8 * 7 的值。", domain="math"), shots=2, tagged=False
    )
    lines = asking.text.split("\n")
    assert len(lines) == 3
    assert lines[2] == "User: 求 9 + 8 * 7 的值。 Assistant:"
    assert (
        "User: 求 19 * 14 - 6 的值。 Assistant: 先算乘法：19 * 14 大约是 250。等等，这只是猜的。 19 * 14："
        in (asking.text)
    )
    assert all(line.endswith("}。") for line in lines[:2])
    assert "<think>" not in asking.text


def test_the_next_question_is_no_answer():
    asking = as_text("few_shot", prompt("Compute 9 + 8 * 7."))
    assert (
        asking.answer("We add.\n</think>\n\n\\boxed{65}\nUser:")
        == "We add.\n</think>\n\n\\boxed{65}"
    )
    assert asking.answer("We add.") == "We add."
    line = as_text("few_shot", prompt("Compute 9 + 8 * 7."), tagged=False)
    assert line.answer(" 65. User: 1 + 1\nUser:") == " 65."


def test_detailed_text():
    asking = as_text("detailed", prompt("Compute 9 + 8 * 7."))
    assert asking.text == "Detailed solution with check: Compute 9 + 8 * 7."
    assert (
        as_text("detailed", prompt("计算 9 + 8 * 7。")).text == "详细解答和检查: 计算 9 + 8 * 7。"
    )
    assert asking.prefill == ""


def test_messages_say_what_is_wanted():
    asked = prompt("Compute 9 + 8 * 7.")
    system, user = as_messages("detailed", asked, think_tag="思考")
    assert user == {"role": "user", "content": asked.question}
    assert "<思考> and </思考>" in system["content"]
    assert "\\boxed{}" in system["content"]
    shots = as_messages("few_shot", asked, shots=2)
    assert [one["role"] for one in shots] == ["system", *["user", "assistant"] * 2, "user"]
    assert as_messages("detailed", prompt("计算 9 + 8 * 7。"))[0]["content"].startswith(
        "请详细作答"
    )
    assert all(
        "{" not in text.format(think="think").replace("\\boxed{}", "") for text in DEMANDS.values()
    )


def test_examples_fit_the_question():
    assert {target(" ".join(t for _, t in one.messages)) for one in chosen(prompt("求 9 * 8 + 1 的值。"),
            None, 4)} == {"zh"}  # fmt: skip
    first = chosen(prompt("Who is taller?", domain="logic"), None, 2)
    assert {one.domain for one in first} == {"logic"}
    known = EXAMPLES["en"][0].messages[0][1]
    assert EXAMPLES["en"][0] not in chosen(prompt(known.upper()), None, 4)
    assert chosen(prompt("1+1=?"), None, 2)[0] in SHORT["en"]
    orders = {
        tuple(
            one.id
            for one in chosen(
                prompt("Add them.", id=f"{i}", domain="words", kind="choice"), None, 2
            )
        )
        for i in range(20)
    }
    assert len(orders) > 4  # examples differ from question to question


def test_examples_of_the_user():
    theirs = [
        Dialogue(id="t", messages=(("user", "Add 1 and 1."), ("assistant", "<think>2</think> 2")))
    ]
    asking = as_text("few_shot", prompt("Add 5 and 6 and 7."), examples=theirs)
    assert asking.text.startswith(
        "User: Add 1 and 1.\nAssistant: <think>2</think> 2\n\nUser: Add 5"
    )
    with pytest.raises(ConfigError, match="an example that is not the question itself"):
        as_text("few_shot", prompt("add 1 and 1"), examples=theirs)
    with pytest.raises(ConfigError, match="shots of 1 or more"):
        as_text("few_shot", prompt("Add 5 and 6."), shots=0)
    long = Dialogue(id="l", messages=(("user", "a"), ("assistant", "b")) * 2)
    with pytest.raises(ConfigError, match="one question and its answer"):
        as_text("few_shot", prompt("Add 5 and 6."), examples=[long])


def test_examples_are_one_question_and_its_answer():
    pair = Dialogue(id="p", messages=(("user", "a"), ("assistant", "b")))
    system = Dialogue(id="s", messages=(("system", "x"), *pair.messages))
    check_examples([pair], "d.jsonl")
    with pytest.raises(ConfigError, match=r"'d.jsonl': 1 of 2 .*first: s"):
        check_examples([pair, system], "d.jsonl")


def test_an_example_without_thinking_is_shown_whole():
    """Its last line alone would show no solution."""
    messages = (("user", "Add 1 and 1."), ("assistant", "1 + 1 = 2.\n\nIt is 2."))
    theirs = [Dialogue(id="t", messages=messages)]
    asking = as_text("few_shot", prompt("Add 5 and 6."), examples=theirs, tagged=False)
    assert asking.text.startswith("User: Add 1 and 1. Assistant: 1 + 1 = 2. It is 2.\nUser: Add 5")


@pytest.mark.parametrize(
    "suffix, shown", [("In a box.", "7. In a box."), ("\nIn a box.", "7.\nIn a box.")]
)
def test_a_suffix_stands_behind_every_question(suffix, shown):
    asked = prompt("Compute 9 + 8 * 7.")
    for tagged in (True, False):
        text = as_text("few_shot", asked, shots=2, tagged=tagged, suffix=suffix).text
        assert text.count(suffix) == 3
        assert f"8 * {shown}" in text
    assert as_text("detailed", asked, suffix=suffix).text.endswith(f"8 * {shown}")
    *before, last = as_messages("few_shot", asked, shots=2, suffix=suffix)
    assert last["content"].endswith(f"8 * {shown}")
    assert [suffix in one["content"] for one in before] == [False, True, False, True, False]


def test_a_system_message_comes_before_the_demand():
    asked = prompt("Compute 9 + 8 * 7.")
    plain, said = (as_messages("detailed", asked, system=text)[0]["content"] for text in ("", "I."))
    assert said == f"I.\n\n{plain}"


@pytest.mark.parametrize(
    "question, trivial",
    [
        ("1+1=?", True),
        ("How much is 5+4?", True),
        ("what is 1 plus 2", True),
        ("3 加 5 等于多少？", True),
        ("What is 50 - 9?", True),
        ("What is 3 × 9?", True),
        ("What is 12 * 9?", False),  # a product that takes steps
        ("What is 100 + 1?", False),
        ("1 + 1 + 1 = ?", False),
        ("1.5 + 1 = ?", False),
        ("Tom has 3 apples and gets 5 more. How many?", False),
        ("Prove that there is no largest prime.", False),
        ("", False),
        ("For which values of the real parameter does the equation a x + 1 = 2 have roots?", False),
    ],
)
def test_what_is_trivial(question, trivial):
    assert is_trivial(question) is trivial


@pytest.mark.parametrize("piece", ["1+", "plus ", "9" * 100, "\ud800", "1 + 1 "])
def test_hostile_questions(piece):
    assert not is_trivial(piece * 10_000)
    assert as_text("detailed", prompt(piece * 10_000)).text


def test_rendered_with_tokens():
    asked = prompt("Compute 9 + 8 * 7.")
    asking = as_text("few_shot", asked)
    made = rendered(asking, asked, lambda text: list(text.encode("utf-8")), bos=(300,))
    assert made.token_ids == (300, *asking.text.encode("utf-8"))
    assert (made.text, made.prefill, made.prompt) == (asking.text, "<think>\n", asked)


def test_the_template_of_r1_zero_is_the_third_route():
    """Its samples are what refine.py reads: the same tags."""
    assert "<think> reasoning process here </think>" in templates.r1_zero(
        DataConfig().think_tag, DataConfig().answer_tag
    )
