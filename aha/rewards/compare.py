"""Whether an answer is the gold answer, form by form. Gold first: it says what is asked for.

Lists and sets have no order; tuples, intervals and the parts of an answer do; brackets count; a unit
may be missing on one side but not contradict; a name (`x =`) may be missing on one side but not
contradict.
"""

from fractions import Fraction

from aha.rewards import units
from aha.rewards.equality import equal, proportional
from aha.rewards.forms import (
    Area,
    Based,
    Colon,
    Form,
    Group,
    Items,
    Matrix,
    Named,
    Parts,
    Relation,
    Scalar,
    Words,
    area_of,
)
from aha.rewards.regions import same
from aha.rewards.tokens import Unreadable
from aha.rewards.tree import Node, is_arithmetic, is_literal, symbols

MAX_ITEMS = 64
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


def matches(gold: Form, answer: Form) -> bool:
    """Whether `answer` says what `gold` says.

    Raises:
        Unreadable: a value cannot be computed within bounds.
    """
    if isinstance(gold, Parts) or isinstance(answer, Parts):
        return _parts(gold, answer)
    if isinstance(gold, Named) or isinstance(answer, Named):
        return _named(gold, answer)
    if isinstance(gold, Scalar) and isinstance(answer, Scalar):
        return _scalars(gold, answer)
    if isinstance(gold, Words) or isinstance(answer, Words):
        return _words(gold, answer)
    if isinstance(gold, Items) or isinstance(answer, Items):
        return _items(gold, answer)
    if isinstance(gold, Group) and isinstance(answer, Group):
        return (
            (gold.opening, gold.closing) == (answer.opening, answer.closing)
            and len(gold.items) == len(answer.items)
            and all(matches(a, b) for a, b in zip(gold.items, answer.items, strict=True))
        )
    if isinstance(gold, Area) or isinstance(answer, Area):
        first, second = area_of(gold), area_of(answer)
        return first is not None and second is not None and same(first, second)
    if isinstance(gold, Matrix) and isinstance(answer, Matrix):
        return [len(row) for row in gold.rows] == [len(row) for row in answer.rows] and all(
            matches(a, b)
            for row, other in zip(gold.rows, answer.rows, strict=True)
            for a, b in zip(row, other, strict=True)
        )
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return _relations(gold, answer)
    if isinstance(gold, Based) and isinstance(answer, Based):
        return gold == answer
    if isinstance(gold, Colon) or isinstance(answer, Colon):
        return _colons(gold, answer)
    return False


def _parts(gold: Form, answer: Form) -> bool:
    """Part by part. A gold list without order (1, 2) takes 2; 1, but not (1) 2 (2) 1."""
    if isinstance(answer, Parts) and not answer.labelled and not isinstance(gold, Parts):
        return matches(gold, Items(answer.items, braces=False))
    if not isinstance(gold, Parts | Items) or not isinstance(answer, Parts | Items):
        return False
    if any(isinstance(form, Items) and form.braces for form in (gold, answer)):
        return False
    return len(gold.items) == len(answer.items) and all(
        matches(a, b) for a, b in zip(gold.items, answer.items, strict=True)
    )


def _named(gold: Form, answer: Form) -> bool:
    if isinstance(gold, Named) and isinstance(answer, Named):
        if gold.name == answer.name and matches(gold.form, answer.form):
            return True
        if gold.relation is not None and answer.relation is not None:
            if _relations(gold.relation, answer.relation):
                return True
            return False if len(gold.name) == len(answer.name) == 1 else _same_value(gold, answer)
        both_letters = len(gold.name) == len(answer.name) == 1
        return gold.name != answer.name and not both_letters and _same_value(gold, answer)
    if isinstance(gold, Named):
        if isinstance(answer, Relation):
            return gold.relation is not None and _relations(gold.relation, answer)
        return gold.plain and matches(gold.form, answer)
    if isinstance(answer, Named):
        if isinstance(gold, Relation):
            return answer.relation is not None and _relations(gold, answer.relation)
        if not answer.plain and not (isinstance(gold, Scalar) and not symbols(gold.node)):
            return False
        return matches(gold, answer.form)
    return False


def _same_value(gold: Named, answer: Named) -> bool:
    """Different names: y = 2x is f(x) = 2x, and "Area" is A; but f(1) = 0 is not a = 0, nor is the
    minimum the maximum."""
    if not (gold.plain and answer.plain and matches(gold.form, answer.form)):
        return False
    varies = isinstance(gold.form, Scalar) and bool(symbols(gold.form.node))
    return varies or _is_words(gold.name) != _is_words(answer.name)


def _is_words(name: str) -> bool:
    return len(name) > 3 and name.replace(" ", "").isalpha()


