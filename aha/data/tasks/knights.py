"""Knights and knaves: who always tells the truth, and who always lies, from what each of them says.

A statement is a tree: ("is", person, True) for `... is a knight`, ("same", a, b, True) for `... are of
the same kind`, or ("and" | "or" | "iff", left, right). People are numbers; True is a knight, a truth, the
same. Every puzzle has exactly one solution (all assignments are tried).

The canonical form is what the statements mean: for each person the assignments under which the
statement is true, in the order of people that makes it smallest. So neither wording nor names nor the
order of people makes another problem. The grader (kind "knights") lives with the rewards.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from random import Random
from typing import Any

from aha.data.query import Span
from aha.data.tasks import split
from aha.data.tasks.split import Item, Task, check_lang
from aha.errors import ConfigError
from aha.records import Prompt

Statement = tuple[Any, ...]

NAMES = {
    "en": ("Ann", "Bob", "Dan", "Eva", "Ian", "Kim", "Leo", "Mia", "Sam", "Zoe"),
    "zh": ("小明", "小红", "小刚", "小丽", "小华", "小军", "小芳", "小强", "小梅", "小龙"),
}
WORDING = {
    "en": (
        "Knights always tell the truth, knaves always lie. {said} "
        'Who is what? Answer for each of them in the form "NAME is a knight" or "NAME is a knave".',
        "On an island live knights, who only say what is true, and knaves, who only say what is false. "
        '{said} Say of each whether it is "NAME is a knight" or "NAME is a knave".',
    ),
    "zh": (
        "骑士总说真话，无赖总说假话。{said}谁是骑士，谁是无赖？"
        "请对每个人写出“某某是骑士”或“某某是无赖”。",
        "岛上只有骑士和无赖：骑士只说真话，无赖只说假话。{said}请判断每个人的身份，"
        "写成“某某是骑士”或“某某是无赖”。",
    ),
}
"""Phrasings; {said} is where the statements go."""
_SAYS = {"en": '{} says: "{}."', "zh": "{}说：“{}。”"}
_KIND = {"en": {True: "a knight", False: "a knave"}, "zh": {True: "骑士", False: "无赖"}}
_JOINS = {
    "en": {"and": "{} and {}", "or": "{} or {}", "iff": "{} if and only if {}"},
    "zh": {"and": "{}，并且{}", "or": "{}，或者{}", "iff": "{}，当且仅当{}"},
}
_SAME = {
    "en": {True: "{} and {} are of the same kind", False: "{} and {} are of different kinds"},
    "zh": {True: "{}和{}是同一类人", False: "{}和{}不是同一类人"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Query keys."""

    people: Span = (2, 3)
    """How many people speak, 2..4, e.g. `3` or `2-4`."""
    lang: str = "en"
    """en, zh, or mix (each problem in either)."""
    seed: int = 0
    """Another seed, another stream; the split does not depend on it."""

    def __post_init__(self) -> None:
        low, high = self.people
        if not 2 <= low <= high <= 4:
            raise ConfigError(f"people={low}-{high}: write numbers from 2 to 4, the smaller first")
        check_lang(self.lang)


def item(settings: Settings, index: int) -> Item:
    """Problem number `index` of the stream of these settings: a pure function of both."""
    rng = Random(f"aha knights {settings.seed} {index}")
    people = rng.randint(*settings.people)
    statements = statements_of(people, rng)
    lang = rng.choice(("en", "zh")) if settings.lang == "mix" else settings.lang
    names = rng.sample(NAMES[lang], people)
    gold = {"names": names, "solution": list(solutions(statements)[0])}
    prompt = Prompt(
        id=f"knights-{settings.seed}-{index}",
        question=wording(statements, names, lang, rng),
        gold=json.dumps(gold, ensure_ascii=False),
        kind="knights",
        source="knights",
        lang=lang,
        domain=f"knights {people} people",
        columns={"statements": json.loads(json.dumps(statements))},
    )
    return Item(prompt, canonical(statements))


def wording(statements: Sequence[Statement], names: Sequence[str], lang: str, rng: Random) -> str:
    """The question in `lang` (en, zh), in one of the phrasings."""
    lines = [
        _SAYS[lang].format(names[speaker], _spoken(statement, speaker, names, lang))
        for speaker, statement in enumerate(statements)
    ]
    return rng.choice(WORDING[lang]).replace("{said}", ("" if lang == "zh" else " ").join(lines))


