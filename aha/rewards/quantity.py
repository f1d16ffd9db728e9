"""A number with its unit; a number in a base; a time or ratio."""

import re
from dataclasses import replace

from aha.rewards import units
from aha.rewards.expression import TRIGONOMETRIC, parse
from aha.rewards.forms import Based, Colon, Form, Scalar, Words
from aha.rewards.tokens import Token, Unreadable
from aha.rewards.tree import number
from aha.rewards.words import SMALL, letters, words

MAX_UNIT_TOKENS = 16


def scalar(tokens: list[Token]) -> Form:
    """One value with its unit, or words."""
    if all(token.kind in ("text", "word") for token in tokens):
        spelled = words(" ".join(token.text for token in tokens))
        if isinstance(spelled, Words) and len(tokens) == 1 and len(tokens[0].text.strip()) <= 3:
            return replace(spelled, node=letters(tokens[0].text.strip()))
        return spelled
    core, unit = _unit(tokens)
    try:
        return Scalar(parse(core), unit)
    except Unreadable:
        if unit is None:
            raise
        return Scalar(parse(tokens))  # what looked like a unit was a product of symbols


def _unit(tokens: list[Token]) -> tuple[list[Token], str | None]:
    """Split a unit off the end, or a currency sign off the front."""
    if tokens[0].kind == "cur":
        if len(tokens) > 1 and tokens[1].kind == "cur":
            raise Unreadable("not_understood")
        name = units.canonical(tokens[0].text)
        core, after = _unit(tokens[1:]) if len(tokens) > 1 else ([], None)
        rate = any(token.text in ("per", "/") or "per " in token.text for token in tokens)
        if not units.agree(name, after) and (not rate or after in units.MONEY):
            raise Unreadable("not_understood")
        return core, name
    if tokens[0].text == "-" and len(tokens) > 1 and tokens[1].kind == "cur":
        core, unit = _unit(tokens[1:])
        return [tokens[0], *core], unit
    cut = len(tokens)
    floor = max(1, len(tokens) - MAX_UNIT_TOKENS)
    while cut > floor and _unit_token(tokens, cut - 1, floor):
        cut -= 1
    while cut < len(tokens) and tokens[cut].text in ("^", "/", "cdot", "-") and cut:
        cut += 1
    if cut == len(tokens):
        return tokens, None
    if any(token.text in TRIGONOMETRIC for token in tokens[:cut]) and tokens[cut].kind == "deg":
        return tokens, None  # the degrees of sin 30°, not of its value
    phrase = " ".join({"deg": "°", "pct": "%"}.get(t.kind, t.text) for t in tokens[cut:])
    name = units.canonical(phrase.replace("(", " ").replace(")", " "))
    if name is None:
        raise Unreadable("not_understood")
    return tokens[:cut], name


def _unit_token(tokens: list[Token], at: int, floor: int) -> bool:
    """Whether the token is part of a unit at the end; nothing before `floor` is."""
    if at < floor:
        return False
    token = tokens[at]
    if token.kind in ("text", "cur", "pct", "deg"):
        return True
    if token.kind == "word":
        return units.known(token.text) or (token.space and len(token.text) > 2)
    before = tokens[at - 1]
    if token.kind == "sym":
        lone = (
            token.space
            and before.kind == "num"
            and (at == 1 or (at == 2 and tokens[0].text == "-"))
        )
        if (lone and token.text in units.LETTERS) or before.kind == "deg":
            return True
        return before.text == "/" and at > 1 and _unit_token(tokens, at - 1, floor)
    if token.kind == "num":
        if before.text == "{" and at > 3:
            before, at = tokens[at - 2], at - 1
        return at > 1 and before.text == "^" and _unit_token(tokens, at - 2, floor)
    if token.text == "}" and at > 4:
        return tokens[at - 2].text == "{" and _unit_token(tokens, at - 1, floor)
    if token.text == "{":
        return at > 1 and before.text == "^" and _unit_token(tokens, at - 2, floor)
    if token.text in ("^", "/"):
        return before.kind in ("text", "word", "sym", "deg") and _unit_token(tokens, at - 1, floor)
    return False


def colon(parts: list[list[Token]]) -> Form:
    """A time or ratio, of the parts between its colons."""
    if not all(parts):
        raise Unreadable("not_understood")
    core, unit = _unit(parts[-1])
    parts = [*parts[:-1], core]
    texts = tuple("".join(token.text for token in part) for part in parts)
    return Colon(tuple(parse(part) for part in parts), texts, unit)


def based(tokens: list[Token]) -> Form | None:
    """`52_8`, `12A_{16}`, `101_{two}`; None if it is not a number in a base."""
    at = next((i for i, token in enumerate(tokens) if token.text == "_" and token.kind == "op"), -1)
    if at < 1:
        return None
    digits = "".join(token.text for token in tokens[:at]).strip("()").replace(" ", "")
    below = (
        "".join(t.text for t in tokens[at + 1 :] if t.text not in ("{", "}", "(", ")"))
        .strip()
        .lower()
    )
    below = below.removeprefix("base").strip()
    base = int(below) if below.isdigit() and len(below) < 3 else SMALL.get(below, 0)
    if not 2 <= base <= 36 or not re.fullmatch(
        r"-?[0-9][0-9A-Za-z]*|-?[A-F][0-9A-F]*\d[0-9A-F]*", digits
    ):
        return None
    if base == 10:
        return Scalar(("num", number(digits))) if digits.isdigit() else None
    return Based(digits.upper().lstrip("0") or "0", base)
