"""A cleaned text, read into one of the forms.

Holds not:       equality (compare.py), values (numeric.py), where the answer stood (answer.py).
Must stay true:  what is not understood is Unreadable, never guessed at.
"""

import re
from collections.abc import Sequence
from fractions import Fraction

from aha.rewards import units
from aha.rewards.chinese import translated
from aha.rewards.equality import equal
from aha.rewards.expression import parse
from aha.rewards.forms import (
    INFINITY,
    MINUS_INFINITY,
    Area,
    Form,
    Group,
    Items,
    Matrix,
    Named,
    Parts,
    Relation,
    Scalar,
    Words,
    all_but,
    area_of,
    points,
)
from aha.rewards.labels import encloses, is_label, is_name, pure, spelled
from aha.rewards.quantity import based, colon, scalar
from aha.rewards.regions import Interval, Region, intersect, union
from aha.rewards.tokens import (
    RESTATED,
    Restated,
    Token,
    TooBig,
    Unreadable,
    closes,
    names,
    opens,
    split_top,
    tokenize,
)
from aha.rewards.tree import Node, symbols
from aha.rewards.words import count_word, words

_CONNECTIVES = names("and or 和 或 与 及 且 或者 以及 并且")
_RELATIONS = {"=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "approx": "~",
              "equiv": "="}  # fmt: skip
_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
_CLOCK = re.compile(r"(?<=\d)\s*(?:\\text\(?\{?\s*)?\b([ap])\.?\s?m\b\.?\s*\}?", re.IGNORECASE)
_ORDINAL = re.compile(
    r"(?<=\d)(?:\s*\^\s*)?(?:\{\s*)?(?:\\text\{\s*)?(?:st|nd|rd|th)\b(?:\s*\}){0,2}"
)
_SCALE = re.compile(
    r"(?<=\d)\s*(?:\\text\{\s*)?(thousand|million|billion|trillion)\b(?:\s*\})?", re.IGNORECASE
)
_POWERS = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_CHOSEN = re.compile(r"(?:\(\d{1,2}\)[\s,;]*){2,20}")
_LABEL = re.compile(r"(?<![A-Za-z_^{}])\((\d{1,2})\)")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORDY = re.compile(r"[A-Za-z]{2}|[^\W\d_a-zA-Z]|\\text\{")
_REPEATING = re.compile(
    r"(\d*)\.(\d*)(?:\\(?:overline|bar)\s*\{(\d+)\}|\\dot\s*\{(\d)\}(?:(\d*)\\dot\s*\{(\d)\})?)"
)


def read(text: str) -> Form:
    """The form of a cleaned, ungrouped text.

    Raises:
        Unreadable (TooBig, Restated): it is none of the forms.
    """
    text = _REPEATING.sub(_repeating, translated(text))
    text = _CLOCK.sub(lambda m: f" \\text{{{m.group(1).lower()}m}} ", text)
    text = _ORDINAL.sub("", text)
    text = _SCALE.sub(lambda m: f"\\cdot 10^{{{_POWERS[m.group(1).lower()]}}}", text)
    counted = count_word(text)
    if counted is not None:
        return Scalar(("num", Fraction(counted)))
    try:
        return _numbered(text) or _value(tokenize(text))
    except (TooBig, Restated):
        raise
    except Unreadable:
        if _WORDY.search(_COMMAND.sub("", text)) or "\\text{" in text:
            return words(text)
        raise


def _numbered(text: str) -> Form | None:
    """`(1)(3)` (①③): which statements hold; `(1) 5 (2) 3`: an answer in parts. None if it is neither."""
    if not text.startswith("(1)") and not _CHOSEN.fullmatch(text):
        return None
    if _CHOSEN.fullmatch(text):
        numbers = re.findall(r"\d+", text)
        return Items(tuple(Scalar(("num", Fraction(int(n)))) for n in numbers), braces=False)
    labels: list[re.Match[str]] = []
    for match in _LABEL.finditer(text):
        if int(match.group(1)) == len(labels) + 1:
            labels.append(match)
    if len(labels) < 2:
        return None
    ends = [match.start() for match in labels[1:]] + [len(text)]
    parts = [
        text[match.end() : end].strip(" ,;:.") for match, end in zip(labels, ends, strict=True)
    ]
    return Parts(tuple(_value(tokenize(part)) for part in parts), labelled=True)


def _repeating(match: re.Match[str]) -> str:
    whole, fixed = match.group(1) or "0", match.group(2)
    cycle = match.group(3) or "".join(part or "" for part in match.groups()[3:])
    scale, nines = 10 ** len(fixed), 10 ** len(cycle) - 1
    value = Fraction(int(whole + fixed), scale) + Fraction(int(cycle), nines * scale)
    return f"(\\frac{{{value.numerator}}}{{{value.denominator}}})"


