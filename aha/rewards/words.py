"""Answers in words: names, yes and no, small numbers written out."""

import re

from aha.rewards.expression import parse
from aha.rewards.forms import INFINITY, MINUS_INFINITY, Area, Form, Items, Words
from aha.rewards.regions import Interval, Region
from aha.rewards.tokens import Token, names
from aha.rewards.tree import Node

_NO_SOLUTION = names(
    "nosolution nosolutions emptyset theemptyset 无解 没有解 空集 方程无解 此方程无解 原方程无解 "
    "该方程无解 方程组无解 不等式无解 不等式组无解"
)
_REALS = names(
    "allrealnumbers allreals anyrealnumber realnumbers 全体实数 任意实数 一切实数 所有实数 实数集"
)
_SYNONYMS = {"dne": "doesnotexist", "none of these": "noneoftheabove", "不存在": "doesnotexist"}
_CHINESE = (
    "对 正确 是对的 是正确的",
    "错 错误 不对 不正确 错的 错误的",
    "是 是的",
    "否 不是",
    "真 真命题",
    "假 假命题",
    "无实数解 没有实数解 无实数根 没有实数根 无实根 方程无实数根 方程没有实数根",
    "充要条件 充要 充分必要 充分必要条件",
    "充分不必要条件 充分不必要 充分非必要 充分非必要条件 充分而不必要条件",
    "必要不充分条件 必要不充分 必要非充分 必要非充分条件 必要而不充分条件",
    "既不充分也不必要条件 既不充分也不必要 既不充分又不必要 既不充分又不必要条件 "
    "既非充分也非必要条件 非充分非必要条件",
)
"""Chinese answers that say the same, a line each; the first is the key."""
_SYNONYMS |= {word: line.split()[0] for line in _CHINESE for word in line.split()}
_SMALL_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
_TENS_WORDS = "ten twenty thirty forty fifty sixty seventy eighty ninety"
SMALL = {word: number for number, word in enumerate(_SMALL_WORDS.split())}
_TENS = {word: 10 * (tens + 1) for tens, word in enumerate(_TENS_WORDS.split()) if tens}


def words(text: str) -> Form:
    """A text answer: case, articles, spaces and punctuation do not count."""
    spelled = text.replace("\\text{", " ").replace("{", " ").replace("}", " ").replace("\\", "")
    letters = re.sub(r"[\s.,;:!?'\"()_-]+", "", spelled)
    if letters.isalpha():
        key = letters.casefold()
        for article in ("the", "an", "a"):
            if re.match(rf"\s*{article}\s", spelled, re.IGNORECASE):
                key = key.removeprefix(article)
        if key in _NO_SOLUTION:
            return Items((), braces=True)
        if key in _REALS:
            return Area(Region((Interval(MINUS_INFINITY, False, INFINITY, False),)))
        return Words(_SYNONYMS.get(key, key))
    return Words(re.sub(r"\s+", "", spelled))


def count_word(text: str) -> int | None:
    """`twelve`, `twenty-one`: a whole number below 100, None if it is none."""
    if len(text) > 30 or not text.isascii() or any(char.isdigit() for char in text):
        return None
    low = text.replace("\\text{", "").replace("}", "").strip().lower()
    if low in SMALL:
        return SMALL[low]
    first, _, second = low.replace("-", " ").partition(" ")
    if first in _TENS and (not second or 0 < SMALL.get(second, 0) < 10):
        return _TENS[first] + SMALL.get(second, 0)
    return None


def letters(word: str) -> Node | None:
    """A short word read as a product of symbols: xy is yx. None if it is not one."""
    if not word.isascii() or not word.isalpha() or word in ("no", "on"):
        return None
    return parse([Token("sym", letter) for letter in word])
