"""Values of expression trees: fractions as long as they are rational, then mpmath numbers.

Must stay true:  every operation is bounded (64 kbit results, a budget per evaluation), so that no
                 tower, factorial or product of short text takes more than a fraction of a second.
"""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from typing import Any

from aha.rewards.tokens import TooBig, Unreadable
from aha.rewards.tree import Node

MAX_BITS = 65_536
"""Bits of a numerator or denominator."""
MAX_FACTORIAL = 4_000
MAX_MAGNITUDE = 200_000
"""Largest |log2| of a value that is not rational."""
BUDGET = 3e9
"""Sum of squared bit lengths that one evaluation may cost: well under a second."""

Value = Any
"""Fraction, or a real or complex number of mpmath."""


class Undefined(Unreadable):
    """No value here: division by zero, logarithm of 0."""

    def __init__(self) -> None:
        super().__init__("undefined")


@cache
def context(digits: int) -> Any:
    """An mpmath context of its own, so that nobody's global precision is touched."""
    from mpmath.ctx_mp import MPContext

    made = MPContext()
    made.dps = digits + 15
    return made


def evaluate(node: Node, point: Mapping[str, Fraction], digits: int) -> Value:
    """Value of a tree where its symbols have the values of `point`.

    Raises:
        Undefined: no value there.
        TooBig: the value, or the work, is over the bounds.
        Unreadable: infinity in an expression, a function with no meaning here.
    """
    return _Evaluation(point, digits).value(node)


def is_complex(x: Value) -> bool:
    return not isinstance(x, Fraction) and bool(x.imag != 0)


def real_or_complex(x: Value, ctx: Any) -> Any:
    """A value as a number of the context."""
    if isinstance(x, Fraction):
        return ctx.mpf(x.numerator) / x.denominator
    return ctx.convert(x)


def divide(a: Value, b: Value, digits: int) -> Value:
    if b == 0:
        raise Undefined
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a / b
    ctx = context(digits)
    return real_or_complex(a, ctx) / real_or_complex(b, ctx)