def _value(tokens: list[Token]) -> Form:
    while tokens and tokens[-1].text in (",", ";", ":") and tokens[-1].kind == "op":
        tokens = tokens[:-1]
    if not tokens:
        raise Unreadable("empty")
    apart = [part for part in split_top(tokens, {";"}) if part]
    if len(apart) > 1:
        return _apart([_value(part) for part in apart])
    tokens = _expanded_plus_minus(tokens)
    parts, connective = _listed(tokens)
    if len(parts) > 1:
        return _list([_value(part) for part in parts], connective)
    tokens = parts[0]
    for command, make in (("cup", _cup), ("setminus", _minus)):
        pieces = split_top(tokens, {command})
        if len(pieces) > 1:
            return make([_value(piece) for piece in pieces])
    member = split_top(tokens, {"in"})
    if len(member) == 2 and all(member) and is_name(member[0]):
        return Named(spelled(member[0]), _value(member[1]), True)
    related = _related(tokens)
    if related is not None:
        return related
    return _single(tokens)


def _single(tokens: list[Token]) -> Form:
    first, last = tokens[0], tokens[-1]
    if len(tokens) == 1 and first.text == "emptyset":
        return Items((), braces=True)
    if "".join(t.text for t in tokens) in ("mathbb{R}", "(-infty,infty)"):
        return Area(Region((Interval(MINUS_INFINITY, False, INFINITY, False),)))
    if first.kind == "env":
        return _matrix(tokens)
    if first.text == "]" and last.text == "[":
        tokens = [Token("open", "("), *tokens[1:-1], Token("close", ")")]
        first, last = tokens[0], tokens[-1]
    if opens(first) and closes(last) and encloses(tokens):
        inside = tokens[1:-1]
        if first.text == "\\{":
            return _set(inside)
        parts = split_top(inside, {",", ";"})
        if len(parts) > 1:
            if not all(parts):
                raise Unreadable("not_understood")
            items = tuple(_value(part) for part in parts)
            if first.text == "{":
                return Items(items, braces=False)
            opening = "(" if first.text == "langle" else first.text
            closing = ")" if last.text == "rangle" else last.text
            return Group(items, opening, closing)
        if inside and inside[0].kind == "env":
            return _single(inside)
        if first.text in "({[" and inside and (_relation_inside(inside) or first.text in "{["):
            return _value(inside)
    if first.kind == "sym" and first.text.isupper() and len(tokens) > 4 and tokens[1].text == "(":
        point = tokens[1:]
        if encloses(point) and len(split_top(point[1:-1], {","})) > 1:
            return _single(point)
    parts_by_colon = split_top(tokens, {":"})
    if len(parts_by_colon) > 1:
        return colon(parts_by_colon)
    return based(tokens) or scalar(tokens)


def _apart(forms: list[Form]) -> Form:
    """Values with semicolons between them: parts in order, but roots, points and names are a list."""
    if all(isinstance(form, Named) for form in forms) or all(
        isinstance(form, Group) for form in forms
    ):
        return _list(forms, ",")
    return Parts(tuple(forms), labelled=False)


def _listed(tokens: list[Token]) -> tuple[list[list[Token]], str]:
    """Parts of a list, split at commas, semicolons, "and", "or"; and which word joined them."""
    parts: list[list[Token]] = [[]]
    depth, connective = 0, ","
    for token in tokens:
        depth += opens(token) - closes(token)
        word = token.text.strip(" ,").lower() if token.kind in ("text", "word") else ""
        joins = word in _CONNECTIVES or (
            token.kind == "cmd" and token.text in ("lor", "vee", "land")
        )
        if depth == 0 and (joins or (token.kind == "op" and token.text in (",", ";"))):
            if joins:
                connective = (
                    "or" if word in ("or", "或", "或者") or token.text in ("lor", "vee") else "and"
                )
            parts.append([])
        else:
            parts[-1].append(token)
    kept = [part for part in parts if part]
    if not kept:
        raise Unreadable("empty")
    return kept, connective


