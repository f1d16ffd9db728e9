"""Units: when a unit is only written differently, and when two units contradict each other.

A unit may be absent on one side; it must not contradict. Units are compared by name, never
converted: 5 m and 500 cm are different answers.

Holds not: values (numeric.py), where a unit stands in an answer (forms.py).
"""

import re

from aha.rewards.tokens import names

_NAMES: dict[str, str] = {
    "m": "m meter metre meters metres 米",
    "cm": "cm centimeter centimetre 厘米",
    "mm": "mm millimeter millimetre 毫米",
    "km": "km kilometer kilometre 千米 公里",
    "in": "in inch inches",
    "ft": "ft foot feet",
    "yd": "yd yard",
    "mi": "mi mile",
    "g": "g gram gramme 克",
    "kg": "kg kilogram kilogramme kilo 千克 公斤",
    "mg": "mg milligram",
    "lb": "lb pound",
    "oz": "oz ounce",
    "t": "ton tonne 吨",
    "s": "s sec second 秒",
    "min": "min minute 分钟",
    "h": "h hr hour 小时",
    "day": "day 天 日",
    "week": "week wk 周",
    "month": "month 月 个月",
    "year": "year yr 年",
    "L": "l L liter litre 升",
    "mL": "ml mL milliliter millilitre 毫升",
    "gal": "gal gallon",
    "mph": "mph",
    "kph": "kph kmh kmph",
    "N": "N newton",
    "J": "J joule",
    "W": "W watt",
    "V": "V volt",
    "A": "A amp ampere",
    "K": "K kelvin",
    "Pa": "Pa pascal",
    "Hz": "Hz hertz",
    "mol": "mol mole",
    "rad": "rad radian",
    "deg": "deg degree ° 度",
    "degC": "celsius °C degC",
    "degF": "fahrenheit °F degF",
    "%": "% percent pct percentage percents",
    "$": "$ dollar usd buck 美元",
    "¢": "¢ cent",
    "€": "€ euro eur",
    "£": "£ gbp",
    "¥": "¥ yuan rmb yen 元 块",
    "₹": "₹ rupee rs",
    "am": "am a.m. a.m",
    "pm": "pm p.m. p.m",
}
CANONICAL = {word: name for name, words in _NAMES.items() for word in words.split()}
LETTERS = names("m g s h L N J W V")
"""Single letters that are units when a space or a text command sets them off from a number."""
MONEY = frozenset("$¢€£¥₹")
_WILD = frozenset({"unit", "units"})
_SKIP = frozenset({"of", "a", "an", "the", "in", "on", "for", "total", "altogether"})
_NOT_UNITS = names(
    "not no is are was isnt arent wrong incorrect if then but or and nor than more less "
    "fewer least most about approximately approx around roughly nearly almost maybe perhaps "
    "possibly between from to with without except unless plus minus times over under mod modulo "
    "divided by where when either neither both all any some none never would be half twice thrice "
    "dozen hundred thousand million billion trillion can cannot cant could should may might must "
    "answer sorry guess unless until only too also exactly other another next through squared "
    "cubed thousandths hundredths tenths halves thirds quarters fourths fifths base and/or "
    "whichever does do did done ignore correct true false yes"
)
_WORD = re.compile(r"°[CF]?|[a-z]\.m\.?|[A-Za-z]+|[一-鿿]+|[$¢€£¥₹%/^]|\d+")
_LEADING = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "平方": 2, "立方": 3}
_TRAILING = {"squared": 2, "cubed": 3}


def canonical(phrase: str) -> str | None:
    """A unit phrase in one spelling ("square feet" -> "ft^2"), None if it reads like no unit.

    Generic nouns are units as well ("apples"); hedges and negations ("not", "about") are not.

    >>> canonical("km per hour"), canonical("Square Centimeters"), canonical("is wrong")
    ('km/h', 'cm^2', None)
    """
    phrase = phrase.replace("\\", " ").replace("'", "")
    words = _WORD.findall(phrase)
    found: list[str] = []
    power, divide, count = 1, False, 0
    for index, group in enumerate(words):
        word = group.lower() if len(group) > 2 or group.lower() in _SKIP else group
        if word in ("per", "/"):
            divide = True
        elif word in _LEADING:
            power = _LEADING[word]
        elif word in _TRAILING and found:
            found[-1] += f"^{_TRAILING[word]}"
        elif word == "^":
            continue
        elif word.isdigit():
            if index and words[index - 1] == "^" and found:
                found[-1] += f"^{word}"
            else:
                return None
        elif word in _SKIP:
            continue
        else:
            if word.lower() in _NOT_UNITS:
                return None
            name = _name(word)
            if power != 1:
                name += f"^{power}"
                power = 1
            found.append(("/" if divide and found else "") + name)
            divide = False
            count += 1
    if power != 1:  # "square" alone
        found.append("unit")
    if not found or count > 4:
        return None
    joined = " ".join(found).replace(" /", "/")
    if joined.startswith("deg degC") or joined.startswith("deg degF"):
        return joined[4:]
    if joined in ("deg C", "deg c"):
        return "degC"
    if joined in ("deg F", "deg f"):
        return "degF"
    return {"km/h": "km/h", "kph": "km/h", "mph": "mi/h"}.get(joined, joined)


def known(word: str) -> bool:
    """Whether a single word names a unit of the table."""
    return word in CANONICAL or word.lower() in CANONICAL or word.lower().rstrip("s") in CANONICAL


def agree(a: str | None, b: str | None) -> bool:
    """Whether two canonical units may stand for the same thing. None is "no unit written"."""
    if a is None or b is None or a == b:
        return True
    if _wild(a) or _wild(b):
        return True
    if {a, b} <= {"deg", "degC", "degF"}:
        return "deg" in (a, b)
    if a[0] == b[0] and a[0] in MONEY:
        return True  # dollars, dollars per day
    first, second = set(a.split()), set(b.split())
    if first & _TABLE or second & _TABLE or "/" in a + b or "^" in a + b:
        return False
    return first <= second or second <= first


_TABLE = frozenset(_NAMES)


def _wild(unit: str) -> bool:
    return unit.split("^")[0] in _WILD


def _name(word: str) -> str:
    if word in CANONICAL:
        return CANONICAL[word]
    low = word.lower()
    for form in (low, low.removesuffix("s"), low.removesuffix("es")):
        if form in CANONICAL and len(low) > 1:
            return CANONICAL[form]
    return low.removesuffix("s") if len(low) > 3 else low
