"""Expression trees: what a node is, and questions about a tree that need no values.

A node is a tuple, its name first:

    ("num", Fraction) ("const", "pi"|"e"|"i") ("sym", name) ("inf",)
    ("add", nodes) ("mul", nodes) ("neg", node) ("div", node, node, "frac"|"slash")
    ("pow", node, node) ("fn", name, nodes) ("fact", node)
"""

from fractions import Fraction
from typing import Any

from aha.rewards.tokens import TooBig

Node = tuple[Any, ...]


def number(text: str) -> Fraction:
    """A decimal literal, exactly. `1.5e3` is 1500.

    Raises:
        TooBig: an exponent above 400 digits.
    """
    mantissa, _, exponent = text.replace("E", "e").partition("e")
    if exponent and abs(int(exponent)) > 400:
        raise TooBig("too_many_digits")
    whole, _, decimals = mantissa.partition(".")
    value = Fraction(int((whole + decimals) or "0"), 10 ** len(decimals))
    return value * Fraction(10) ** int(exponent) if exponent else value


def symbols(node: Node) -> frozenset[str]:
    """Names of the free symbols of a tree."""
    found: set[str] = set()
    stack = [node]
    while stack:
        top = stack.pop()
        if top[0] == "sym":
            found.add(top[1])
        else:
            for part in top[1:]:
                if isinstance(part, tuple):
                    stack.extend([part] if part and isinstance(part[0], str) else part)
    return frozenset(found)


def is_literal(node: Node) -> bool:
    """A number as one writes it: 5, -5, 2/3, \\frac{2}{3}."""
    if node[0] == "neg":
        return is_literal(node[1])
    if node[0] == "div":
        return is_literal(node[1]) and is_literal(node[2])
    return node[0] in ("num", "inf")


def is_arithmetic(node: Node) -> bool:
    """Sums and products of plain numbers (48/2 + 24): a restated problem, not a value.

    Powers, factorials, roots and \\frac are ways to write a value; + - * over literals are not.
    """
    return _only_arithmetic(node) and _has_operation(node)


def _only_arithmetic(node: Node) -> bool:
    if node[0] in ("add", "mul"):
        return all(_only_arithmetic(part) for part in node[1])
    if node[0] == "neg":
        return _only_arithmetic(node[1])
    if node[0] == "div":
        return node[3] == "slash" and _only_arithmetic(node[1]) and _only_arithmetic(node[2])
    return node[0] == "num"


def _has_operation(node: Node) -> bool:
    if node[0] in ("add", "mul"):
        return True
    if node[0] == "neg":
        return _has_operation(node[1])
    return node[0] == "div" and (_has_operation(node[1]) or _has_operation(node[2]))
