"""Curves: drawn from values whose picture is known by hand."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.report.curves import ASCII, BLOCKS, binned, curve, curves
from aha.report.lines import width_of


def test_a_line_that_rises_uses_every_block_once():
    assert curve([0, 1, 2, 3, 4, 5, 6, 7], 8) == [BLOCKS]
    assert curve([0, 1, 2, 3, 4, 5, 6, 7], 8, plain=True) == [ASCII]


def test_three_lines_stack():
    # 24 levels from 1 to 24: least 1, middle round(1 + 23 / 2) = 12 or 13, most 24
    top, middle, bottom = curve([0.0, 1.0], 2, 3)
    assert (top, middle, bottom) == (" █", " █", "▁█")
    top, middle, bottom = curve([0.0, 0.5, 1.0], 3, 3)
    assert (top[1], bottom[1]) == (" ", "█")
    assert middle[1] in BLOCKS


def test_a_gap_is_a_blank():
    assert curve([1, None, 2, math.nan, 1], 5) == ["▁ █ ▁"]
    assert curve([None, None], 4) == ["    "]
    assert curve([], 3) == ["   "]


def test_a_constant_series_stands_half_high():
    assert curve([0.3, 0.3, 0.3], 3) == ["▄▄▄"]
    assert curve([5], 4) == ["▄▄▄▄"]
    assert curve([5], 2, 3) == ["  ", "▄▄", "██"]


def test_fewer_values_than_columns_are_stretched():
    assert curve([0, 1], 6) == ["▁▁▁███"]


def test_a_column_is_the_mean_of_its_share():
    assert binned([1, 3, 5, 7], 2) == [2, 6]
    assert binned([1, None, 5, 7], 2) == [1, 6]
    many = list(range(10_000))
    # bins of 100: means 49.5, 149.5, ...
    assert binned(many, 100) == [49.5 + 100 * i for i in range(100)]


@given(
    st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True), max_size=60),
    st.integers(1, 40),
    st.integers(1, 3),
    st.booleans(),
)
def test_any_values_make_a_picture_of_the_asked_size(values, width, height, plain):
    lines = curve(values, width, height, plain=plain)
    assert len(lines) == height
    assert all(len(line) == width for line in lines)
    assert "".join(lines).isascii() or not plain


def test_no_size_is_refused():
    with pytest.raises(ValueError, match="width=0"):
        curve([1], 0)


def rows(count: int) -> list[dict]:
    held = [{"step": 0, "heldout/pass_at_1": 0.1}]  # before the first step: no reward
    return held + [
        {
            "step": step, "reward/mean": step / count, "reward/accuracy/mean": step / count / 2,
            "reward/format/mean": 1.0, "rollout/tokens/mean": 40000.0 - step,
            "text/reflection/share": None, "policy/entropy/mean": 0.5 / step,
        }
        for step in range(1, count + 1)
    ]  # fmt: skip


@pytest.mark.parametrize("count", [2, 40, 10_000])
@pytest.mark.parametrize("plain", [True, False])
def test_the_curves_of_a_run(count, plain):
    lines = curves(rows(count), plain=plain)
    assert all(width_of(line) <= 80 for line in lines), lines
    labels = [line[:15].strip() for line in lines[:-1]]
    assert labels == ["reward", "right", "asked form", "answer tokens", "entropy, nats"]
    assert lines[0].split()[1] == f"{1 / count:.2f}"
    assert lines[0].rstrip().endswith(f"{1 / count:.2f}..1.00")
    assert lines[1].split()[-2:] == ["50%", f"{50 / count:.0f}%..50%"]
    assert f"step 1 {'-' if plain else '─'}" in lines[-1]
    assert f" {count} " in lines[-1]
    assert "".join(lines).isascii() == plain
    starts = {line.index(line.split()[-1]) for line in lines}
    assert len(starts) == 1  # the ranges stand below one another


def test_one_step_has_no_curve():
    assert curves(rows(1)) == []
    assert curves([]) == []


def test_every_shown_metric_is_in_the_page_of_metrics():
    from aha.report.curves import SHOWN

    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
    assert all(f"`{name}`" in page for _, name, _ in SHOWN)
