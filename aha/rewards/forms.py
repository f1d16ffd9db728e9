"""What an answer is: a value with a unit, a tuple or interval, a list or set, a matrix, an
equation, a region of the real line, a number in a base, a time or ratio, or words.

Holds not: reading a text into a form (reading.py), equality (compare.py).
"""

from dataclasses import dataclass

from aha.rewards.regions import Interval, Region, union
from aha.rewards.tokens import Unreadable
from aha.rewards.tree import Node, symbols


@dataclass(frozen=True)
class Scalar:
    """One value."""

    node: Node
    unit: str | None = None


@dataclass(frozen=True)
class Words:
    """A text answer; `node` is its reading as a product of letters, if it may be one."""

    key: str
    node: Node | None = None


@dataclass(frozen=True)
class Group:
    """`(a, b)`, `[a, b)`: a tuple, point or interval; order and brackets count."""

    items: "tuple[Form, ...]"
    opening: str
    closing: str


@dataclass(frozen=True)
class Items:
    """Several values without order; with braces a set, bare a list of roots."""

    items: "tuple[Form, ...]"
    braces: bool


@dataclass(frozen=True)
class Parts:
    """Answers to several questions, in their order: `(1) 5 (2) 3`, `5; 3`."""

    items: "tuple[Form, ...]"
    labelled: bool
    """Numbered by the writer; else only set apart by semicolons."""


@dataclass(frozen=True)
class Matrix:
    rows: "tuple[tuple[Form, ...], ...]"


@dataclass(frozen=True)
class Area:
    """Part of the real line."""

    region: Region


@dataclass(frozen=True)
class Named:
    """`x = 5`, `x > 3`, `f(x) = x^2`: a form and what it is said to be."""

    name: str
    form: "Form"
    plain: bool
    """The name is a lone symbol or a function of one (f(x)), so the form alone says as much."""
    relation: "Relation | None" = None
    """The same as an equation or inequality, if it is one."""


@dataclass(frozen=True)
class Relation:
    """An equation or inequality chain: left minus right, and the sign between, of each pair."""

    parts: tuple[tuple[Node, str], ...]


@dataclass(frozen=True)
class Based:
    """Digits in a base other than ten."""

    digits: str
    base: int


@dataclass(frozen=True)
class Colon:
    """`4:30`, `5:6`: a time or a ratio, part by part."""

    parts: tuple[Node, ...]
    texts: tuple[str, ...]
    unit: str | None


Form = Scalar | Words | Group | Items | Parts | Matrix | Area | Named | Relation | Based | Colon

INFINITY: Node = ("inf",)
MINUS_INFINITY: Node = ("neg", INFINITY)


def area_of(form: Form) -> Region | None:
    """The part of the real line that a form says, None if it says none."""
    if isinstance(form, Named):
        return area_of(form.form) if not isinstance(form.form, Items | Scalar) else None
    if isinstance(form, Area):
        return form.region
    if isinstance(form, Group) and len(form.items) == 2:
        ends = [item.node for item in form.items if isinstance(item, Scalar) and item.unit is None]
        if len(ends) == 2 and not symbols(ends[0]) | symbols(ends[1]):
            try:
                return union(
                    Region((Interval(ends[0], form.opening == "[", ends[1], form.closing == "]"),))
                )
            except Unreadable:
                return None
    return None


def points(form: Form) -> Region:
    region = area_of(form)
    if region is not None:
        return region
    items = form.items if isinstance(form, Items) else (form,)
    points = []
    for item in items:
        if not isinstance(item, Scalar) or symbols(item.node):
            raise Unreadable("not_understood")
        points.append(Interval(item.node, True, item.node, True))
    return Region(tuple(points))


def all_but(node: Node) -> Region:
    return Region(
        (
            Interval(MINUS_INFINITY, False, node, False),
            Interval(node, False, INFINITY, False),
        )
    )
