"""Answers in words: names, yes and no, small numbers written out."""

import re

from aha.rewards.expression import parse
from aha.rewards.forms import INFINITY, MINUS_INFINITY, Area, Form, Items, Words
from aha.rewards.regions import Interval, Region
from aha.rewards.tokens import Token
from aha.rewards.tree import Node

_NO_SOLUTION = frozenset({"nosolution", "nosolutions", "emptyset", "theemptyset", "无解", "空集"})
_REALS = frozenset({"allrealnumbers", "allreals", "anyrealnumber", "realnumbers", "全体实数"})
_SYNONYMS = {"dne": "doesnotexist", "none of these": "noneoftheabove"}
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
