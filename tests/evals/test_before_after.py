"""Before and after, by hand: two problems with two answers each."""

import io
import os
from unittest import mock

import pytest

from aha.evals.before_after import compare, table, table_by
from aha.evals.passk import paired_ratio
from aha.report.console import Console
from aha.report.lines import clean, width_of


def row(problem: str, sample: int, status: str, text: str, *, tokens: int, lang: str = "en"):
    return {
        "problem": problem, "sample": sample, "status": status, "correct": status == "correct",
        "extracted": None if status == "unparsed" else "7", "response": text, "prefill": "<think>",
        "tokens": tokens, "stopped": "length" if status == "unparsed" else "stop", "lang": lang,
        "domain": "sums", "question": "?",
    }  # fmt: skip


FORM = "{}</think> <answer>7</answer>"
BEFORE = [
    row("a", 0, "unparsed", "so wait, but no", tokens=10),
    row("a", 1, "wrong", FORM.format("eight maybe"), tokens=20),
    row("b", 0, "unparsed", "等等，再想 一下 then", tokens=30, lang="zh"),
    row("b", 1, "correct", FORM.format("这是七"), tokens=40, lang="zh"),
]
AFTER = [
    row("a", 0, "correct", FORM.format("seven it is"), tokens=10),
    row("a", 1, "correct", FORM.format("seven again"), tokens=10),
    row("b", 0, "wrong", FORM.format("八"), tokens=10, lang="zh"),
    row("b", 1, "correct", FORM.format("七"), tokens=10, lang="zh"),
]


def numbers(found: dict) -> dict[str, tuple]:
    return {
        it["name"]: (it["before"]["value"], it["after"]["value"], it["difference"]["value"])
        for it in found["measures"]
    }


def test_every_measure_by_hand():
    got = numbers(compare(BEFORE, AFTER))
    # a: 0 of 2 right, then 2; b: 1 of 2, then 1
    assert got["pass@1"] == pytest.approx((0.25, 0.75, 0.5))
    # the vote of both answers: a none/"7" (wrong), then right; b "7" of the second; then of the first
    assert got["cons@2"] == pytest.approx((0.5, 0.5, 0.0))
    assert got["pass@2"] == pytest.approx((0.5, 1.0, 0.5))
    assert got["asked form"] == pytest.approx((0.5, 1.0, 0.5))
    assert got["no answer part"] == pytest.approx((0.5, 0.0, -0.5))
    assert got["cut at the cap"] == pytest.approx((0.5, 0.0, -0.5))
    assert got["tokens"] == pytest.approx((25, 10, -15))
    # wait, but; 等等, 再想: 4 words in 100 tokens
    assert got["reflection per 1k"] == pytest.approx((40, 0, -40))
    assert got["reflecting"] == pytest.approx((0.5, 0, -0.5))
    assert got['with "wait"'] == pytest.approx((0.5, 0, -0.5))
    # b's first: 6 Chinese characters and `then`
    assert got["mixed language"] == pytest.approx((0.25, 0, -0.25))
    # shares of letters: 1, 1, 6 of 10, 1
    assert got["same language"] == pytest.approx((0.9, 1.0, 0.1))


def test_an_answer_without_a_verdict_is_left_out_of_pass_at_1():
    failed = row("b", 1, "timeout", "", tokens=40, lang="zh")
    got = compare([*BEFORE[:3], failed], AFTER)
    assert numbers(got)["pass@1"] == pytest.approx((0.0, 0.75, 0.75))
    assert got["answers"] == 1  # of each problem there is one verdict at least
    with pytest.raises(ValueError, match="no problem is in both"):
        compare([row("x", 0, "wrong", "", tokens=1)], AFTER)


def test_tables_by_language_and_none_by_one_domain():
    found = compare(BEFORE, AFTER)
    assert list(found["by"]) == ["lang"]
    by = found["by"]["lang"]
    assert (by["en"]["before"]["value"], by["en"]["after"]["value"]) == (0.0, 1.0)
    assert by["zh"]["difference"]["value"] == 0.0
    rows = table_by(found, "lang", "after 4")
    assert rows[0] == ["lang", "n", "before, %", "after 4, %", "difference [95 %]"]
    assert [row[:2] for row in rows[1:]] == [["en", "1"], ["zh", "1"]]
    assert rows[1][4] == "+100 [100, 100]"
    assert rows[2][4] == "0 [0, 0]"
    assert table_by(found, "domain") == []


