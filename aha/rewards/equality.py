"""Equality and order of expression trees: exact where values are rational.

Rational values are compared as fractions. Others are evaluated to 50 digits (a quick no) and to 500
(a yes), so that 1/2^99 and 1/2^98, or 1 - 1/e and 1 + 1/e, are told apart. With free symbols both
trees are evaluated at fixed rational points; the symbols must be the same, and a disagreement at
any point is a no.

Not covered:     a proof. Two expressions that agree to 450 digits at every point count as equal.
"""

import hashlib
import math
from collections.abc import Mapping
from fractions import Fraction

from aha.rewards.numeric import (
    Undefined,
    Value,
    context,
    divide,
    evaluate,
    is_complex,
    real_or_complex,
)
from aha.rewards.tokens import Unreadable
from aha.rewards.tree import Node, symbols


def equal(a: Node, b: Node) -> bool:
    """Whether two trees have the same value everywhere.

    Raises:
        TooBig, Unreadable: a value cannot be computed within bounds.
    """
    if a == b:
        return True
    if symbols(a) != symbols(b) or _infinite(a) or _infinite(b):
        return False
    names = sorted(symbols(a))
    if not names:
        return _same_at(a, b, {}, real_only=False) is True
    agreed = 0
    for index in range(6):
        verdict = _same_at(a, b, _point(names, index), real_only=index >= 3)
        if verdict is False:
            return False
        agreed += verdict is True
        if index == 2 and agreed == 0:
            raise Unreadable("undefined")
    return agreed >= 2


def proportional(a: Node, b: Node) -> int | None:
    """The sign (1 or -1) of the constant c with a = c b, None if there is none.

    For equations and inequalities: 2x + 2y - 4 < 0 says the same as x + y - 2 < 0.
    """
    names = sorted(symbols(a))
    if symbols(a) != symbols(b):
        return None
    if not names:
        return None
    ratio: Value | None = None
    agreed = 0
    for index in range(6):
        point = _point(names, index)
        try:
            va, vb = evaluate(a, point, 60), evaluate(b, point, 60)
            if is_complex(va) or is_complex(vb):
                continue
            if vb == 0 or va == 0:
                if va == vb:
                    continue
                return None
            here = divide(va, vb, 60)
        except Undefined:
            continue
        if ratio is None:
            ratio = here
        elif not _close(ratio, here, 60):
            return None
        agreed += 1
    if ratio is None or agreed < 3:
        return None
    return 1 if (ratio if isinstance(ratio, Fraction) else ratio.real) > 0 else -1


def _infinite(node: Node) -> bool:
    return node[0] == "inf" or (node[0] == "neg" and node[1][0] == "inf")


def value(node: Node) -> Value:
    """Value of a tree without symbols, to 60 digits (exact if rational)."""
    return evaluate(node, {}, 60)


def compare(a: Node, b: Node) -> int:
    """-1, 0, 1: order of two real values without symbols. Infinities count.

    Raises:
        Unreadable: not real, or it holds symbols.
    """
    ends = [_end(a), _end(b)]
    if isinstance(ends[0], float) or isinstance(ends[1], float):
        first, second = (x if isinstance(x, float) else 0.0 for x in ends)
        return (first > second) - (first < second)
    if equal(a, b):
        return 0
    if is_complex(ends[0]) or is_complex(ends[1]):
        raise Unreadable("not_understood")
    ctx = context(60)
    first, second = (real_or_complex(x, ctx) for x in ends)
    return -1 if first < second else 1


def _end(node: Node) -> Value:
    if node == ("inf",):
        return math.inf
    if node == ("neg", ("inf",)):
        return -math.inf
    return value(node)


def _same_at(a: Node, b: Node, point: Mapping[str, Fraction], *, real_only: bool) -> bool | None:
    """Equal at one point; None if one of them has no (real) value there."""
    try:
        va, vb = evaluate(a, point, 50), evaluate(b, point, 50)
    except Undefined:
        if not point:
            raise
        return None
    if isinstance(va, Fraction) and isinstance(vb, Fraction):
        return va == vb
    if real_only and (is_complex(va) or is_complex(vb)):
        return None
    if not _close(va, vb, 50):
        return False
    va, vb = evaluate(a, point, 500), evaluate(b, point, 500)
    if _close(va, vb, 500):
        return True
    ctx = context(500)
    tiny = ctx.mpf(10) ** -440
    if max(abs(real_or_complex(va, ctx)), abs(real_or_complex(vb, ctx))) > tiny:
        return False
    # both vanish to 440 digits: zero if they go on vanishing
    va, vb = evaluate(a, point, 1000), evaluate(b, point, 1000)
    ctx = context(1000)
    return bool(
        max(abs(real_or_complex(va, ctx)), abs(real_or_complex(vb, ctx))) < ctx.mpf(10) ** -900
    )


def _close(a: Value, b: Value, digits: int) -> bool:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    ctx = context(digits)
    x, y = real_or_complex(a, ctx), real_or_complex(b, ctx)
    scale = max(abs(x), abs(y))
    if scale == 0:
        return True
    if digits == 50 and scale < ctx.mpf(10) ** -35:
        return True  # too small to tell here; the long evaluation decides
    return bool(
        abs(x - y) <= scale * ctx.mpf(10) ** -(digits * 4 // 5 if digits <= 60 else digits - 50)
    )


def _point(names: list[str], index: int) -> dict[str, Fraction]:
    """Fixed rationals by name: the first three points positive, then with mixed signs."""
    point = {}
    for name in names:
        digest = hashlib.blake2b(f"{name}/{index}".encode(), digest_size=4).digest()
        number = int.from_bytes(digest, "big")
        size = Fraction(1009 + number % 3000, 1511)
        point[name] = -size if index >= 3 and (number >> 16) % 2 == 0 else size
    return point
