"""Tokens to an expression tree: a small recursive-descent parser for LaTeX and plain mathematics.

Holds not:       the nodes (tree.py), values (numeric.py); tuples, sets, relations, units.
Must stay true:  no eval, no sympy; recursion is bounded (depth 50), so hostile text ends in
                 Unreadable, never in a crash.
"""

from collections.abc import Callable
from fractions import Fraction

from aha.rewards.tokens import MAX_NESTING, RESTATED, Restated, Token, TooBig, Unreadable, names
from aha.rewards.tree import Node, number

GREEK = names(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau "
    "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell hbar"
)
FUNCTIONS = names(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh coth ln log lg exp abs floor "
    "ceil cbrt arccot gcd lcm"
)
TRIGONOMETRIC = names("sin cos tan cot sec csc")
_DEGREE: Node = ("div", ("const", "pi"), ("num", Fraction(180)), "frac")
_ACCENTS = names("vec hat bar tilde dot ddot overrightarrow widehat overline")
_STOPS = frozenset("+-/,;:=<>)]}|&")
_NO_FACTOR = names("cdot times div rfloor rceil rangle choose over")
_ROOTS = {"sqrt": 2, "usqrt": 2, "cbrt": 3, "ucbrt": 3, "uqdrt": 4}


def parse(tokens: list[Token]) -> Node:
    """The tree of an expression.

    Raises:
        Unreadable: it is none, or holds something that is not known here.
    """
    parser = _Parser(tokens)
    node = parser.sum()
    if parser.is_("choose", "over"):
        node = parser.infix(node)
    if parser.peek() is not None:
        raise Unreadable("not_understood")
    return node


