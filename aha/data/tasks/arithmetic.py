"""Arithmetic: chains of +, - and * over whole numbers, in English and Chinese.

An expression is a tree: a number, or (sign, left, right). `text` writes it with single spaces and
no more parentheses than needed, so text and tree determine each other; the text without spaces is
the canonical form that decides the split. The value follows the usual precedence.

Holds not: worked solutions (the pretraining corpus writes them), the grader (kind "math").
"""

from dataclasses import dataclass
from random import Random

from aha.data.query import Span
from aha.data.tasks import split
from aha.data.tasks.split import Item, Task, check_lang
from aha.errors import ConfigError
from aha.records import Prompt

Tree = int | tuple[str, "Tree", "Tree"]

WORDLESS = "{} = ?"
WORDING = {
    "en": (
        "What is {}?",
        "Compute {}.",
        "Calculate {}.",
        "Find the value of {}.",
        "Work out {}.",
        WORDLESS,
    ),
    "zh": (
        "{} 等于多少？",
        "计算 {}。",
        "求 {} 的值。",
        "请算出 {} 的结果。",
        "{} 是多少？",
        WORDLESS,
    ),
}
"""Phrasings; `{}` is where the expression goes. In a mixed stream a wordless one has no language."""

# terms, largest number, signs, largest factor, parentheses, negative steps
DIALS: dict[int, tuple[int, int, str, int, bool, bool]] = {
    1: (2, 9, "+-", 9, False, False),
    2: (3, 9, "+-*", 9, False, False),
    3: (3, 99, "+-*", 9, False, False),
    4: (4, 99, "+-*", 9, False, True),
    5: (4, 99, "+-*", 9, True, True),
    6: (5, 999, "+-*", 12, True, True),
    7: (6, 999, "+-*", 20, True, True),
    8: (8, 9999, "+-*", 99, True, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Query keys. What is left empty (0 or "") comes from `difficulty`."""

    difficulty: int = 3
    """1..8; 3 is chains of three numbers up to 99, products of one-digit numbers."""
    terms: Span = (0, 0)
    """Numbers in the chain, 2..12, e.g. `3` or `2-4`."""
    digits: int = 0
    """Numbers have up to this many digits, 1..6 (numbers next to a * only up to `factor`)."""
    ops: str = ""
    """Signs that occur: some of + - * (× and x are read as *)."""
    factor: int = 0
    """Largest number next to a *, at least 2."""
    products: Span = (0, 11)
    """How many * a problem has, e.g. `1` or `0-1`."""
    parens: str = ""
    """true: any tree, with parentheses; false: flat chains."""
    negative: str = ""
    """true: steps may go below 0; false: no step does."""
    lang: str = "en"
    """en, zh, or mix (each problem in either)."""
    seed: int = 0
    """Another seed, another stream; the split does not depend on it."""

    def __post_init__(self) -> None:
        if self.difficulty not in DIALS:
            raise ConfigError(f"difficulty={self.difficulty}: write 1 to {max(DIALS)}")
        low, high = self.terms
        if self.terms != (0, 0) and not 2 <= low <= high <= 12:
            raise ConfigError(f"terms={low}-{high}: write numbers from 2 to 12, the smaller first")
        if not 0 <= self.digits <= 6:
            raise ConfigError(f"digits={self.digits}: write 1 to 6")
        if self.ops and not set(self.ops) <= set("+-*×x−"):
            raise ConfigError(f"ops={self.ops}: write some of + - *, without commas or spaces")
        if self.factor and not 2 <= self.factor <= 10**6:
            raise ConfigError(f"factor={self.factor}: write 2 to 1000000")
        for name in ("parens", "negative"):
            if getattr(self, name) not in ("", "true", "false"):
                raise ConfigError(f"{name}={getattr(self, name)}: write true or false")
        check_lang(self.lang)
        dial = self.dial()
        low, high = self.products
        if not 0 <= low <= high <= 11 or low >= dial.terms[1]:
            raise ConfigError(
                f"products={low}-{high}: write numbers from 0 to the terms less one, the smaller first"
            )
        if (low and "*" not in dial.ops) or (set(dial.ops) == {"*"} and high < dial.terms[0] - 1):
            raise ConfigError(f"products={low}-{high} and ops={dial.ops}: no problem can have both")
        if set(dial.ops) == {"-"} and not dial.negative and dial.terms[1] > 4:
            raise ConfigError(
                "ops=- with more than 4 terms and no negative steps hardly exists; "
                "set negative=true"
            )

    def dial(self) -> "Dial":
        """The settings with nothing left empty."""
        terms, largest, ops, factor, parens, negative = DIALS[self.difficulty]
        chosen = self.ops.replace("×", "*").replace("x", "*").replace("−", "-") or ops
        return Dial(
            terms=self.terms if self.terms != (0, 0) else (terms, terms),
            largest=10**self.digits - 1 if self.digits else largest,
            ops="".join(sign for sign in "+-*" if sign in chosen),
            factor=self.factor or factor,
            products=self.products,
            parens=parens if not self.parens else self.parens == "true",
            negative=negative if not self.negative else self.negative == "true",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """What `expression` draws from."""

    terms: Span
    largest: int
    ops: str
    factor: int
    products: Span
    parens: bool
    negative: bool


def item(settings: Settings, index: int) -> Item:
    """Problem number `index` of the stream of these settings: a pure function of both."""
    rng = Random(f"aha arithmetic {settings.seed} {index}")
    tree = expression(settings.dial(), rng)
    lang = rng.choice(("en", "zh")) if settings.lang == "mix" else settings.lang
    written = text(tree)
    question = wording(written, lang, rng)
    wordless = question == WORDLESS.format(written)
    prompt = Prompt(
        id=f"arithmetic-{settings.seed}-{index}",
        question=question,
        gold=str(value(tree)),
        kind="math",
        source="arithmetic",
        lang="" if wordless and settings.lang == "mix" else lang,
        domain=domain(tree),
        columns={"expression": written},
    )
    return Item(prompt, canonical(written))


def wording(written: str, lang: str, rng: Random) -> str:
    """A question in `lang` (en, zh) about an expression, in one of the phrasings."""
    before, _, after = rng.choice(WORDING[lang]).partition("{}")
    return before + written + after


def expression(dial: Dial, rng: Random) -> Tree:
    """Draw an expression; no step below 0 unless the dial allows it (redrawn until so)."""
    while True:
        terms = rng.randint(*dial.terms)
        tree = _tree(terms, dial, rng) if dial.parens else _chain(terms, dial, rng)
        fits = dial.products[0] <= len(products(tree)) <= dial.products[1]
        if fits and (dial.negative or lowest(tree) >= 0):
            return tree


def value(tree: Tree) -> int:
    """What the expression is worth."""
    if isinstance(tree, int):
        return tree
    sign, left, right = tree
    a, b = value(left), value(right)
    return a + b if sign == "+" else a - b if sign == "-" else a * b


def lowest(tree: Tree) -> int:
    """The smallest result of any step, or of a number."""
    if isinstance(tree, int):
        return tree
    return min(value(tree), lowest(tree[1]), lowest(tree[2]))


def products(tree: Tree) -> list[tuple[int, int]]:
    """The two sides of each * in the expression."""
    if isinstance(tree, int):
        return []
    sign, left, right = tree
    here = [(value(left), value(right))] if sign == "*" else []
    return [*products(left), *products(right), *here]


def domain(tree: Tree) -> str:
    """`sums`, `products`, or `long products` (both sides of a * have two digits or more)."""
    found = products(tree)
    if any(min(abs(a), abs(b)) >= 10 for a, b in found):
        return "long products"
    return "products" if found else "sums"


def text(tree: Tree) -> str:
    """The expression as it is written: `27 + 6 * (8 - 3)`.

    A sum or difference is put in parentheses beside a *, and on the right of + or -.
    """
    if isinstance(tree, int):
        return str(tree)
    sign, left, right = tree
    a, b = text(left), text(right)
    if sign == "*" and _additive(left):
        a = f"({a})"
    if _additive(right) or (sign == "*" and not isinstance(right, int)):
        b = f"({b})"
    return f"{a} {sign} {b}"


def parse(written: str) -> Tree:
    """The tree of a written chain without parentheses: the inverse of `text` there.

    Raises:
        ValueError: anything else.
    """
    words = written.split(" ")
    numbers, signs = [int(word) for word in words[::2]], words[1::2]
    if len(numbers) != len(signs) + 1 or not set(signs) <= set("+-*"):
        raise ValueError(f"not a chain of numbers and signs: {written}")
    return _grouped(numbers, signs)


def canonical(written: str) -> str:
    """The canonical form of a written expression: spaces out, one spelling of each sign."""
    plain = "".join(written.split()).replace("×", "*").replace("−", "-")
    return f"arithmetic:{plain}"


def is_heldout(written: str) -> bool:
    """Whether the task holds this expression out, e.g. is_heldout("27 + 35 - 12")."""
    return split.is_heldout(canonical(written))


def _additive(tree: Tree) -> bool:
    return not isinstance(tree, int) and tree[0] in "+-"


def _chain(terms: int, dial: Dial, rng: Random) -> Tree:
    """A chain without parentheses: products first, then from left to right."""
    signs = [rng.choice(dial.ops) for _ in range(terms - 1)]
    numbers = [
        _number(dial, rng, factor="*" in signs[max(0, place - 1) : place + 1])
        for place in range(terms)
    ]
    return _grouped(numbers, signs)


def _grouped(numbers: list[int], signs: list[str]) -> Tree:
    """A chain as a tree: products first, then from left to right."""
    terms: list[Tree] = [numbers[0]]
    between = []
    for sign, number in zip(signs, numbers[1:], strict=True):
        if sign == "*":
            terms[-1] = ("*", terms[-1], number)
        else:
            terms.append(number)
            between.append(sign)
    tree = terms[0]
    for sign, term in zip(between, terms[1:], strict=True):
        tree = (sign, tree, term)
    return tree


def _tree(terms: int, dial: Dial, rng: Random, *, factor: bool = False) -> Tree:
    """Any tree; the right side of a * is one number, so that values stay small."""
    if terms == 1:
        return _number(dial, rng, factor=factor)
    sign = rng.choice(dial.ops)
    if sign == "*":
        return ("*", _tree(terms - 1, dial, rng, factor=True), _number(dial, rng, factor=True))
    left = rng.randint(1, terms - 1)
    return (sign, _tree(left, dial, rng), _tree(terms - left, dial, rng))


def _number(dial: Dial, rng: Random, *, factor: bool) -> int:
    return rng.randint(2, dial.factor) if factor else rng.randint(1, dial.largest)


TASK = Task("arithmetic", Settings, item)
