"""Chinese numerals against an independent writer of them; what is left alone; linear time."""

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.rewards.chinese import numeral, translated

DIGITS = "零一二三四五六七八九"


def below_ten_thousand(number):
    """The textbook way: digit and place from the left, one zero for a gap, none at the end."""
    text, gap = "", False
    for size, place in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, number = divmod(number, size)
        if digit:
            text += ("零" if gap and text else "") + DIGITS[digit] + place
            gap = False
        else:
            gap = True
    return text


def written(number):
    if number == 0:
        return "零"
    text, gap = "", False
    for size, place in ((10**8, "亿"), (10**4, "万"), (1, "")):
        section, number = divmod(number, size)
        if section:
            text += "零" if text and (gap or section < 1000) else ""
            text += below_ten_thousand(section) + place
            gap = False
        else:
            gap = True
    return text.removeprefix("一") if text.startswith("一十") else text


@pytest.mark.parametrize("number, text", [(12, "十二"), (105, "一百零五"), (20300, "二万零三百")])
def test_the_writer_of_this_test(number, text):
    assert written(number) == text


@given(st.integers(0, 10**12 - 1) | st.integers(0, 10**5))
def test_every_whole_number_is_read_back(number):
    assert numeral(written(number)) == (number, False)
    assert numeral("负" + written(number)) == (-number, False)


@given(st.integers(0, 999), st.integers(1, 999))
def test_every_fraction_is_read_back(top, bottom):
    assert numeral(f"{written(bottom)}分之{written(top)}") == (Fraction(top, bottom), False)
    assert numeral(f"百分之{written(top)}") == (top, True)


@given(st.integers(1, 9999), st.sampled_from([("万", 10**4), ("亿", 10**8), ("千", 1000)]))
def test_figures_with_a_scale(number, scale):
    assert numeral(f"{number}{scale[0]}") == (number * scale[1], False)
    assert numeral(f"{number}.5{scale[0]}") == (Fraction(2 * number + 1, 2) * scale[1], False)


NO_NUMERAL = """
三万五 一百五 三千五 十几 千 万 百 三点 点五 三分之 分之三 零分之一 十十
一二三 3万5 5千3万 1.5万3千 又 负 负负三
一又三分之五
"""
LEFT_ALONE = "一次函数 第一象限 三角形 一切 五千米 三点五分 十分钟的路 不是5 约三 x为整数"


@pytest.mark.parametrize("text", NO_NUMERAL.split())
def test_what_is_no_numeral_or_has_two_readings(text):
    assert numeral(text) is None
    assert numeral("") is None


@pytest.mark.parametrize("text", LEFT_ALONE.split())
def test_what_is_left_alone(text):
    assert translated(text) == text


def test_hostile_texts_take_linear_time():
    for piece in ("三", "零", "分之", "万", "3万", "为", "(", "，", "一又", "x的值为", "1.", "和"):
        start = time.perf_counter()
        translated(piece * 4000)
        assert time.perf_counter() - start < 1.0, piece


@given(
    st.text(alphabet="零一二两三十百千万亿点分之又半负个米元为是的()0123456789.,;=x", max_size=30)
)
def test_no_text_breaks_it(text):
    translated(text)