class _Evaluation:
    def __init__(self, point: Mapping[str, Fraction], digits: int):
        self.point = point
        self.digits = digits
        self.ctx = context(digits)
        self.spent = 0.0

    def value(self, node: Node) -> Value:
        kind = node[0]
        if kind == "num":
            return node[1]
        if kind == "sym":
            return self.point[node[1]]
        if kind == "const":
            return {"pi": self.ctx.pi, "e": self.ctx.e, "i": self.ctx.j}[node[1]] * 1
        if kind == "add":
            return self.fold(node[1], lambda a, b: a + b)
        if kind == "mul":
            return self.fold(node[1], lambda a, b: a * b)
        if kind == "neg":
            return -self.value(node[1])
        if kind == "div":
            return self.checked(divide(self.value(node[1]), self.value(node[2]), self.digits))
        if kind == "pow":
            return self.checked(self.power(self.value(node[1]), self.value(node[2])))
        if kind == "fact":
            return self.factorial(self.value(node[1]))
        if kind == "fn":
            return self.checked(self.call(node[1], node[2]))
        raise Unreadable("infinite_in_expression" if kind == "inf" else "not_understood")

    def fold(self, parts: tuple[Node, ...], join: Callable[[Value, Value], Value]) -> Value:
        total = self.value(parts[0])
        for part in parts[1:]:
            other = self.value(part)
            if isinstance(total, Fraction) != isinstance(other, Fraction):
                total, other = (real_or_complex(x, self.ctx) for x in (total, other))
            total = self.checked(join(total, other))
        return total

    def checked(self, x: Value) -> Value:
        """Refuse what is too large, and count the work."""
        if isinstance(x, Fraction):
            bits = max(x.numerator.bit_length(), x.denominator.bit_length())
            if bits > MAX_BITS:
                raise TooBig("too_large")
            self.spent += bits * bits + 1000
        else:
            self.spent += 4e5
            for part in (x.real, x.imag):
                if not self.ctx.isfinite(part):
                    raise Undefined
                if part and abs(int(self.ctx.mag(part))) > MAX_MAGNITUDE:
                    raise TooBig("too_large")
        if self.spent > BUDGET:
            raise TooBig("too_much_work")
        return x

    def power(self, base: Value, exponent: Value) -> Value:
        if isinstance(exponent, Fraction) and exponent.denominator == 1:
            return self.integer_power(base, int(exponent))
        if base == 0:
            if is_complex(exponent) or exponent <= 0:
                raise Undefined
            return Fraction(0)
        if isinstance(exponent, Fraction) and exponent.denominator % 2 and _negative(base):
            root = self.power(-base, exponent)  # the real root of odd degree
            return -root if exponent.numerator % 2 else root
        x, y = real_or_complex(base, self.ctx), real_or_complex(exponent, self.ctx)
        if abs(y) * (abs(int(self.ctx.mag(x))) + 1) > MAX_MAGNITUDE:
            raise TooBig("too_large")
        return self.ctx.power(x, y)

    def integer_power(self, base: Value, exponent: int) -> Value:
        if base == 0 and exponent <= 0:
            raise Undefined
        if isinstance(base, Fraction):
            if abs(base) == 1:
                return base ** (exponent % 2)
            if base == 0:
                return base
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if (bits - 1) * abs(exponent) > MAX_BITS:
                raise TooBig("too_large")
            return base**exponent
        if abs(exponent) * (abs(int(self.ctx.mag(base))) + 1) > MAX_MAGNITUDE:
            raise TooBig("too_large")
        return base**exponent

    def factorial(self, x: Value) -> Value:
        if is_complex(x) or abs(x) > MAX_FACTORIAL:
            raise TooBig("too_large")
        if not isinstance(x, Fraction) or x.denominator != 1:
            return self.checked(self.ctx.gamma(real_or_complex(x, self.ctx) + 1))
        if x < 0:
            raise Undefined
        return self.checked(Fraction(math.factorial(int(x))))

    def call(self, name: str, nodes: tuple[Node, ...]) -> Value:
        args = [self.value(node) for node in nodes]
        ctx, x = self.ctx, args[0]
        if name == "abs":
            return abs(x)
        if name in ("floor", "ceil"):
            if is_complex(x):
                raise Undefined
            whole = math.floor(x) if isinstance(x, Fraction) else int(ctx.floor(x.real))
            exact = x == whole
            return Fraction(whole if name == "floor" or exact else whole + 1)
        if name == "binom":
            return self.binomial(x, args[1])
        if name == "root":
            return self.root(x, args[1])
        if name == "cbrt":
            return self.root(x, Fraction(3))
        number = real_or_complex(x, ctx)
        if name in ("log", "ln"):
            if number == 0:
                raise Undefined
            if name == "ln":
                return ctx.log(number)
            base = real_or_complex(args[1], ctx)
            if base == 0 or base == 1:
                raise Undefined
            return ctx.log(number) / ctx.log(base)
        if name == "exp":
            if abs(number) > MAX_MAGNITUDE:
                raise TooBig("too_large")
            return ctx.exp(number)
        if number and int(ctx.mag(number)) > (15 if name.endswith("h") else 2_000):
            raise TooBig("too_large")
        made = _TRIGONOMETRIC.get(name)
        if made is None:
            raise Unreadable("not_understood")
        try:
            return made(ctx, number)
        except (ZeroDivisionError, ValueError):
            raise Undefined from None

    def binomial(self, n: Value, k: Value) -> Value:
        whole = all(isinstance(x, Fraction) and x.denominator == 1 for x in (n, k))
        if is_complex(n) or is_complex(k) or abs(n) > 10_000 or abs(k) > 10_000:
            raise TooBig("too_large")
        if not whole or n < 0 or k < 0:
            return self.ctx.binomial(*(real_or_complex(x, self.ctx) for x in (n, k)))
        return Fraction(math.comb(int(n), int(k)))

    def root(self, x: Value, index: Value) -> Value:
        if not isinstance(index, Fraction) or index == 0:
            raise Unreadable("not_understood")
        if isinstance(x, Fraction) and index == 2 and x >= 0:
            top, bottom = math.isqrt(x.numerator), math.isqrt(x.denominator)
            if top * top == x.numerator and bottom * bottom == x.denominator:
                return Fraction(top, bottom)
        return self.power(x, 1 / index)


def _negative(x: Value) -> bool:
    return not is_complex(x) and bool(x.real < 0)


def _reciprocal(name: str) -> Callable[[Any, Any], Any]:
    return lambda ctx, x: 1 / getattr(ctx, name)(x)


_TRIGONOMETRIC: dict[str, Callable[[Any, Any], Any]] = {
    "sin": lambda ctx, x: ctx.sin(x),
    "cos": lambda ctx, x: ctx.cos(x),
    "tan": lambda ctx, x: ctx.tan(x),
    "cot": _reciprocal("tan"),
    "sec": _reciprocal("cos"),
    "csc": _reciprocal("sin"),
    "arcsin": lambda ctx, x: ctx.asin(x),
    "arccos": lambda ctx, x: ctx.acos(x),
    "arctan": lambda ctx, x: ctx.atan(x),
    "arccot": lambda ctx, x: ctx.acot(x),
    "sinh": lambda ctx, x: ctx.sinh(x),
    "cosh": lambda ctx, x: ctx.cosh(x),
    "tanh": lambda ctx, x: ctx.tanh(x),
    "coth": _reciprocal("tanh"),
    "arcsinh": lambda ctx, x: ctx.asinh(x),
    "arccosh": lambda ctx, x: ctx.acosh(x),
    "arctanh": lambda ctx, x: ctx.atanh(x),
}