def _scalars(gold: Scalar, answer: Scalar) -> bool:
    if not units.agree(gold.unit, answer.unit):
        return False
    if is_literal(gold.node) and is_arithmetic(answer.node):
        return False  # 2 + 3 restates the problem whose answer is 5
    if equal(gold.node, answer.node):
        return True
    hundred: Node = ("num", Fraction(100))
    if gold.unit == "%" and answer.unit is None:
        return equal(gold.node, ("mul", (hundred, answer.node)))
    if answer.unit == "%" and gold.unit is None:
        return equal(("mul", (hundred, gold.node)), answer.node)
    return False


def _words(gold: Form, answer: Form) -> bool:
    if isinstance(gold, Words) and isinstance(answer, Words):
        if gold.key == answer.key:
            return True
        return gold.node is not None and answer.node is not None and equal(gold.node, answer.node)
    if isinstance(gold, Words) and isinstance(answer, Scalar):
        return gold.node is not None and answer.unit is None and equal(gold.node, answer.node)
    if isinstance(gold, Scalar) and isinstance(answer, Words):
        return answer.node is not None and gold.unit is None and equal(gold.node, answer.node)
    return False


def _items(gold: Form, answer: Form) -> bool:
    if isinstance(gold, Items) and isinstance(answer, Items):
        first, second = list(gold.items), list(answer.items)
        if gold.braces or answer.braces:
            first, second = _distinct(first), _distinct(second)
        return _unordered(first, second)
    if isinstance(gold, Group) and isinstance(answer, Items):
        pairs = sorted(
            ((item.name, item.form) for item in answer.items if isinstance(item, Named)),
            key=lambda pair: pair[0],
        )  # x = 1, y = 2 in any order is the point (1, 2)
        return (
            not answer.braces
            and gold.opening == "("
            and len({name for name, _ in pairs}) == len(answer.items) == len(gold.items)
            and all(matches(a, b) for a, (_, b) in zip(gold.items, pairs, strict=True))
        )
    if isinstance(gold, Items) and isinstance(answer, Group):
        listed = answer.opening == "[" and answer.closing == "]" and len(answer.items) != 2
        return listed and not gold.braces and _unordered(list(gold.items), list(answer.items))
    if isinstance(gold, Items) and len(gold.items) == 1:
        return matches(gold.items[0], answer)
    if isinstance(answer, Items) and answer.braces and len(answer.items) == 1:
        return matches(gold, answer.items[0])
    if isinstance(answer, Items) and isinstance(gold, Area):
        region = area_of(gold)
        return region is not None and not region.parts and not answer.items
    return False


def _distinct(items: list[Form]) -> list[Form]:
    kept: list[Form] = []
    for item in items[:MAX_ITEMS]:
        if not any(_quietly(other, item) for other in kept):
            kept.append(item)
    return kept + items[MAX_ITEMS:]


def _unordered(gold: list[Form], answer: list[Form]) -> bool:
    """Each gold item with an answer item of its own (equality is transitive: greedy is enough)."""
    if len(gold) != len(answer) or len(gold) > MAX_ITEMS:
        return False
    left = list(answer)
    for item in gold:
        found = next((i for i, other in enumerate(left) if _quietly(item, other)), None)
        if found is None:
            return False
        left.pop(found)
    return True


def _quietly(gold: Form, answer: Form) -> bool:
    try:
        return matches(gold, answer)
    except Unreadable:
        return False


def _relations(gold: Relation, answer: Relation) -> bool:
    if len(gold.parts) != len(answer.parts):
        return False
    turned = tuple((node, _FLIPPED[sign]) for node, sign in reversed(answer.parts))
    backwards = tuple((("neg", node), sign) for node, sign in turned)
    return _chain(gold.parts, answer.parts) or _chain(gold.parts, backwards)


def _chain(gold: tuple[tuple[Node, str], ...], answer: tuple[tuple[Node, str], ...]) -> bool:
    for (first, sign), (second, other) in zip(gold, answer, strict=True):
        ratio = proportional(first, second)
        if ratio is None or sign != (other if ratio > 0 else _FLIPPED[other]):
            return False
    return True


def _colons(gold: Form, answer: Form) -> bool:
    if isinstance(gold, Colon) and isinstance(answer, Colon):
        return (
            units.agree(gold.unit, answer.unit)
            and len(gold.parts) == len(answer.parts)
            and all(equal(a, b) for a, b in zip(gold.parts, answer.parts, strict=True))
        )
    ratio, single = (gold, answer) if isinstance(gold, Colon) else (answer, gold)
    if not isinstance(ratio, Colon) or not isinstance(single, Scalar) or len(ratio.parts) != 2:
        return False
    clock = len(ratio.texts[1]) == 2 and ratio.texts[1].isdigit() and ratio.texts[1] < "60"
    node = single.node
    return (
        not clock
        and ratio.unit is None
        and node[0] == "div"
        and equal(node[1], ratio.parts[0])
        and equal(node[2], ratio.parts[1])
    )
