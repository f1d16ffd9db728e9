"""Chinese ways to write a value: numerals, 万 and 亿, fractions in words, what it is a value of.

    十二 -> 12    三分之二 -> \\frac{2}{3}    百分之五十 -> 50\\%    3万5千 -> 35000
    24(元) -> 24 元    面积为5 -> \\text{面积}=5

Holds:           cleaned texts to texts that reading.py understands; the value of one numeral.
Holds not:       units (units.py), words (words.py), where an answer stands (answer.py).
Must stay true:  a numeral counts only where it is a whole part of an answer, alone or before a known
                 unit: 一次函数 holds no 1. What has two readings (三万五, 五千米, 三点五分) stays as it is.
"""

import re
from fractions import Fraction

from aha.rewards import units

_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"两": 2}
_FORMAL = str.maketrans(
    "〇壹贰貳叁參肆伍陆陸柒捌玖拾佰仟萬億兩", "零一二二三三四五六六七八九十百千万亿两"
)
_SCALES = {"百": 100, "千": 1000, "万": 10**4, "亿": 10**8}
_PARTS = {"百": 100, "千": 1000, "万": 10**4}
"""百分之, 千分之, 万分之: the only denominators that are written without a digit."""
_SECTION = re.compile(
    r"(?:(?P<q>[一二两三四五六七八九])千)?"
    r"(?:零?(?P<b>[一二两三四五六七八九])百)?"
    r"(?:(?P<z>零)?(?P<s>[一二三四五六七八九]?)(?P<ten>十))?"
    r"(?:(?P<zero>零)?(?P<g>[一二两三四五六七八九]))?"
)
_YEAR = re.compile(r"[零一二三四五六七八九]{2,8}")
_SCALED = re.compile(r"(\d{1,15})(?:\.(\d{1,15}))?(万亿|[百千万亿])")
_ARABIC = re.compile(r"(\d{1,15})(?:\.(\d{1,15}))?")
_NUMERAL = re.compile(
    r"\s*(负?(?:分之|[零〇一二两三四五六七八九十百千万亿点又半壹贰貳叁參肆伍陆陸柒捌玖拾佰仟萬億兩\d.])+)"
    r"\s*(\S.*)?",
    re.DOTALL,
)
_KILO = tuple("米克瓦卡伏安焦帕赫升")
_SEPARATORS = re.compile(r"([,;=]|和|或|与)")
_BRACKETED = re.compile(
    r"(?<=[\d})])\s*\(\s*([一-鿿]{1,6}(?:/[一-鿿]{1,4})?)\s*\)(?=\s*(?:[,;]|\Z))"
)
_STATED = re.compile(
    r"\s*([^\W\d_][\w ]{0,15}?)\s*(?:等于|[是为])\s*"
    r"(?=[-+\d\\$(.零一二两三四五六七八九十百负半])"
)
_UNSURE = re.compile("[不非没无未否约或若如假错近超估猜除可能几少差倍至]|大概|也许|第")
MAX_NUMERAL = 40
"""Characters of a numeral; a longer one is text."""


def translated(text: str) -> str:
    """A cleaned text with its Chinese numerals, statements and bracketed units in other words.

    >>> translated("三分之二"), translated("x的值为5"), translated("一次函数")
    ('\\\\frac{2}{3}', 'x=5', '一次函数')
    """
    if text.isascii():
        return text
    text = _BRACKETED.sub(r" \1", text)
    stated = _STATED.match(text)
    if stated is not None:
        label = stated.group(1).strip().removesuffix("的值")
        if not label or _UNSURE.search(label):
            return text
        name = label if label.isascii() and len(label) == 1 else f"\\text{{{label}}}"
        text = f"{name}={text[stated.end() :]}"
    return "".join(_piece(piece) for piece in _SEPARATORS.split(text))


def _piece(piece: str) -> str:
    """One part of an answer: its numeral in figures, if it is one with at most a known unit."""
    match = _NUMERAL.fullmatch(piece)
    if match is None or len(match.group(1)) > MAX_NUMERAL:
        return piece
    number, unit = match.group(1), (match.group(2) or "").strip()
    if number.isascii() or (unit and not units.is_known_chinese(unit)):
        return piece
    if number.endswith("千") and unit.startswith(_KILO):
        return piece  # five kilometres, or five thousand metres
    if "点" in number and unit.startswith("分"):
        return piece  # a time, or a mark
    found = numeral(number)
    if found is None:
        return piece
    value, percent = found
    sign, size = ("-" if value < 0 else ""), abs(value)
    shown = (
        str(size.numerator)
        if size.denominator == 1
        else f"\\frac{{{size.numerator}}}{{{size.denominator}}}"
    )
    return sign + shown + ("\\%" if percent else "") + unit


