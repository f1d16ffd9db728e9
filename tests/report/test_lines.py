"""Hostile text is made harmless; lines fit."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.report.lines import clean, fold, middle_cut, table_lines, width_of


@pytest.mark.parametrize(
    "hostile, harmless",
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Htop", "top"),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bcreset", "reset"),
        ("\x1b\x1b[31m[31mtwice", "[31mtwice"),  # what is left cannot act without its ESC
        ("over\rwrite\x08\x08\x7f\x00\x07", "overwrite"),
        ("\u202eabc\u202c \u2066x\u2069 \u200fq", "abc x q"),
        ("a\u200bb\ufeffc\U000e0041", "abc"),
        ("\ud800 lone", "\ufffd lone"),
        ("[bold]markup[/bold]", "[bold]markup[/bold]"),  # the faces do not read markup
        ("中文 é 🙂", "中文 é 🙂"),
    ],
)
def test_clean(hostile, harmless):
    assert clean(hostile) == harmless


def test_clean_keeps_or_joins_lines():
    assert clean("a\tb\nc\u2028d") == "a b\nc\nd"
    assert clean(" a\tb\n c\u2028d ", lines=False) == "a b c d"


@given(st.text(st.sampled_from("\x1b\x9b[]0;31m\x07\\Pab\n\u202e\u200b")))
def test_nothing_active_survives(text):
    assert set(clean(text)) <= set("[]0;31m\\Pab\n")


@pytest.mark.parametrize("piece", ["\x1b]", "\x1b[", "\x1b[0", "\x9d", "\x1b", "a", "\x1b]a\x1b"])
def test_clean_is_linear(piece):
    start = time.process_time()
    clean(piece * 100_000)
    assert time.process_time() - start < 3


@given(st.text(st.sampled_from("ab 中\u0301"), max_size=200), st.integers(6, 30))
def test_folded_lines_fit_and_lose_nothing(text, width):
    lines = fold(text, "  ", first="", width=width)
    assert all(width_of(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_fold_by_hand():
    assert fold("aa bb cc", " ", first="", width=5) == ["aa bb", " cc"]
    assert fold("abcdefgh", "", width=3) == ["abc", "def", "gh"]
    assert fold("", "", width=3) == [""]
    start = time.process_time()
    assert len(fold("x" * 1_000_000, "", width=80)) == 12_500
    assert time.process_time() - start < 5


def test_table_fits_and_aligns():
    lines = table_lines(["set", "before", "after"], [["加法", "3 %", "61 %"], ["x" * 90, "1", "2"]])
    assert all(width_of(line) <= 80 for line in lines)
    assert width_of(lines[0]) == width_of(lines[1]) == width_of(lines[2]) == 80
    assert sum(line.count("x") for line in lines) == 90
    assert table_lines(["a", "b"], [["1", "22"]]) == ["a   b", "-  --", "1  22"]


def test_middle_cut_keeps_both_ends():
    got = middle_cut("begin " + "x" * 10_000 + " end", 3, 40)
    assert got.startswith("begin")
    assert got.endswith("end")
    assert len(got) < 130
    assert middle_cut("1\n2\n\n3\n4\n5", 3, 40) == "1\n2\n5"
    assert middle_cut("short", 3, 40) == "short"
