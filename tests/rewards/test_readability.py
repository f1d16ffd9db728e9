"""Each fault alone, at its limit and beyond; and none in a readable answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.rewards.readability import Limits, faults

EN = (
    "Natalia sold 48 clips in April.\nIn May she sold half as many, so $48/2 = 24$ clips.\n"
    "Wait, let me check: half of 48 is 24.\nThe total is the sum of both months, 72."
)
ZH = "四月卖出 48 个，五月卖出一半，也就是 24 个。\n总数是两个月的和，一共 72 个。"


@pytest.mark.parametrize("thinking, lang", [(EN, "en"), (ZH, "zh"), (EN, ""), (ZH, "")])
def test_a_readable_answer_has_none(thinking, lang):
    assert faults(thinking, "72", language=lang) == []


@pytest.mark.parametrize(
    "thinking, summary, expected",
    [
        ("", "The total is 72.", ["empty_thinking"]),
        (" \n\t", "The total is 72.", ["empty_thinking"]),
        (EN, " \n", ["empty_summary"]),
        (EN + "\n所以一共卖出七十二个。", "72", ["mixed_languages"]),  # 10 characters, 33 words
        (ZH, "72", ["mixed_languages"]),
        (EN, "一共 72 个。", ["summary_language"]),
        (EN + "\n```python\nprint(48 + 24)\n```", "72", ["code_block"]),
        (EN + "\n  ~~~\n1\n~~~", "72", ["code_block"]),
        (EN + "\n" + "So it is 72. " * 30, "72", ["repetition"]),
        (EN + "\ufffd", "72", ["garbled"]),
        (EN, "72\x00", ["garbled"]),
        ("", "", ["empty_thinking", "empty_summary"]),
    ],
)
def test_faults(thinking, summary, expected):
    assert faults(thinking, summary, language="en") == expected


def test_half_of_an_emoji_is_garbled():
    assert faults(EN + "\U0001f642", "72", language="en") == []
    assert faults(EN + "\ud83d", "72", language="en") == ["garbled"]


def test_what_is_no_fault():
    assert faults(EN + "\nprint(`48 + 24`)", "```python\nx\n```", language="en") == []
    assert faults(EN.replace("\n", "\n\n"), "72", language="en") == []
    assert faults(EN + "\n72 72 72, 24 + 24 + 24", "72", language="en") == []


def numbered(words, first=0):
    """Words that are all different and in no language."""
    return " ".join(f"w{number}" for number in range(first, first + words))


def test_a_paragraph_ends_with_its_line():
    assert faults(numbered(300), "1", language="en") == []
    assert faults(numbered(301), "1", language="en") == ["long_paragraph"]
    assert faults(numbered(200) + "\n" + numbered(200, first=200), "1", language="en") == []
    assert faults("".join(map(chr, range(0x4E00, 0x4E00 + 301))), "1", language="zh") == (
        ["long_paragraph"]  # a Chinese character is a word
    )


def test_limits_move_and_switch_off():
    mixed = EN + "\n所以一共卖出七十二个。"
    assert faults(mixed, "72", language="en", limits=Limits(language=0.7)) == []
    assert faults(EN + "\n```\nx\n```", "72", language="en", limits=Limits(code=True)) == []
    assert faults(numbered(9999), "1", language="en", limits=Limits(paragraph=0)) == []
    assert faults(EN, "72", language="en", limits=Limits(words=1000)) == ["empty_thinking"]
    assert faults(EN, "72", language="en", limits=Limits(paragraph=5)) == ["long_paragraph"]


@given(st.text(max_size=200), st.text(max_size=50))
def test_any_text_is_judged(thinking, summary):
    found = faults(thinking, summary, language="zh")
    assert ("empty_thinking" in found) is (not thinking.strip())
    assert ("empty_summary" in found) is (not summary.strip())


@pytest.mark.parametrize(
    "piece", ["\n", "`", "```\n", "~~~", "a", " ", "对", "\ud800", "\x00", "$"]
)
def test_hostile_text_comes_to_an_end(piece):
    assert faults(piece * 100_000, piece, language="en")