def shown(face: str, columns: list[str], rows: list[list[str]]) -> list[str]:
    """The lines under the title of a table at 80 columns, in a pipe or on a terminal."""
    stream = io.StringIO()
    wide = mock.patch.dict(os.environ, {"COLUMNS": "80", "TERM": "xterm"})
    with wide, Console(stream=stream, face=face) as console:
        console.table("title", columns, rows)
    return [line.rstrip() for line in clean(stream.getvalue()).splitlines()][1:]


WIDEST = "polynomial_multiplication"  # the longest name of a task
LONG = {"wrong": "而且 wait but {}", "correct": FORM.format("等等 {}")}


def many(status, tokens: int, *, other: str = "wrong") -> list[dict]:
    """50 problems of two domains with 4 answers: those of `status` (place -> yes or no), or not."""
    return [
        row(
            f"{problem}", sample, status if right else other, LONG[status if right else other],
            tokens=tokens + 7 * problem, lang=("en", "zh")[problem % 2],
        ) | {"domain": (WIDEST, "countdown 3 numbers")[problem % 2]}
        for problem in range(50)
        for sample in range(4)
        for right in [problem % 3 > 0 or sample > 1]
    ]  # fmt: skip


ALL, NONE = (many(status, 20, other=status) for status in ("correct", "wrong"))
HALF, SHORT = many("correct", 31_000), many("correct", 100)


@pytest.mark.parametrize("face", ["plain", "live"])
@pytest.mark.parametrize(
    "before, after",
    [
        (NONE, ALL),
        (ALL, NONE),
        (ALL, HALF),
        (HALF, NONE),
        (HALF, SHORT),
        (SHORT, HALF),
        (ALL, ALL),
        (BEFORE, AFTER),
    ],
)
def test_no_cell_of_a_table_is_folded_at_80_columns(before, after, face):
    found = compare(before, after)
    columns, rows = table(found, "after 100000")
    tables = [(columns, rows)]
    tables += [(by[0], by[1:]) for key in found["by"] if (by := table_by(found, key, columns[2]))]
    assert len(tables) > 1
    for columns, rows in tables:
        lines = shown(face, columns, rows)
        assert all(width_of(line) <= 80 for line in lines)
        assert len(lines) == 2 + len(rows)  # names, a rule, and one line a row
        for line, cells in zip([lines[0], *lines[2:]], [columns, *rows], strict=True):
            assert line.startswith(cells[0])
            assert "".join(line.split()) == "".join("".join(cells).split())


def test_numbers_by_hand():
    columns, rows = table(compare(BEFORE, AFTER))
    assert rows[0][0] == "pass@1, %"
    assert max(len(row[0]) for row in rows) <= 17
    assert rows[0][1].startswith("25.0 [")
    assert next(row for row in rows if row[0] == "tokens")[1:3] == ["25.0", "10.0"]
    assert len({len(row) for row in (columns, *rows)}) == 1
    found = compare(HALF, ALL)
    assert table(found)[1][1][1:] == [
        "66.0",
        "100",
        "+34.0 [22.0, 48.0]",
    ]  # 33 of 50 are right four times
    long = table(found)[1]
    # 31000, 31007, ... 31343: mean 31171.5; 20, 27, ... 363: 191.5
    assert next(row for row in long if row[0] == "tokens")[1:] == [
        "31172", "191.5", "-30980 [-30980, -30980]"
    ]  # fmt: skip


def test_no_letters_is_not_known():
    digits = [row("a", 0, "wrong", "1 + 1 = 2", tokens=3)]
    found = compare(digits, digits)
    last = found["measures"][-1]
    assert (last["before"], last["difference"]) == (None, None)
    assert table(found)[1][-1][1:] == ["-", "-", "-"]


def test_a_ratio_is_that_of_the_sums():
    a = {"p": (2.0, 10.0), "q": (0.0, 30.0)}
    b = {"p": (3.0, 10.0), "q": (3.0, 10.0), "only": (9.0, 1.0)}
    got = paired_ratio(a, b)
    assert got.value == pytest.approx(6 / 20 - 2 / 40)
    assert (got.better, got.worse, got.only_b) == (2, 0, 1)
    # two problems: pp 0.1, pq 0.25, qq 0.3; each end has a quarter of the draws
    assert (got.low, got.high) == pytest.approx((0.1, 0.3))
    with pytest.raises(ValueError, match="nothing below"):
        paired_ratio({"p": (1.0, 0.0)}, {"p": (1.0, 1.0)})