def true_of(statement: Sequence[Any], assigned: Sequence[bool]) -> bool:
    """Whether a statement is true where `assigned` says who is a knight."""
    form, *parts = statement
    if form == "is":
        return assigned[parts[0]] == parts[1]
    if form == "same":
        return (assigned[parts[0]] == assigned[parts[1]]) == parts[2]
    left, right = (true_of(part, assigned) for part in parts)
    return {"and": left and right, "or": left or right, "iff": left == right}[form]


def solutions(statements: Sequence[Sequence[Any]]) -> list[tuple[bool, ...]]:
    """Every way in which exactly the knights say what is true; one person for each statement."""
    return [
        assigned
        for assigned in product((True, False), repeat=len(statements))
        if all(
            true_of(statement, assigned) == assigned[speaker]
            for speaker, statement in enumerate(statements)
        )
    ]


def canonical(statements: Sequence[Sequence[Any]]) -> str:
    """What is said, whatever the words: `knights:3:1c,5a,e4`, a bit for each assignment."""
    people = len(statements)
    rows = list(product((True, False), repeat=people))
    true = [{row: true_of(statement, row) for row in rows} for statement in statements]
    best: list[int] = []
    for order in permutations(range(people)):  # order[old] = new
        meant = [0] * people
        for old, new in enumerate(order):
            for row in rows:
                by_old = tuple(row[place] for place in order)
                meant[new] = 2 * meant[new] + true[old][by_old]
        best = min(best or meant, meant)
    return f"knights:{people}:{','.join(f'{bits:x}' for bits in best)}"


def is_heldout(statements: Sequence[Sequence[Any]]) -> bool:
    """Whether the task holds this problem out."""
    return split.is_heldout(canonical(statements))


def statements_of(people: int, rng: Random) -> list[Statement]:
    """Statements, one of each person, that have exactly one solution; drawn until they do."""
    while True:
        statements = [_statement(speaker, people, rng) for speaker in range(people)]
        if len(solutions(statements)) == 1:
            return statements


def said(names: Sequence[str], solution: Sequence[bool], lang: str) -> str:
    """An assignment in words: `Ann is a knight, Bob is a knave`."""
    verb, gap = ("是", "，") if lang == "zh" else (" is ", ", ")
    who = zip(names, solution, strict=True)
    return gap.join(f"{name}{verb}{_KIND[lang][knight]}" for name, knight in who)


def _statement(speaker: int, people: int, rng: Random) -> Statement:
    if rng.random() < 0.4:
        return _simple(speaker, people, rng)
    form = rng.choice(("and", "or", "iff"))
    left = _simple(None, people, rng)
    while True:
        right = _simple(None, people, rng)
        if _about(left) != _about(right):
            return (form, left, right)


def _simple(speaker: int | None, people: int, rng: Random) -> Statement:
    """About anybody; alone, a speaker says nothing of only himself."""
    if rng.random() < 0.6:
        others = [person for person in range(people) if person != speaker]
        return ("is", rng.choice(others), rng.random() < 0.5)
    a, b = sorted(rng.sample(range(people), 2))
    return ("same", a, b, rng.random() < 0.5)


def _about(statement: Statement) -> set[int]:
    return {statement[1]} if statement[0] == "is" else {statement[1], statement[2]}


def _spoken(statement: Statement, speaker: int, names: Sequence[str], lang: str) -> str:
    """A statement in the speaker's words."""
    form, *parts = statement
    if form == "is":
        who = _named(parts[0], speaker, names, lang)
        if lang == "zh":
            return f"{who}是{_KIND[lang][parts[1]]}"
        return f"{who} {'am' if parts[0] == speaker else 'is'} {_KIND[lang][parts[1]]}"
    if form == "same":
        a, b = parts[:2]
        if speaker == (b if lang == "zh" else a):  # "Bob and I", but 我和小明
            a, b = b, a
        pair = [_named(person, speaker, names, lang) for person in (a, b)]
        return _SAME[lang][parts[2]].format(*pair)
    spoken = [_spoken(part, speaker, names, lang) for part in parts]
    return _JOINS[lang][form].format(*spoken)


def _named(person: int, speaker: int, names: Sequence[str], lang: str) -> str:
    if person != speaker:
        return names[person]
    return "我" if lang == "zh" else "I"


TASK = Task("knights", Settings, item, usual=(2000, 200))
