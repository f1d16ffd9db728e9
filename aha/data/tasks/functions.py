"""Functions to be written in Python: one to three small operations, one after another, and hidden tests.

    Write a Python function f(x). x is a list of integers: keep only the even numbers, then add up its
    numbers. Return the result.

The expected values are computed by the operations themselves (`operations.py`). Every operation of a
chain matters: leaving one out gives other values on the probes. The canonical form is what the
function does to the probes, so two ways to say the same function are one problem.
The grader (kind "code", form "call") lives with the rewards.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

from aha.data.query import Span
from aha.data.tasks import split
from aha.data.tasks.operations import LIST, NUMBER, OPERATIONS, TEXT, TRUTH, Operation
from aha.data.tasks.split import Item, Task, check_lang
from aha.errors import ConfigError
from aha.records import Prompt

WORDING = {
    "en": (
        "Write a Python function f(x). x is {takes}: {steps}. Return the result.",
        "Write f(x) in Python, where x is {takes}. What it does: {steps}. It returns the result.",
    ),
    "zh": (
        "写一个 Python 函数 f(x)。x 是{takes}：{steps}。返回结果。",
        "用 Python 写函数 f(x)，其中 x 是{takes}。要求：{steps}，并返回结果。",
    ),
}
"""Phrasings; {takes} and {steps} are replaced."""
TAKES = {
    "en": {NUMBER: "an integer", TEXT: "a string", LIST: "a list of integers"},
    "zh": {NUMBER: "整数", TEXT: "字符串", LIST: "整数列表"},
}
EDGES: dict[str, tuple[Any, ...]] = {
    NUMBER: (0, 1, -1, 7, 10, -12, 100),
    TEXT: ("", "a", "Level", "The quick brown Fox", "  two  spaces ", "noon", "AEIOU xyz"),
    LIST: (
        [],
        [0],
        [5],
        [-3],
        [2, 2, 2],
        [3, -1, 4, 1, -5, 9],
        [10, 20, 30],
        [1, 2, 3, 4, 5, 6, 7],
    ),
}
"""Inputs that are easily forgotten."""
_WORDS = (
    "apple",
    "Bob",
    "cat",
    "Echo",
    "green",
    "Hello",
    "moon",
    "one",
    "river",
    "Sky",
    "stats",
    "tree",
)
CASES = 10
"""Hidden tests of a problem."""
TRIES = 10
"""Draws of hidden tests for one chain."""
LARGEST, LONGEST = 10**9, 200
"""Values above, and texts and lists longer than this are not asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Query keys."""

    level: Span = (1, 2)
    """Operations in a chain, 1..3, e.g. `2` or `1-3`."""
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
    rng = Random(f"aha functions {settings.seed} {index}")
    steps, cases = _drawn(rng.randint(*settings.level), rng)
    lang = rng.choice(("en", "zh")) if settings.lang == "mix" else settings.lang
    gold = {"form": "call", "entry": "f", "cases": cases, "seconds": 2}
    names = [step.name for step in steps]
    prompt = Prompt(
        id=f"functions-{settings.seed}-{index}",
        question=wording(steps, lang, rng),
        gold=json.dumps(gold, ensure_ascii=False),
        kind="code",
        source="functions",
        lang=lang,
        domain=f"functions {len(steps)}",
        columns={"steps": names, "solution": solution(steps)},
    )
    return Item(prompt, canonical(names))


def wording(steps: Sequence[Operation], lang: str, rng: Random) -> str:
    """The question in `lang` (en, zh), in one of the phrasings."""
    said = [getattr(step, lang) for step in steps]
    joined = "，然后".join(said) if lang == "zh" else ", then ".join(said)
    takes = TAKES[lang][steps[0].takes]
    return rng.choice(WORDING[lang]).replace("{takes}", takes).replace("{steps}", joined)


def value(steps: Sequence[Operation], x: Any) -> Any:
    """What the function gives."""
    for step in steps:
        x = step.compute(x)
    return x


def solution(steps: Sequence[Operation]) -> str:
    """The function as Python."""
    lines = ["def f(x):", *(f"    x = {step.code}" for step in steps), "    return x"]
    return "\n".join(lines)


def canonical(names: Sequence[str]) -> str:
    """What the function does to the probes: `functions:list:` and a hash."""
    steps = [OPERATIONS[name] for name in names]
    takes = steps[0].takes
    return f"functions:{takes}:{hashlib.sha256(_behaviour(steps, takes).encode()).hexdigest()[:24]}"


def is_heldout(names: Sequence[str]) -> bool:
    """Whether the task holds this problem out."""
    return split.is_heldout(canonical(names))


def _drawn(level: int, rng: Random) -> tuple[list[Operation], list[dict[str, Any]]]:
    """A chain in which everything matters, and its hidden tests; drawn until there is one."""
    while True:
        takes = rng.choice((NUMBER, TEXT, LIST))
        steps: list[Operation] = []
        for place in range(level):
            fitting = [
                each
                for each in OPERATIONS.values()
                if each.takes == (steps[-1].gives if steps else takes)
                and (each.gives != TRUTH or place == level - 1)
            ]
            steps.append(rng.choice(fitting))
        if _matters(steps) and (cases := _cases(steps, rng)):
            return steps, cases


def _matters(steps: Sequence[Operation]) -> bool:
    """Whether every step changes what the function does, and its values stay small."""
    try:
        does = _behaviour(steps, steps[0].takes)
    except _TooLarge:
        return False
    return all(does != _or_else(rest, steps[0].takes) for rest in _shorter(steps))


def _shorter(steps: Sequence[Operation]) -> list[list[Operation]]:
    """The chain with one step left out, where what is left is a chain."""
    rests = [[*steps[:place], *steps[place + 1 :]] for place in range(len(steps))]
    fitting = [rest for rest in rests if all(a.gives == b.takes for a, b in pairwise(rest))]
    return [rest for rest in fitting if not rest or rest[0].takes == steps[0].takes]


def _or_else(steps: Sequence[Operation], takes: str) -> str:
    try:
        return _behaviour(steps, takes)
    except _TooLarge:
        return ""


class _TooLarge(Exception):
    pass


def _behaviour(steps: Sequence[Operation], takes: str) -> str:
    """The values on all probes of a type; of no step at all, the probes.

    Raises:
        _TooLarge: one of them.
    """
    found = []
    for x in PROBES[takes]:
        y = x
        for step in steps:
            y = step.compute(y)
            parts = y if isinstance(y, list) else [y]
            if isinstance(y, str | list) and len(y) > LONGEST:
                raise _TooLarge
            if any(isinstance(part, int) and abs(part) > LARGEST for part in parts):
                raise _TooLarge
        found.append(y)
    return json.dumps(found)


def _cases(steps: Sequence[Operation], rng: Random) -> list[dict[str, Any]]:
    """Hidden tests, edges among them, that no constant and no rival passes; [] at bad luck."""
    takes, half = steps[0].takes, CASES // 2
    edges, drawn = EDGES[takes], PROBES[takes][len(EDGES[takes]) :]
    rivals = _rivals(steps)
    for _ in range(TRIES):
        inputs = [*rng.sample(edges, half), *rng.sample(drawn, CASES - half)]
        wanted = [value(steps, x) for x in inputs]
        different = len({json.dumps(each) for each in wanted})
        constant = different < (2 if steps[-1].gives == TRUTH else 4)
        if not constant and all([value(r, x) for x in inputs] != wanted for r in rivals):
            return [{"args": [x], "expected": each} for x, each in zip(inputs, wanted, strict=True)]
    return []


def _rivals(steps: Sequence[Operation]) -> list[list[Operation]]:
    """Chains that are nearly this one, and do something else: a step less, or a number by one off."""
    near = _shorter(steps)
    for place, step in enumerate(steps):
        name, _, k = step.name.partition(" ")
        for other in (f"{name} {int(k) - 1}", f"{name} {int(k) + 1}") if k else ():
            if other in OPERATIONS:
                near.append([*steps[:place], OPERATIONS[other], *steps[place + 1 :]])
    takes = steps[0].takes
    does = _behaviour(steps, takes)
    return [rival for rival in near if _or_else(rival, takes) != does]


def _made(takes: str) -> list[Any]:
    """The probes of a type: its edges and some drawn ones."""
    rng = Random(f"aha functions probes {takes}")
    drawn: list[Any] = []
    for _ in range(24):
        if takes == NUMBER:
            drawn.append(rng.randint(-150, 150))
        elif takes == LIST:
            drawn.append([rng.randint(-9, 20) for _ in range(rng.randint(3, 11))])
        else:
            words = [rng.choice(_WORDS) for _ in range(rng.randint(1, 4))]
            drawn.append(" ".join(words))
    return [*EDGES[takes], *drawn]


PROBES = {takes: _made(takes) for takes in (NUMBER, TEXT, LIST)}
"""Inputs by type on which functions are compared."""

TASK = Task("functions", Settings, item, usual=(1000, 100))