def _list(items: list[Form], connective: str) -> Form:
    flat: list[Form] = []
    for item in items:
        if isinstance(item, Items) and not item.braces:
            flat.extend(item.items)
        else:
            flat.append(item)
    areas = [area_of(item) for item in flat]
    if all(area is not None for area in areas) and any(isinstance(item, Named) for item in flat):
        regions = [area for area in areas if area is not None]
        both = regions[0]
        either = regions[0]
        for region in regions[1:]:
            both, either = intersect(both, region), union(either, region)
        chosen = either if connective == "or" or not both.parts else both
        names = {item.name for item in flat if isinstance(item, Named)}
        if len(names) == 1:
            return Named(names.pop(), Area(chosen), True)
    named = [item for item in flat if isinstance(item, Named)]
    if len(named) == 1 and named[0] is flat[0] and named[0].plain:
        return Named(named[0].name, Items((named[0].form, *flat[1:]), braces=False), True)
    return Items(tuple(flat), braces=False)


def _set(inside: list[Token]) -> Form:
    if not inside:
        return Items((), braces=True)
    for bar in ("|", ":"):
        halves = split_top(inside, {bar})
        if len(halves) == 2 and all(halves):
            name = split_top(halves[0], {"in"})
            if is_name(name[0]):
                return _unnamed(_value(halves[1]))
    parts = split_top(inside, {",", ";"})
    if not all(parts):
        raise Unreadable("not_understood")
    items: list[Form] = []
    for part in parts:
        item = _value(part)
        items.extend(item.items if isinstance(item, Items) and not item.braces else (item,))
    return Items(tuple(items), braces=True)


def _unnamed(form: Form) -> Form:
    return form.form if isinstance(form, Named) else form


def _cup(parts: list[Form]) -> Form:
    if all(isinstance(part, Items) and part.braces for part in parts):
        return Items(tuple(i for p in parts if isinstance(p, Items) for i in p.items), braces=True)
    names = {part.name for part in parts if isinstance(part, Named)}
    area = Area(union(*(points(part) for part in parts)))
    return Named(names.pop(), area, True) if len(names) == 1 else area


def _minus(parts: list[Form]) -> Form:
    region = points(parts[0])
    for part in parts[1:]:
        for point in points(part).parts:
            if point.low != point.high:
                raise Unreadable("not_understood")
            region = intersect(region, all_but(point.low))
    return Area(region)


def _matrix(tokens: list[Token]) -> Form:
    if not encloses(tokens) or ("matrix" not in tokens[0].text and "array" not in tokens[0].text):
        raise Unreadable("not_understood")
    rows = [row for row in split_top(tokens[1:-1], {"\\\\"}) if row]
    cells = tuple(tuple(_value(cell) for cell in split_top(row, {"&"})) for row in rows)
    if not cells or len({len(row) for row in cells}) != 1:
        raise Unreadable("not_understood")
    return Matrix(cells)


def _expanded_plus_minus(tokens: list[Token]) -> list[Token]:
    """`1 \\pm \\sqrt 2` to the list of both."""
    if not any(token.text in ("pm", "mp") and token.kind == "cmd" for token in tokens):
        return tokens
    out: list[Token] = []
    for part in split_top(tokens, {","}):
        if out:
            out.append(Token("op", ","))
        if part and opens(part[0]) and closes(part[-1]) and encloses(part):
            out.extend([part[0], *_expanded_plus_minus(part[1:-1]), part[-1]])
            continue
        sides = [
            [
                Token("op", plus if t.text == "pm" else minus, t.space)
                if t.kind == "cmd" and t.text in ("pm", "mp")
                else t
                for t in part
            ]
            for plus, minus in (("+", "-"), ("-", "+"))
        ]
        same = sides[0] == sides[1]
        lead = next((i for i, t in enumerate(part) if t.text == "=" and t.kind == "op"), -1)
        out.extend(sides[0] if same else [*sides[0], Token("op", ","), *sides[1][lead + 1 :]])
    return out


def _related(tokens: list[Token]) -> Form | None:
    """`x = 5`, `2 < x \\le 3`, `8 = 7`, `2x + y = 1`; None if there is no relation sign."""
    sides: list[list[Token]] = [[]]
    signs: list[str] = []
    depth = 0
    for token in tokens:
        depth += opens(token) - closes(token)
        if depth == 0 and token.kind in ("op", "cmd") and token.text in _RELATIONS:
            signs.append(_RELATIONS[token.text])
            sides.append([])
        else:
            sides[-1].append(token)
    if not signs:
        return None
    if signs == ["~"] and not sides[0]:
        return _value(sides[1])
    if not all(sides):
        raise Unreadable("not_understood")
    if "~" in signs:
        cut = signs.index("~")
        if cut == 0 and is_name(sides[0]):
            return Named(spelled(sides[0]), _value(sides[1]), True)
        sides, signs = sides[: cut + 1], signs[:cut]
        if not signs:
            return _value(sides[0])
    if set(signs) == {"="}:
        return _equation(sides)
    return _inequality(sides, signs)