def numeral(text: str) -> tuple[Fraction, bool] | None:
    """Value of a numeral and whether it is in percent; None if it is none, or has two readings.

    >>> numeral("一百零五"), numeral("百分之五十"), numeral("三万五")
    ((Fraction(105, 1), False), (Fraction(50, 1), True), None)
    """
    if text.startswith("负"):
        found = numeral(text[1:]) if text[1:2] != "负" else None
        return None if found is None else (-found[0], found[1])
    text = text if "〇" in text else text.translate(_FORMAL)
    if text in ("半", "一半"):
        return Fraction(1, 2), False
    whole, mixed, rest = text.partition("又")
    if mixed:
        count, part = _count(whole), _fraction(rest)
        proper = count is not None and part is not None and not part[1] and part[0] < 1
        return (count + part[0], False) if proper and count is not None and part else None
    if "分之" in text:
        return _fraction(text)
    value = _count(text)
    return None if value is None else (value, False)


def _fraction(text: str) -> tuple[Fraction, bool] | None:
    below, mark, above = text.partition("分之")
    top = Fraction(100) if above == "百" else _count(above)
    bottom = Fraction(_PARTS[below]) if below in _PARTS else _count(below)
    if not mark or top is None or not bottom:
        return None
    return (top, True) if below == "百" else (top / bottom, False)


def _count(text: str) -> Fraction | None:
    """A whole or decimal number, in figures, in characters, or in figures with 万 and 亿."""
    if plain := _ARABIC.fullmatch(text):
        return _decimal(plain)
    if text and text[0].isdigit():
        return _scaled(text)
    whole, point, decimals = text.partition("点")
    if point:
        before = _whole(whole)
        after = [_DIGITS.get(char) for char in decimals.translate(_FORMAL)]
        if before is None or not after or None in after or "两" in decimals:
            return None
        return before + Fraction(int("".join(map(str, after))), 10 ** len(after))
    value = _whole(text)
    return None if value is None else Fraction(value)


def _decimal(match: re.Match[str]) -> Fraction:
    decimals = match.group(2) or ""
    return Fraction(int(match.group(1) + decimals), 10 ** len(decimals))


def _scaled(text: str) -> Fraction | None:
    """3万5千, 1.2亿, 1亿2000万; decimals only before a single scale."""
    total, above, at = Fraction(0), 10**16, 0
    while match := _SCALED.match(text, at):
        size = 1
        for char in match.group(3):
            size *= _SCALES[char]
        value = _decimal(match) * size
        if size >= above or value >= above or (match.group(2) and (at or match.end() < len(text))):
            return None
        total, above, at = total + value, size, match.end()
    rest = text[at:]
    if not rest:
        return total
    exact = rest.isdigit() and at > 0 and 10 ** len(rest) == above  # 2万3456, but not 3万5
    return total + int(rest) if exact else None


def _whole(text: str) -> int | None:
    """A whole number in characters, below 10^12."""
    if "〇" in text:
        text = text.translate(_FORMAL)
        if _YEAR.fullmatch(text):
            return int("".join(str(_DIGITS[char]) for char in text))
    text = text.translate(_FORMAL)
    if text == "零":
        return 0
    total, higher = 0, False
    for mark in ("亿", "万"):
        head, found, after = text.partition(mark)
        if found:
            value = _section(head, after=higher)
            if value is None:
                return None
            total, text, higher = total + value * _SCALES[mark], after, True
    if not text:
        return total if higher else None
    value = _section(text, after=higher)
    return None if value is None else total + value


def _section(text: str, *, after: bool) -> int | None:
    """Up to four digits with their 千 百 十. After 万 a lone digit (三万五) has two readings."""
    match = _SECTION.fullmatch(text)
    if match is None or not text:
        return None
    thousands, hundreds, tens, ones = (_DIGITS.get(match.group(n) or "", 0) for n in "qbsg")
    ten, zero = bool(match.group("ten")), bool(match.group("zero"))
    if ten and not tens:
        tens = 1
    if ones:
        higher = thousands or hundreds or (after and not ten)
        if (ten and zero) or (higher and not ten and not zero):
            return None
        if zero and not higher:
            return None
    return thousands * 1000 + hundreds * 100 + tens * 10 + ones
