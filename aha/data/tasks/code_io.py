"""Small programs whose result is to be predicted.

    a = 7
    b = a * 3
    a = b - 4          What is the value of a after this program?

A program is a tree of statements that is written as Python (`text`) and followed step by step (`run`): no
text is executed. The program is the canonical form. The grader (kind "code_io") lives with the rewards;
the gold is the value as a Python literal.

Statements: ("set", name, e), ("for", name, e, body), ("while", e, body), ("if", e, body, otherwise),
("append", name, e). Expressions: whole numbers, texts, names as ("name", n), ("list", ...), (sign, a, b),
("call", "len" | "sum" | "max" | "min" | "range" | "sorted", e), ("at", e, e), ("back", e) for e[::-1].
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from aha.data.query import Span
from aha.data.tasks import split
from aha.data.tasks.split import Item, Task, check_lang
from aha.errors import ConfigError
from aha.records import Prompt

Expression = Any
Statement = tuple[Any, ...]

WORDING = {
    "en": (
        "What is the value of {name} after this Python program? Write it as a Python literal.\n\n{program}",
        "This Python program runs to its end. Which value does {name} have then? Write it as in Python."
        "\n\n{program}",
    ),
    "zh": (
        "运行下面的 Python 程序后，{name} 的值是什么？请写成 Python 字面量。\n\n{program}",
        "下面的 Python 程序运行结束时，变量 {name} 等于什么？请按 Python 的写法给出。\n\n{program}",
    ),
}
"""Phrasings; {name} and {program} are replaced."""
STEPS = 200
"""Statements after which a program counts as endless."""
LARGEST, LONGEST = 9999, 12
"""Larger numbers, and longer lists and texts, are not asked about."""
_TEXTS = ("apple", "banana", "level", "orange", "python", "river", "summer", "tomato")


class _Unfit(Exception):
    """The program does not end soon, or its values grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Query keys."""

    level: Span = (1, 2)
    """1: assignments; 2: one loop; 3: lists, texts, branches in loops, loops in loops. E.g. `1-3`."""
    lang: str = "en"
    """en, zh, or mix (each problem in either)."""
    seed: int = 0
    """Another seed, another stream; the split does not depend on it."""

    def __post_init__(self) -> None:
        low, high = self.level
        if not 1 <= low <= high <= 3:
            raise ConfigError(f"level={low}-{high}: write numbers from 1 to 3, the smaller first")
        check_lang(self.lang)


def item(settings: Settings, index: int) -> Item:
    """Problem number `index` of the stream of these settings: a pure function of both."""
    rng = Random(f"aha code_io {settings.seed} {index}")
    level = rng.randint(*settings.level)
    program, name, result = drawn(level, rng)
    lang = rng.choice(("en", "zh")) if settings.lang == "mix" else settings.lang
    written = text(program)
    prompt = Prompt(
        id=f"code_io-{settings.seed}-{index}",
        question=wording(written, name, lang, rng),
        gold=json.dumps({"form": "output", "value": repr(result)}, ensure_ascii=False),
        kind="code_io",
        source="code_io",
        lang=lang,
        domain=f"code_io {level}",
        columns={"program": written, "name": name},
    )
    return Item(prompt, canonical(written, name))


def wording(written: str, name: str, lang: str, rng: Random) -> str:
    """The question in `lang` (en, zh), in one of the phrasings."""
    block = f"```python\n{written}\n```"
    return rng.choice(WORDING[lang]).replace("{name}", name).replace("{program}", block)


def canonical(written: str, name: str) -> str:
    """The program and what is asked of it."""
    return f"code_io:{name}:{written}"


def is_heldout(written: str, name: str) -> bool:
    """Whether the task holds this problem out."""
    return split.is_heldout(canonical(written, name))


# -- following a program --------------------------------------------------------------------------


def run(program: Sequence[Statement], space: dict[str, Any] | None = None) -> dict[str, Any]:
    """The variables when the program has ended.

    Raises:
        _Unfit: it does not end soon, or a value grows too large.
    """
    space = {} if space is None else space
    left = [STEPS]
    _run(program, space, left)
    return space


def _run(body: Sequence[Statement], space: dict[str, Any], left: list[int]) -> None:
    for form, *parts in body:
        left[0] -= 1
        if left[0] < 0:
            raise _Unfit
        if form == "set":
            space[parts[0]] = _small(value(parts[1], space))
        elif form == "append":
            _small([*space[parts[0]], value(parts[1], space)])
            space[parts[0]].append(value(parts[1], space))
        elif form == "for":
            for each in value(parts[1], space):
                space[parts[0]] = each
                _run(parts[2], space, left)
        elif form == "while":
            while value(parts[0], space):
                _run(parts[1], space, left)
        else:
            _run(parts[1] if value(parts[0], space) else parts[2], space, left)


def value(expression: Expression, space: dict[str, Any]) -> Any:
    """What an expression is worth."""
    if isinstance(expression, int | str):
        return expression
    form, *parts = expression
    if form == "name":
        return space[parts[0]]
    if form == "call":
        given = value(parts[1], space)
        return list(range(given)) if parts[0] == "range" else _CALLS[parts[0]](given)
    found = [value(part, space) for part in parts]
    return found if form == "list" else _SIGNS[form](*found)


_CALLS: dict[str, Any] = {"len": len, "sum": sum, "max": max, "min": min, "sorted": sorted}
_SIGNS: dict[str, Any] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    "==": lambda a, b: a == b,
    "in": lambda a, b: a in b,
    "at": lambda a, b: a[b],
    "back": lambda a: a[::-1],
}


def _small(found: Any) -> Any:
    parts = found if isinstance(found, list) else [found]
    if isinstance(found, str | list) and len(found) > LONGEST:
        raise _Unfit
    if any(isinstance(part, int) and abs(part) > LARGEST for part in parts):
        raise _Unfit
    return found


# -- writing it -----------------------------------------------------------------------------------


def trace(program: Sequence[Statement]) -> list[tuple[str, str, Any]]:
    """Every assignment as it happens: (name, what is computed with the values put in, result).

    Of `a = 3; a = a * 4`: ("a", "3", 3), ("a", "3 * 4", 12). Programs without lists' `append` only.
    """
    done: list[tuple[str, str, Any]] = []
    space: dict[str, Any] = {}

    def follow(body: Sequence[Statement]) -> None:
        for form, *parts in body:
            if form == "set":
                result = value(parts[1], space)
                done.append((parts[0], written(_filled(parts[1], space)), result))
                space[parts[0]] = result
            elif form == "for":
                for each in value(parts[1], space):
                    space[parts[0]] = each
                    follow(parts[2])
            elif form == "while":
                while value(parts[0], space):
                    follow(parts[1])
            else:
                follow(parts[1] if value(parts[0], space) else parts[2])

    follow(program)
    return done


def _filled(expression: Expression, space: dict[str, Any]) -> Expression:
    """An expression with values in place of names."""
    if isinstance(expression, int | str):
        return expression
    form, *parts = expression
    if form == "name":
        return space[parts[0]]
    keep = 1 if form == "call" else 0  # the name of what is called
    return (form, *parts[:keep], *(_filled(part, space) for part in parts[keep:]))


def text(program: Sequence[Statement], indent: str = "") -> str:
    """The program as Python."""
    lines = []
    for form, *parts in program:
        if form == "set":
            lines.append(f"{indent}{parts[0]} = {written(parts[1])}")
        elif form == "append":
            lines.append(f"{indent}{parts[0]}.append({written(parts[1])})")
        else:
            head = {"for": f"for {parts[0]} in {{}}:", "while": "while {}:", "if": "if {}:"}[form]
            asked, body = (parts[1], parts[2]) if form == "for" else (parts[0], parts[1])
            lines += [indent + head.replace("{}", written(asked)), text(body, indent + "    ")]
            if form == "if" and parts[2]:
                lines += [f"{indent}else:", text(parts[2], indent + "    ")]
    return "\n".join(lines)


def written(expression: Expression, inner: bool = False) -> str:
    """An expression as Python."""
    if isinstance(expression, int | str):
        return repr(expression)
    form, *parts = expression
    if form == "name":
        return str(parts[0])
    if form == "call":
        return f"{parts[0]}({written(parts[1])})"
    if form == "list":
        return f"[{', '.join(written(part) for part in parts)}]"
    if form == "back":
        return f"{written(parts[0], True)}[::-1]"
    if form == "at":
        return f"{written(parts[0], True)}[{written(parts[1])}]"
    said = f"{written(parts[0], True)} {form} {written(parts[1], True)}"
    return f"({said})" if inner else said


# -- drawing one ----------------------------------------------------------------------------------


def drawn(level: int, rng: Random) -> tuple[list[Statement], str, Any]:
    """A program that ends, the variable that is asked about, and its value."""
    while True:
        make = rng.choice(_MAKERS[level])
        program, name = make(rng)
        try:
            space = run(program)
        except (_Unfit, ZeroDivisionError, IndexError):
            continue
        if space[name] not in ("", []):
            return program, name, space[name]


def _n(name: str) -> tuple[str, str]:
    return ("name", name)


def _numbers(rng: Random, low: int = 3, high: int = 5) -> tuple[Any, ...]:
    return ("list", *(rng.randint(1, 9) for _ in range(rng.randint(low, high))))


def _assignments(rng: Random) -> tuple[list[Statement], str]:
    """Three to five assignments to a and b, each from what was there before."""
    program: list[Statement] = [("set", "a", rng.randint(2, 12)), ("set", "b", rng.randint(2, 12))]
    name = "a"
    for _ in range(rng.randint(1, 3)):
        name = rng.choice("ab")
        sign = rng.choice(("+", "-", "*", "//", "%"))
        left, right = rng.sample((_n("a"), _n("b")), 2)
        small = rng.randint(2, 5)
        part: Expression = (sign, left, right if sign in "+-" and rng.random() < 0.6 else small)
        if rng.random() < 0.4:
            part = (rng.choice("+-"), part, rng.choice((right, small)))
        program.append(("set", name, part))
    return program, name


def _counting(rng: Random) -> tuple[list[Statement], str]:
    """A loop over range that changes a."""
    sign = rng.choice("+-")
    step = rng.choice(
        (_n("i"), ("*", _n("i"), rng.randint(2, 4)), ("+", _n("i"), rng.randint(1, 5)))
    )
    body: list[Statement] = [("set", "a", (sign, _n("a"), step))]
    if rng.random() < 0.3:
        body = [("set", "a", ("-", ("*", _n("a"), 2), _n("i")))]
    loop = ("for", "i", ("call", "range", rng.randint(3, 6)), body)
    return [("set", "a", rng.randint(0, 20)), loop], "a"


def _picking(rng: Random) -> tuple[list[Statement], str]:
    """A loop over a list that adds up some of its numbers, or counts them."""
    asked = rng.choice(
        (("==", ("%", _n("v"), 2), rng.randint(0, 1)), (">", _n("v"), rng.randint(2, 6)))
    )
    change = rng.choice((_n("v"), 1, ("*", _n("v"), 2)))
    otherwise: list[Statement] = []
    if rng.random() < 0.4:
        otherwise = [("set", "a", ("-", _n("a"), rng.randint(1, 3)))]
    body = [("if", asked, [("set", "a", ("+", _n("a"), change))], otherwise)]
    return [("set", "a", rng.randint(0, 5)), ("for", "v", _numbers(rng), body)], "a"


def _falling(rng: Random) -> tuple[list[Statement], str]:
    """A while loop that makes a smaller and counts or sums in b."""
    down = rng.choice((("//", _n("a"), rng.randint(2, 3)), ("-", _n("a"), rng.randint(3, 7))))
    body = [
        ("set", "b", ("+", _n("b"), rng.choice((1, _n("a"))))),
        ("set", "a", down),
    ]
    start = [("set", "a", rng.randint(15, 60)), ("set", "b", 0)]
    return [*start, ("while", (">", _n("a"), rng.randint(2, 9)), body)], rng.choice("ab")


def _building(rng: Random) -> tuple[list[Statement], str]:
    """A list built from another, with a branch; perhaps one number of it."""
    k, m = rng.randint(2, 6), rng.randint(2, 4)
    one = ("append", "b", rng.choice((("*", _n("v"), m), ("+", _n("v"), m), ("-", _n("v"), m))))
    other = ("append", "b", rng.choice((_n("v"), 0, ("-", k, _n("v")))))
    branch = ("if", rng.choice(((">", _n("v"), k), ("==", ("%", _n("v"), m), 0))), [one], [other])
    program: list[Statement] = [
        ("set", "a", _numbers(rng)),
        ("set", "b", ("list",)),
        ("for", "v", _n("a"), [branch]),
    ]
    last = rng.choice(
        (
            None,
            ("back", _n("b")),
            ("call", "sorted", _n("b")),
            ("-", ("call", "sum", _n("b")), ("call", "len", _n("a"))),
            ("-", ("call", "max", _n("b")), ("call", "min", _n("b"))),
            ("at", _n("b"), rng.randint(-2, 2)),
        )
    )
    if last is None:
        return program, "b"
    return [*program, ("set", "c", last)], "c"


def _spelling(rng: Random) -> tuple[list[Statement], str]:
    """A text built character by character."""
    word = rng.choice(_TEXTS)
    asked = rng.choice(
        (
            ("in", _n("c"), "aeiou"),
            ("==", _n("c"), rng.choice(word)),
            (">", _n("c"), rng.choice(word)),
        )
    )
    front, behind = ("+", _n("c"), _n("t")), ("+", _n("t"), _n("c"))
    one = (
        "set",
        "t",
        rng.choice((front, ("+", behind, _n("c")), ("+", _n("t"), rng.choice("*-")))),
    )
    branch = ("if", asked, [one], rng.choice(([], [("set", "t", behind)])))
    program: list[Statement] = [
        ("set", "s", word),
        ("set", "t", ""),
        ("for", "c", _n("s"), [branch]),
    ]
    if rng.random() < 0.3:
        return [*program, ("set", "n", ("call", "len", _n("t")))], "n"
    return program, "t"


def _nested(rng: Random) -> tuple[list[Statement], str]:
    """A loop in a loop."""
    change = rng.choice(
        (("*", _n("i"), _n("j")), ("+", _n("i"), _n("j")), ("-", _n("i"), _n("j")), 1)
    )
    inner = ("for", "j", ("call", "range", rng.choice((_n("i"), rng.randint(2, 3)))),
             [("set", "a", ("+", _n("a"), change))])  # fmt: skip
    outer = ("for", "i", ("call", "range", rng.randint(3, 5)), [inner])
    return [("set", "a", rng.randint(0, 9)), outer], "a"


_MAKERS = {
    1: (_assignments,),
    2: (_counting, _picking, _falling),
    3: (_building, _spelling, _nested),
}

TASK = Task("code_io", Settings, item, usual=(2000, 200))