def _equation(sides: list[list[Token]]) -> Form:
    if is_name(sides[-1]) and not is_name(sides[0]) and len(sides) == 2:
        sides = sides[::-1]
    last = _value(sides[-1])
    lead = sides[0]
    if is_name(lead):
        middle = [_quiet(side) for side in sides[1:-1]]
        _must_agree(middle, last)
        pair = None
        if len(lead) == 1 and isinstance(last, Scalar):
            pair = _equal_sides(parse(lead), last.node)
        return Named(spelled(lead), last, True, pair)
    forms = [_quiet(side) for side in sides[:-1]]
    scalars = [form for form in forms if isinstance(form, Scalar)]
    if not isinstance(last, Scalar):
        if isinstance(last, Group) and isinstance(forms[0], Group):
            return Named(spelled(lead), last, True)
        if forms[0] is None or isinstance(forms[0], Words) or is_label(lead):
            return Named(spelled(lead), last, True)
        raise Unreadable("not_understood")
    if not any(symbols(form.node) for form in (*scalars, last)):
        if forms[0] is None and any(t.kind == "cmd" and t.text in RESTATED for t in lead):
            return last  # \int ... = 1/2 does give the value
        if len(scalars) == len(forms):
            _must_agree(list(forms), last)
            return last
        if isinstance(forms[0], Words) or forms[0] is None:
            return Named(spelled(lead), last, is_label(lead))
        raise Unreadable("not_understood")
    if forms[0] is None or not isinstance(forms[0], Scalar):
        return Named(spelled(lead), last, False)
    relation = _equal_sides(forms[0].node, last.node)
    if pure(lead) and not symbols(last.node):
        return Named(spelled(lead), last, False, relation)
    return relation


def _equal_sides(left: Node, right: Node) -> Relation:
    return Relation(((_difference(left, right), "="),))


def _quiet(tokens: list[Token]) -> Form | None:
    try:
        return _value(tokens)
    except Unreadable:
        return None


def _must_agree(middle: Sequence[Form | None], last: Form) -> None:
    """The steps of x = 10/2 = 5 must say the same: 8 = 7 says nothing."""
    for form in middle:
        if not isinstance(form, Scalar) or not isinstance(last, Scalar) or symbols(form.node):
            continue
        if not units.agree(form.unit, last.unit) or equal(form.node, last.node):
            continue  # 60 min = 1 h: units are not converted
        in_percent = (form.unit == "%") != (last.unit == "%")
        low, high = (form, last) if last.unit == "%" else (last, form)
        hundred: Node = ("num", Fraction(100))
        if not in_percent or not equal(("mul", (hundred, low.node)), high.node):
            raise Unreadable("contradiction")


def _inequality(sides: list[list[Token]], signs: list[str]) -> Form:
    nodes = []
    for side in sides:
        form = _value(side)
        if not isinstance(form, Scalar):
            raise Unreadable("not_understood")
        nodes.append(form.node)
    variable = [i for i, node in enumerate(nodes) if node[0] == "sym"]
    others = [node for i, node in enumerate(nodes) if i not in variable]
    relation = Relation(
        tuple(
            (_difference(a, b), sign)
            for a, b, sign in zip(nodes[:-1], nodes[1:], signs, strict=True)
        )
    )
    if len(variable) == 1 and not any(symbols(node) for node in others) and len(nodes) <= 3:
        area = _half_lines(nodes, signs, variable[0])
        return Named(nodes[variable[0]][1], area, True, relation)
    return relation


def _half_lines(nodes: list[Node], signs: list[str], at: int) -> Area:
    region = Region((Interval(MINUS_INFINITY, False, INFINITY, False),))
    for index, sign in enumerate(signs):
        if index == at:
            bound, said = nodes[index + 1], sign
        elif index + 1 == at:
            bound, said = nodes[index], _FLIP[sign]
        else:
            raise Unreadable("not_understood")
        if said == "!=":
            part = all_but(bound)
        elif said in (">", ">="):
            part = Region((Interval(bound, said == ">=", INFINITY, False),))
        elif said in ("<", "<="):
            part = Region((Interval(MINUS_INFINITY, False, bound, said == "<="),))
        else:
            raise Unreadable("not_understood")
        region = intersect(region, part)
    return Area(region)


def _difference(a: Node, b: Node) -> Node:
    return ("add", (a, ("neg", b)))


def _relation_inside(tokens: list[Token]) -> bool:
    return any(token.kind in ("op", "cmd") and token.text in _RELATIONS for token in tokens)
