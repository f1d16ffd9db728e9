"""A cleaned answer as a list of tokens, with the caps that stop bombs before anything is parsed.

Caps: 4 KiB of text, 200 digits in a number, nesting 50. Nothing larger is ever looked at.
"""

import re
from dataclasses import dataclass

MAX_BYTES = 4096
MAX_DIGITS = 200
MAX_NESTING = 50


def names(text: str) -> frozenset[str]:
    """The words of a text, as a set: how the tables of these modules are written."""
    return frozenset(text.split())


class Unreadable(Exception):
    """The text is not an answer that we read; `reason` in plain words for the verdict."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class TooBig(Unreadable):
    """Over one of the caps."""


class Restated(Unreadable):
    """An unevaluated sum, integral, limit, ...: the problem, not its answer."""


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    """num, sym, word, cmd, text, op, open, close, cur, pct, deg."""
    text: str
    space: bool = False
    """Whether a blank stood before it."""


_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<num>\d+(?:\.\d+)?(?:[eE][+-]?\d+(?![\dA-Za-z.]))|\d+\.\d+|\.\d+|\d+\.?(?!\d))"
    r"|\\text\{(?P<text>[^{}]*)\}"
    r"|\\(?P<cur>\$)|(?P<cur2>[€£¥¢₹$])"
    r"|(?P<pct>\\?%)"
    r"|(?P<deg>\\degree)(?![A-Za-z])"
    r"|(?P<row>\\\\)"
    r"|\\(?P<env>(?:begin|end)\s*\{[a-zA-Z]+\*?\})(?P<cols>\{[clr|@{}\s]*\})?"
    r"|\\(?P<brace>[{}|])"
    r"|\\(?P<cmd>[A-Za-z]+)"
    r"|(?P<cjk>[^\W\d_a-zA-Z]+)"
    r"|(?P<word>[A-Za-z]{2,})"
    r"|(?P<sym>[A-Za-z])"
    r"|(?P<op>[-+*/^_=<>,;:!|&'])"
    r"|(?P<open>[({\[])"
    r"|(?P<close>[)}\]])"
    r"|(?P<other>.)",
    re.DOTALL,
)
_DIGITS = re.compile(rf"\d{{{MAX_DIGITS + 1}}}|[eE][+-]?\d{{6}}")
FUNCTION_WORDS = names(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh asin acos atan log ln lg exp sqrt "
    "cbrt abs floor ceil pi infinity infty inf frac gcd lcm max min binom theta alpha beta phi "
    "pm cup"
)
RESTATED = names(
    "sum prod int iint iiint oint lim limsup liminf sup bigoplus nabla partial coprod argmax argmin"
)
_JOINING = ("或者", "以及", "并且", "和", "或", "与", "及", "且")
"""Chinese words between two values; written together with the unit before them (5米和3米)."""
_WORD_OPERATORS = {"infinity": "infty", "inf": "infty", "asin": "arcsin", "acos": "arccos",
                   "atan": "arctan"}  # fmt: skip


def screen(text: str) -> None:
    """Refuse what is over the caps, by length and bracket counts alone.

    Raises:
        TooBig: too_long, too_many_digits or too_deep.
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    if size > MAX_BYTES:
        raise TooBig("too_long")
    if _DIGITS.search(text):
        raise TooBig("too_many_digits")
    depth = deepest = 0
    for char in text:
        if char in "({[":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")}]":
            depth -= 1
    if deepest > MAX_NESTING:
        raise TooBig("too_deep")


def tokenize(text: str) -> list[Token]:
    """Tokens of a cleaned text.

    Raises:
        Unreadable: a character that has no place in an answer.
    """
    tokens: list[Token] = []
    space = False
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        value = match.group(kind)
        if kind == "space":
            space = True
            continue
        if kind == "cols":
            kind, value = "env", match.group("env")
        if kind == "cur2":
            kind = "cur"
        elif kind == "brace":
            kind = "op" if value == "|" else ("open" if value == "{" else "close")
            value = "|" if value == "|" else "\\" + value
        elif kind == "cjk":
            kind = "text"
            joint = next((word for word in _JOINING if value.endswith(word)), "")
            if joint and value != joint and match.end() < len(text):
                tokens.append(Token(kind, value.removesuffix(joint), space))
                value, space = joint, False
        elif kind == "word" and value in FUNCTION_WORDS:
            kind, value = "cmd", _WORD_OPERATORS.get(value, value)
        elif kind == "env":
            value = re.sub(r"\s", "", value)
        elif kind == "other":
            raise Unreadable("not_understood")
        tokens.append(Token(kind, value, space))
        space = False
    return tokens


def split_top(tokens: list[Token], at: "set[str] | frozenset[str]") -> list[list[Token]]:
    """Split where a token of depth 0 has one of the texts `at` (brackets and environments nest)."""
    if not any(token.text in at for token in tokens):
        return [list(tokens)]
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if opens(token):
            depth += 1
        elif closes(token):
            depth -= 1
        if depth == 0 and token.kind in ("op", "cmd", "row") and token.text in at:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def opens(token: Token) -> bool:
    return (
        token.kind == "open"
        or (token.kind == "env" and token.text.startswith("begin"))
        or (token.kind == "cmd" and token.text in ("langle", "lfloor", "lceil"))
    )


def closes(token: Token) -> bool:
    return (
        token.kind == "close"
        or (token.kind == "env" and token.text.startswith("end"))
        or (token.kind == "cmd" and token.text in ("rangle", "rfloor", "rceil"))
    )
