"""Counts against texts counted by hand, and time against texts made to be slow."""

import time

import pytest

from aha.report.text import TextStats, measure, repetition, scripts, summarise


def test_reflection_words_are_whole_words_in_any_case():
    # Wait, mistake, but, WAIT, check = 5; waiter, checked, button, error_code, wait2 are others
    text = (
        "<think>Wait, that is a mistake, but... WAIT. waiter checked button error_code wait2 "
        "ch\u0435ck</think><answer>check</answer>"
    )
    got = measure(text)
    assert (got.reflection, got.wait, got.reflection_zh) == (5, 2, 0)
    # the paper's list
    assert (
        measure("wait mistake however but retry error verify wrong evaluate check").reflection == 10
    )


def test_chinese_next_to_a_word_does_not_hide_it():
    got = measure("<think>等等wait不对，重新检查</think>")
    # 等等, 不对, 重新, 检查
    assert (got.reflection, got.wait, got.reflection_zh) == (1, 1, 4)
    assert measure("等等等").reflection_zh == 1  # no overlaps


def test_lengths_of_the_parts():
    got = measure("<think>12345</think> <answer>678</answer>")
    assert (got.think_chars, got.answer_chars) == (5, 3)
    assert measure("<reason>ab</reason><out>c</out>", think_tag="reason", answer_tag="out") == (
        measure("<think>ab</think><answer>c</answer>")
    )
    assert measure("<think>cut he").answer_chars == 0
    assert measure("<think>a</think>only text").answer_chars == 9
    empty = measure("")
    assert (empty.think_chars, empty.answer_chars, empty.reflection, empty.mixed) == (
        0,
        0,
        0,
        False,
    )


@pytest.mark.parametrize(
    "text, expected",
    [
        ("we 我们 use", (2, 5, 0)),
        ("x + y = \\frac{a}{b} \\sqrt", (0, 0, 0)),  # variables and commands belong to no language
        ("设x为整数", (4, 0, 0)),
        ("<think>ab</think>", (0, 2, 0)),  # tags neither
        ("π θ да это", (0, 0, 5)),
        ("naïve Ærø 12 _ab_", (0, 10, 0)),  # 5 + 3 + 2
        ("𠀀々〇", (3, 0, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_scripts(text, expected):
    assert scripts(text) == expected


def test_language_is_that_of_the_thinking():
    got = measure("<think>我们先算。</think><answer>the answer is long here</answer>")
    assert (got.han, got.latin) == (4, 0)
    assert got.target_share("zh") == 1
    assert got.target_share("en") == 0
    assert measure("<think>1+1=2</think>").target_share("en") is None  # not known is not 0
    with pytest.raises(ValueError, match="only en and zh"):
        got.target_share("fr")


def counted(han=0, latin=0, other=0):
    return TextStats(
        think_chars=0, answer_chars=0, reflection=0, wait=0, reflection_zh=0,
        han=han, latin=latin, other=other, repetition=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "stats, mixed",
    [
        (counted(han=5, latin=95), True),
        (counted(han=4, latin=96), False),
        (counted(han=100), False),
        (counted(han=90, latin=4, other=6), True),
        (counted(), False),
    ],
)
def test_mixed_from_five_percent_on(stats, mixed):
    assert stats.mixed is mixed


def test_repetition_by_hand():
    assert repetition("a b c") == 0
    assert repetition("one two three four five") == 0
    # units a b a b a b a: 4-grams abab, baba, abab, baba -> 2 of 4 are repeats
    assert repetition("a b a b a b a") == pytest.approx(0.5)
    # six 对: three 4-grams, one different
    assert repetition("对" * 6) == pytest.approx(2 / 3)
    assert repetition("a" * 16 * 6) == pytest.approx(2 / 3)
    assert repetition("1+1=2, 1+1=2") > 0


def test_repetition_agrees_with_counting_pairs():
    units = list("xyxzxyxzyyxyxz")
    grams = [tuple(units[i : i + 4]) for i in range(len(units) - 3)]
    repeats = sum(any(grams[j] == grams[i] for j in range(i)) for i in range(len(grams)))
    assert repetition(" ".join(units)) == pytest.approx(repeats / len(grams))


def test_summary_of_a_step():
    answers = ["<think>wait, wait 我们</think>", "<think>hello</think>", "<think>1</think>"]
    got = summarise([measure(text) for text in answers], tokens=500)
    assert got["text/reflection/per_1k"] == pytest.approx(4.0)  # 2 words in 500 tokens
    assert got["text/reflection/share"] == got["text/wait/share"] == pytest.approx(1 / 3)
    assert got["text/han/share"] == pytest.approx(2 / (2 + 8 + 5))
    assert got["text/mixed/share"] == pytest.approx(1 / 3)
    assert got["text/reflection_zh/share"] == 0
    from aha.report.metrics import METRICS

    assert set(got) == {name for name in METRICS if name.startswith("text/")}
    assert set(summarise([], tokens=0).values()) == {None}


@pytest.mark.parametrize(
    "piece",
    ["a", "\\", "<", "</", "<think>", "wait", "等", "我a", "\ud800", "\u0301", "é", "я", " ", "_"],
)
def test_time_is_linear_on_hostile_text(piece):
    def seconds(size):
        text = (piece * size)[:size]
        start = time.process_time()
        measure(text)
        return time.process_time() - start

    small, large = min(seconds(30_000) for _ in range(3)), seconds(300_000)
    assert large < 40 * small + 1.5  # ten times the text; a quadratic count takes a hundred times
