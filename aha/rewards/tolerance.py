"""The grader of kind "numeric": a number within a stated tolerance of the gold.

Gold is one of
    9.81, 3/4, 5 km                                     exact: as kind "math" compares
    3.14 ± 0.02                                         also \\pm, +-, +/-
    {"value": 3.14, "rel": 0.01, "abs": 0.05}           either or both; the wider one counts

Numbers are read as `math` reads them (fractions, scientific, percent, units, one number in a plain
sentence), and values, differences and tolerances are exact where they are rational.

Must stay true: no infinity and no NaN, on either side; sizes are bounded as in numeric.py.
"""

import json
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from aha.records import Grade
from aha.rewards import units
from aha.rewards.answer import Extracted
from aha.rewards.equality import value
from aha.rewards.forms import Form, Items, Named, Scalar, Words
from aha.rewards.math_answer import answer_text, gold_text, grade_math, number_in_sentence
from aha.rewards.normalise import key
from aha.rewards.numeric import Value, context, is_complex, real_or_complex
from aha.rewards.reading import read
from aha.rewards.tokens import MAX_BYTES, Unreadable
from aha.rewards.tree import is_arithmetic, number, symbols

DIGITS = 60
_NUMBER = re.compile(r"\d{1,40}(?:\.\d{0,40})?(?:[eE][+-]?\d{1,3})?|\.\d{1,40}")
_SPREAD = re.compile(r"(.*?)(?:±|\\pm|\+/?-)\s*([\d.]+(?:[eE][+-]?\d+)?)\s*(\S.*)?", re.DOTALL)
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")


@dataclass(frozen=True, slots=True)
class Target:
    """A gold number and how far from it an answer may be."""

    text: str
    number: Scalar
    rel: Fraction
    """Share of the gold's size, 0..1."""
    abs: Fraction
    """In the gold's unit."""


def grade_numeric(gold: str, found: Extracted) -> Grade:
    """Verdict: correct if |answer - gold| <= max(rel * |gold|, abs).

    wrong: not_equal, not_a_number, restated (2+3 for 5), unit. unparsed: as `math`. error: the gold is no
    number, or its tolerance is negative, or rel is 1 or more.
    """
    answer = found.text
    if answer is None:
        return Grade(status="unparsed", score=0.0, reason=found.reason)
    if len(answer) > MAX_BYTES:
        return Grade(status="unparsed", score=0.0, reason="too_long", extracted=answer[:200])
    try:
        target = read_target(gold)
    except (Unreadable, ArithmeticError, RecursionError) as error:
        return _verdict("error", f"gold_unparsed: {_reason(error)}", answer)
    if not target.rel and not target.abs:
        return grade_math(target.text, found)
    try:
        text = answer_text(answer)
        if key(text) == key(target.text):
            return _verdict("correct", "equal", answer)
        form = _read(text, target, found)
    except (Unreadable, RecursionError) as error:
        return _verdict("unparsed", _reason(error), answer)
    try:
        why = misses(target, form)
    except (Unreadable, ArithmeticError, RecursionError) as error:
        return _verdict("unparsed", _reason(error), answer)
    return _verdict("wrong", why, answer) if why else _verdict("correct", "equal", answer)


@lru_cache(maxsize=1024)
def read_target(gold: str) -> Target:
    """The number and its tolerances.

    Raises:
        Unreadable: it is none; says why.
    """
    rel = wide = Fraction(0)
    text = gold
    if gold.lstrip().startswith("{") and '"value"' in gold:
        try:
            fields = json.loads(gold, parse_float=str, parse_int=str)
        except (ValueError, RecursionError):
            raise Unreadable("not JSON") from None
        unknown = set(fields) - {"value", "rel", "abs"}
        if unknown:
            raise Unreadable(f"unknown {sorted(unknown)[0]!r}; known: value, rel, abs")
        text = fields["value"]
        rel, wide = _tolerance(fields, "rel"), _tolerance(fields, "abs")
        if not isinstance(text, str):
            raise Unreadable("value: a number")
        if rel >= 1:
            raise Unreadable("rel: below 1")
    elif spread := _SPREAD.fullmatch(gold.strip().strip("$")):
        text = spread.group(1).strip(" (") + " " + (spread.group(3) or "").strip(" )")
        wide = _tolerance({"abs": spread.group(2)}, "abs")
    text = gold_text(text)
    form = _scalar(read(text))
    if form is None:
        raise Unreadable("not a number")
    if is_complex(value(form.node)):
        raise Unreadable("not a real number")
    return Target(text, form, rel, wide)


def _tolerance(fields: dict[str, Any], name: str) -> Fraction:
    given = fields.get(name, "0")
    if not isinstance(given, str) or not _NUMBER.fullmatch(given):
        raise Unreadable(f"{name}: a number, 0 or more")
    return number(given)


def _read(text: str, target: Target, found: Extracted) -> Form:
    if _DECIMAL_COMMA.fullmatch(text) and "." in target.text:
        text = text.replace(",", ".")
    form = read(text)
    if isinstance(form, Words) and found.place != "boxed":
        one = number_in_sentence(text)
        return form if one is None else read(one)
    return form


def misses(target: Target, form: Form) -> str:
    """Why an answer is not within the tolerance; "" if it is.

    Raises:
        Unreadable: its value cannot be computed within bounds.
    """
    answer = _scalar(form)
    if answer is None:
        return "not_a_number"
    if is_arithmetic(answer.node):
        return "restated"
    gold = target.number
    if not units.agree(gold.unit, answer.unit):
        return "unit"
    found = value(answer.node)
    if is_complex(found):
        return "not_a_number"
    scales = [Fraction(1)]
    if (gold.unit == "%") != (answer.unit == "%"):  # 28% is 28, and 0.28
        scales.append(Fraction(100) if gold.unit == "%" else Fraction(1, 100))
    near = any(_near(value(gold.node), found, scale, target) for scale in scales)
    return "" if near else "not_equal"


def _near(gold: Value, found: Value, scale: Fraction, target: Target) -> bool:
    if isinstance(gold, Fraction) and isinstance(found, Fraction):
        return abs(found * scale - gold) <= max(target.rel * abs(gold), target.abs)
    ctx = context(DIGITS)
    ours, theirs = real_or_complex(gold, ctx), real_or_complex(found, ctx)
    rel, wide = (real_or_complex(x, ctx) for x in (target.rel, target.abs))
    far = abs(theirs * real_or_complex(scale, ctx) - ours)
    return bool(far <= max(rel * abs(ours), wide))


def _scalar(form: Form) -> Scalar | None:
    """The one number of a form: `x = 5` and `{5}` are 5."""
    if isinstance(form, Named):
        form = form.form
    if isinstance(form, Items) and len(form.items) == 1:
        form = form.items[0]
    if isinstance(form, Scalar) and not symbols(form.node) and form.node[0] != "inf":
        return form
    return None


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, Unreadable) else "not_computable"


def _verdict(status: Any, reason: str, answer: str) -> Grade:
    score = 1.0 if status == "correct" else 0.0
    return Grade(status=status, score=score, reason=reason, extracted=answer)
