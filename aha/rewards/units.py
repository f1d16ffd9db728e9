"""Units: when a unit is only written differently, and when two units contradict each other.

A unit may be absent on one side; it must not contradict. Units are compared by name, never
converted: 5 m and 500 cm are different answers.

Holds not: values (numeric.py), where a unit stands in an answer (forms.py).
"""

import re

from aha.rewards.tokens import names

_NAMES: dict[str, str] = {
    "m": "m meter metre meters metres 米 公尺",
    "cm": "cm centimeter centimetre 厘米 公分",
    "dm": "dm decimeter decimetre 分米",
    "mm": "mm millimeter millimetre 毫米",
    "km": "km kilometer kilometre 千米 公里",
    "in": "in inch inches",
    "ft": "ft foot feet",
    "yd": "yd yard",
    "mi": "mi mile",
    "ha": "ha hectare 公顷",
    "mu": "亩",
    "g": "g gram gramme 克",
    "kg": "kg kilogram kilogramme kilo 千克 公斤",
    "mg": "mg milligram",
    "lb": "lb pound",
    "oz": "oz ounce",
    "t": "ton tonne 吨",
    "jin": "斤",
    "s": "s sec second 秒 秒钟",
    "min": "min minute 分钟",
    "h": "h hr hour 小时 个小时 时 钟头 个钟头",
    "day": "day 天 日",
    "week": "week wk 周 星期 个星期",
    "month": "month 个月",
    "year": "year yr 年",
    "L": "l L liter litre 升",
    "mL": "ml mL milliliter millilitre 毫升",
    "gal": "gal gallon",
    "mph": "mph",
    "kph": "kph kmh kmph",
    "N": "N newton",
    "J": "J joule",
    "kW": "kW kilowatt 千瓦",
    "W": "W watt 瓦",
    "V": "V volt 伏",
    "A": "A amp ampere",
    "K": "K kelvin",
    "Pa": "Pa pascal",
    "Hz": "Hz hertz",
    "mol": "mol mole",
    "rad": "rad radian",
    "deg": "deg degree ° 度",
    "degC": "celsius °C degC 摄氏度",
    "degF": "fahrenheit °F degF",
    "%": "% percent pct percentage percents",
    "$": "$ dollar usd buck 美元 美金",
    "¢": "¢ cent 美分",
    "€": "€ euro eur 欧元",
    "£": "£ gbp 英镑",
    "¥": "¥ yuan rmb yen 元 块 元钱 块钱 人民币 元人民币",
    "jiao": "角",
    "₹": "₹ rupee rs",
    "am": "am a.m. a.m",
    "pm": "pm p.m. p.m",
}
CANONICAL = {word: name for name, words in _NAMES.items() for word in words.split()}
CANONICAL |= {"名": "人", "位": "人", "个人": "人", "周岁": "岁", "单位": "unit", "个单位": "unit"}
_COUNTERS = names(
    "个 只 条 本 张 页 颗 棵 人 名 位 次 件 辆 台 枝 支 头 匹 朵 片 块 把 双 对 组 箱 盒 袋 瓶 杯 筐 篮 桶 "
    "堆 排 行 列 层 栋 间 座 艘 架 列 根 粒 枚 串 束 盆 套 份 户 家 班 节 段 道 题 步 圈 场 局 票 枪 级 "
    "种 类 项 句 字 首 幅 顶 扇 面 副 岁 年级 倍 周岁 分 点"
)
"""Chinese words that count: a unit alone; most may have a noun after them (5个苹果)."""
_TAKES_NO_NOUN = names("块 次 元 分 点 倍 岁 周岁 年级 级 字 行 列 面 项 步")
_HEDGED_NOUN = re.compile(
    "[不非没无未半多少余来左右上下以内外或约倍分错几百千万亿至到之间吗么呢吧除加减乘对的]"
)
LETTERS = names("m g s h L N J W V")
"""Single letters that are units when a space or a text command sets them off from a number."""
MONEY = frozenset("$¢€£¥₹")
_WILD = frozenset({"unit", "units"})
_LENGTHS = names("m cm dm mm km in ft yd mi")
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
    words: list[str] = []
    for group in _WORD.findall(phrase):
        pieces = _chinese(group) if "一" <= group[0] <= "鿿" else [group]
        if pieces is None:
            return None
        words += pieces
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


def is_known_chinese(phrase: str) -> bool:
    """Whether a Chinese phrase is a unit of the table or counts, without a noun after it."""
    pieces = _chinese(phrase) if phrase and "一" <= phrase[0] <= "鿿" else None
    return pieces is not None and all(
        piece in CANONICAL or piece in _COUNTERS or piece in _LEADING or piece == "/"
        for piece in pieces
    )


def _chinese(phrase: str) -> list[str] | None:
    """A run of Chinese in words that `canonical` knows: 千米每小时 -> 千米 / 小时. None: no unit.

    Only what is known is one: 5左右 and 5不对 are no amounts of something.
    """
    found: list[str] = []
    for index, part in enumerate(phrase.split("每")):
        if not part or index > 1:
            return None
        found += ["/"] * index
        for power in ("平方", "立方"):
            if part.startswith(power):
                found.append(power)
                part = part[2:]
                break
        if not part or part in CANONICAL or part in _COUNTERS:
            found += [part] if part else []
            continue
        counter, noun = part[0], part[1:]
        if counter not in _COUNTERS or counter in _TAKES_NO_NOUN or len(noun) > 6:
            return None
        if _HEDGED_NOUN.search(noun):
            return None
        found += [counter, noun]
    return found


def agree(a: str | None, b: str | None) -> bool:
    """Whether two canonical units may stand for the same thing. None is "no unit written"."""
    if a is None or b is None or a == b:
        return True
    if _wild(a) or _wild(b):
        return _measures(a, b) or _measures(b, a)
    if {a, b} <= {"deg", "degC", "degF"}:
        return "deg" in (a, b)
    if {a, b} == {"min", "分"}:
        return True
    if a[0] == b[0] and a[0] in MONEY:
        return True  # dollars, dollars per day
    first, second = set(a.split()), set(b.split())
    if first & _TABLE or second & _TABLE or "/" in a + b or "^" in a + b:
        return False
    return first <= second or second <= first


_TABLE = frozenset(_NAMES)


def _wild(unit: str) -> bool:
    return unit.split("^")[0] in _WILD


def _measures(wild: str, unit: str) -> bool:
    """Whether "units" or "square units" may stand for a unit: of length to that power, or a noun."""
    if not _wild(wild):
        return False
    base, _, power = unit.partition("^")
    said = wild.partition("^")[2]
    if base not in _LENGTHS and not _wild(base):
        return base not in _TABLE and "/" not in unit and not said
    return not said or not power or said == power if _wild(base) else said in ("", power)


def _name(word: str) -> str:
    if word in CANONICAL:
        return CANONICAL[word]
    low = word.lower()
    for form in (low, low.removesuffix("s"), low.removesuffix("es")):
        if form in CANONICAL and len(low) > 1:
            return CANONICAL[form]
    return low.removesuffix("s") if len(low) > 3 else low
