"""Token runs that only say what a value is of: x, f(x), a_n, |AB|; and where a bracket closes."""

from aha.rewards.expression import GREEK
from aha.rewards.tokens import Token, closes, names, opens

_OPERATIONS = names("+ - * / ^ frac cdot times div prime sqrt")


def is_name(tokens: list[Token]) -> bool:
    """A lone symbol, with an index or arguments: x, \\theta, a_n, f(x), P(A), k'."""
    if not tokens or not (
        tokens[0].kind == "sym" or (tokens[0].kind == "cmd" and tokens[0].text in GREEK)
    ):
        return False
    if tokens[0].text in ("e", "i") and len(tokens) == 1:
        return False
    if tokens[0].text in ("x", "y", "z") and len(tokens) > 1 and tokens[1].text == "(":
        return False  # x(y - 1) is a product
    rest = tokens[1:]
    while rest and rest[0].text == "'":
        rest = rest[1:]
    if rest and rest[0].text == "_":
        rest = rest[1:]
        rest = rest[group_end(rest) :]
    if "".join(token.text for token in rest[:6]) == "^{-1}(":
        rest = rest[5:]
    if not rest:
        return True
    return rest[0].text == "(" and group_end(rest) == len(rest)


def group_end(tokens: list[Token]) -> int:
    """Index after the bracket that closes the first token; beyond the end if none does."""
    depth = 0
    for index, token in enumerate(tokens):
        depth += opens(token) - closes(token)
        if depth == 0:
            return index + 1
    return len(tokens) + 1


def pure(tokens: list[Token]) -> bool:
    """No plain numbers outside exponents and indices: a + b, x_1 x_2, |AB|, a^2 + b^2."""
    if tokens[0].text == "-":
        return False
    for index, token in enumerate(tokens):
        if token.kind == "num":
            before = [t.text for t in tokens[max(0, index - 2) : index]]
            if not before or (
                before[-1] not in ("^", "_") and before[-2:] not in (["^", "{"], ["_", "{"])
            ):
                return False
    return True


def is_label(tokens: list[Token]) -> bool:
    """Letters or words without an operation: Area, AB, \\angle ABC, not x' + rx."""
    if any(token.text in _OPERATIONS and token.kind in ("op", "cmd") for token in tokens):
        return False
    return any(token.kind in ("text", "word", "sym") for token in tokens)


def spelled(tokens: list[Token]) -> str:
    return "".join(token.text for token in tokens)


def encloses(tokens: list[Token]) -> bool:
    return group_end(tokens) == len(tokens)