class _Parser:
    def __init__(self, tokens: list[Token]):
        self.tokens = list(tokens)
        self.at = 0
        self.depth = 0
        self.bars = 0
        self.angles = 0
        """Open trigonometric functions: inside, a degree sign is pi/180; outside it is a unit."""

    def peek(self, ahead: int = 0) -> Token | None:
        index = self.at + ahead
        return self.tokens[index] if index < len(self.tokens) else None

    def is_(self, *texts: str) -> bool:
        token = self.peek()
        return token is not None and token.kind not in ("num", "text") and token.text in texts

    def next(self) -> Token:
        token = self.peek()
        if token is None:
            raise Unreadable("not_understood")
        self.at += 1
        return token

    def expect(self, text: str) -> None:
        if not self.is_(text):
            raise Unreadable("not_understood")
        self.at += 1

    def deeper(self, rule: Callable[[], Node]) -> Node:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise TooBig("too_deep")
        node = rule()
        self.depth -= 1
        return node

    def sum(self) -> Node:
        terms: list[Node] = []
        sign = self.signs()
        node = self.deeper(self.product)
        terms.append(_signed(node, sign))
        while self.is_("+", "-"):
            sign = self.signs()
            terms.append(_signed(self.deeper(self.product), sign))
        return terms[0] if len(terms) == 1 else ("add", tuple(terms))

    def signs(self) -> int:
        sign = 1
        while self.is_("+", "-"):
            if self.next().text == "-":
                sign = -sign
        return sign

    def product(self) -> Node:
        node = self.mixed()
        while True:
            token = self.peek()
            if token is None:
                return node
            if self.is_("*", "cdot", "times"):
                self.at += 1
                node = _times(node, self.signed_factor())
            elif self.is_("/", "div"):
                self.at += 1
                node = ("div", node, self.signed_factor(), "slash")
            elif self.starts_factor(token):
                before = self.tokens[self.at - 1]
                if token.kind == "num" and (before.kind == "num" or before.text == "}"):
                    raise Unreadable("not_understood")  # 2 3 and \\frac{1}{2}3 are no products
                node = _times(node, self.factor())
            else:
                return node

    def mixed(self) -> Node:
        """A factor; or a mixed number: 4 4/9, 4\\frac{4}{9} (proper fractions only)."""
        first, second = self.peek(), self.peek(1)
        if first is None or second is None or first.kind != "num" or not first.text.isdigit():
            return self.factor()
        whole = int(first.text)
        if second.kind == "cmd" and second.text == "frac":
            start = self.at
            self.at += 1
            node = self.factor()
            if node[0] == "div" and node[1][0] == node[2][0] == "num":
                top, bottom = node[1][1], node[2][1]
                if top.denominator == bottom.denominator == 1 and 0 <= top < bottom:
                    return ("num", whole + top / bottom)
            self.at = start
            return self.factor()
        slash, below = self.peek(2), self.peek(3)
        if second.kind == "num":
            if (
                second.space
                and second.text.isdigit()
                and slash is not None
                and slash.text == "/"
                and below is not None
                and below.text.isdigit()
                and int(second.text) < int(below.text)
            ):
                self.at += 4
                return ("num", whole + Fraction(int(second.text), int(below.text)))
            raise Unreadable("not_understood")
        return self.factor()

    def starts_factor(self, token: Token) -> bool:
        if token.kind in ("num", "sym", "open", "word"):
            return token.text not in ("\\}",)
        if token.kind == "cmd":
            return token.text not in _NO_FACTOR
        return token.text == "|" and self.bars == 0

    def signed_factor(self) -> Node:
        sign = self.signs()
        return _signed(self.deeper(self.factor), sign)

    def factor(self) -> Node:
        node = self.deeper(self.atom)
        while True:
            if self.is_("!"):
                self.at += 1
                node = ("fact", node)
            elif self.is_("^"):
                self.at += 1
                node = ("pow", node, self.deeper(self.exponent))
            elif (token := self.peek()) is not None and token.kind == "deg":
                self.at += 1
                node = ("mul", (node, _DEGREE)) if self.angles else node
            else:
                return node

    def exponent(self) -> Node:
        if self.is_("+", "-"):
            sign = self.signs()
            return _signed(self.deeper(self.exponent), sign)
        token = self.peek()
        if token is not None and token.kind == "open":
            return self.group()
        node = self.atom()
        if self.is_("^"):
            self.at += 1
            node = ("pow", node, self.deeper(self.exponent))
        return node

    def group(self) -> Node:
        opening = self.next()
        closing = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}[opening.text]
        bars, self.bars = self.bars, 0
        node = self.deeper(self.sum)
        if opening.text == "{" and self.is_("choose", "over"):
            node = self.infix(node)
        self.expect(closing)
        self.bars = bars
        return node

    def infix(self, above: Node) -> Node:
        """`a \\over b` and `n \\choose k`, within one group."""
        over = self.next().text == "over"
        below = self.deeper(self.sum)
        return ("div", above, below, "frac") if over else ("fn", "binom", (above, below))

    def atom(self) -> Node:
        token = self.peek()
        if token is None:
            raise Unreadable("not_understood")
        if token.kind == "num":
            self.at += 1
            return ("num", number(token.text))
        if token.kind == "open":
            return self.group()
        if token.kind == "sym":
            self.at += 1
            return self.subscripted(token.text)
        if token.kind == "word":
            return self.word()
        if token.kind == "cmd":
            return self.command()
        if token.text == "|" and token.kind == "op":
            self.at += 1
            self.bars += 1
            node = self.deeper(self.sum)
            self.expect("|")
            self.bars -= 1
            return ("fn", "abs", (node,))
        raise Unreadable("not_understood")

    def word(self) -> Node:
        """Letters written together are a product of symbols, if they are few."""
        token = self.next()
        if len(token.text) > 4:
            raise Unreadable("not_understood")
        letters = [Token("sym", letter) for letter in token.text]
        self.tokens[self.at - 1 : self.at] = letters
        self.at -= 1
        return self.factor()

    def subscripted(self, name: str) -> Node:
        if self.is_("_"):
            self.at += 1
            name += "_" + self.raw_group()
        while self.is_("'"):
            self.at += 1
            name += "'"
        if name in ("e", "i"):
            return ("const", name)
        return ("sym", name)

    def raw_group(self) -> str:
        """A subscript, as text."""
        token = self.next()
        if token.text != "{":
            return token.text
        depth, text = 1, []
        while depth:
            token = self.next()
            depth += {"{": 1, "}": -1}.get(token.text, 0)
            if depth:
                text.append(token.text)
        return "".join(text)

    def argument(self) -> Node:
        """What a command takes: a braced group, or one digit, letter or command."""
        token = self.peek()
        if token is None:
            raise Unreadable("not_understood")
        if token.text == "{" and token.kind == "open":
            return self.group()
        if token.kind == "num" and len(token.text) > 1:
            self.tokens[self.at : self.at + 1] = [
                Token("num", token.text[0], token.space),
                Token("num", token.text[1:]),
            ]
        if token.text in _STOPS:
            raise Unreadable("not_understood")
        return self.deeper(self.atom)

    def command(self) -> Node:
        name = self.next().text
        if name == "frac":
            top = self.argument()
            bottom = self.argument()
            return ("div", top, bottom, "frac")
        if name in _ROOTS:
            return self.root(name)
        if name == "pi":
            return ("const", "pi")
        if name == "infty":
            return ("inf",)
        if name in GREEK:
            return self.subscripted(name)
        if name == "binom":
            top = self.argument()
            return ("fn", "binom", (top, self.argument()))
        if name in ("lfloor", "lceil"):
            node = self.deeper(self.sum)
            self.expect("r" + name[1:])
            return ("fn", "floor" if name == "lfloor" else "ceil", (node,))
        if name in FUNCTIONS:
            return self.function(name)
        if name in _ACCENTS:
            return self.subscripted(f"{name}({self.raw_group()})")
        if name in ("mathbb", "prime"):
            raise Unreadable("not_understood")
        raise Restated(f"restated_{name}") if name in RESTATED else Unreadable("not_understood")

    def root(self, name: str) -> Node:
        index: Node = ("num", Fraction(_ROOTS[name]))
        if self.is_("["):
            index = self.group()
        token = self.peek()
        if name.startswith("u") and token is not None and token.kind == "num":
            self.at += 1
            inside: Node = ("num", number(token.text))
        elif token is not None and token.text == "(":
            inside = self.group()
        else:
            inside = self.argument()
        return ("fn", "root", (inside, index))

    def function(self, name: str) -> Node:
        power: Node | None = None
        base: Node | None = None
        while self.is_("^", "_"):
            if self.next().text == "^":
                power = self.deeper(self.exponent)
            else:
                base = self.argument_whole()
        if name in ("gcd", "lcm"):
            raise Unreadable("not_understood")
        self.angles += name in TRIGONOMETRIC
        args: tuple[Node, ...]
        if self.is_("(", "{", "["):
            args = (self.group(),)
            if self.angles and (token := self.peek()) is not None and token.kind == "deg":
                self.at += 1
                args = (("mul", (*args, _DEGREE)),)
        else:
            args = (self.bare_argument(),)
        self.angles -= name in TRIGONOMETRIC
        if name == "log":
            args = (*args, base if base is not None else ("num", Fraction(10)))
        elif base is not None:
            raise Unreadable("not_understood")
        if name == "lg":
            name, args = "log", (*args, ("num", Fraction(10)))
        if power == ("num", Fraction(-1)):
            return ("fn", "arc" + name, args)
        node: Node = ("fn", name, args)
        return ("pow", node, power) if power is not None else node

    def argument_whole(self) -> Node:
        """A base of a logarithm: a group, or a whole number."""
        token = self.peek()
        after = self.peek(1)
        argued = after is not None and (self.starts_factor(after) or after.text == "-")
        if token is not None and token.kind == "num" and argued:
            self.at += 1
            return ("num", number(token.text))
        return self.argument()  # \log_28 is the logarithm of 8 to the base 2

    def bare_argument(self) -> Node:
        """The argument of a function without brackets: `2 x`, `\\frac{\\pi}{4}`, `x^2`."""
        sign = self.signs()
        node: Node | None = None
        while (token := self.peek()) is not None and (
            token.kind in ("num", "sym")
            or (
                token.kind == "cmd"
                and (token.text in GREEK or token.text in ("pi", "frac", *_ROOTS))
            )
            or (node is None and (token.kind in ("cmd", "word") or token.text == "|"))
        ):
            factor = self.factor()
            node = factor if node is None else _times(node, factor)
        if node is None:
            raise Unreadable("not_understood")
        return _signed(node, sign)


def _signed(node: Node, sign: int) -> Node:
    if sign > 0:
        return node
    return ("num", -node[1]) if node[0] == "num" else ("neg", node)


def _times(a: Node, b: Node) -> Node:
    return ("mul", (*a[1], b)) if a[0] == "mul" else ("mul", (a, b))
