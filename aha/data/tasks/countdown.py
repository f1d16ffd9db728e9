"""Countdown: reach a target from given numbers, each used exactly once, with + - * / .

Solvable by construction: the numbers are combined at random, the result is the target. The grader
(kind "countdown") lives with the rewards; gold is the JSON {"numbers": [...], "target": n}.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from aha.data.query import Span
from aha.data.tasks import split
from aha.data.tasks.split import Item, Task, check_lang
from aha.errors import ConfigError
from aha.records import Prompt

WORDING = {
    "en": (
        "Using the numbers {numbers}, write an expression that equals {target}. Use each number "
        "exactly once, with +, -, *, / and parentheses.",
        "Make {target} from the numbers {numbers}. Each number must be used exactly once; "
        "+, -, *, / and parentheses are allowed.",
    ),
    "zh": (
        "用数字 {numbers} 写一个等于 {target} 的算式。"
        "每个数字恰好用一次，可以用 +、-、*、/ 和括号。",
        "请用 {numbers} 得到 {target}：每个数字必须恰好使用一次，允许 +、-、*、/ 和括号。",
    ),
}
"""Phrasings; {numbers} and {target} are replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Query keys."""

    numbers: Span = (3, 4)
    """How many numbers are given, 3..6, e.g. `4` or `3-4`."""
    largest: int = 50
    """Largest given number, 3..1000; the smallest is 1."""
    max_target: int = 100
    """Largest target, 10..10000; the smallest is 1."""
    ops: str = "+-*/"
    """Signs that the known solution is made of; the wording always allows all four."""
    lang: str = "en"
    """en, zh, or mix (each problem in either)."""
    seed: int = 0
    """Another seed, another stream; the split does not depend on it."""

    def __post_init__(self) -> None:
        low, high = self.numbers
        if not 3 <= low <= high <= 6:
            raise ConfigError(f"numbers={low}-{high}: write counts from 3 to 6, the smaller first")
        if not 3 <= self.largest <= 1000:
            raise ConfigError(f"largest={self.largest}: write 3 to 1000")
        if not 10 <= self.max_target <= 10_000:
            raise ConfigError(f"max_target={self.max_target}: write 10 to 10000")
        if not self.ops or not set(self.ops) <= set("+-*/") or "+" not in self.ops:
            raise ConfigError(f"ops={self.ops}: write + and some of - * /, without commas")
        if self.ops == "+" and low > self.max_target:
            raise ConfigError(f"max_target={self.max_target} is below the smallest sum")
        check_lang(self.lang)


def item(settings: Settings, index: int) -> Item:
    """Problem number `index` of the stream of these settings: a pure function of both."""
    rng = Random(f"aha countdown {settings.seed} {index}")
    numbers, target, solution = _solvable(settings, rng)
    lang = rng.choice(("en", "zh")) if settings.lang == "mix" else settings.lang
    prompt = Prompt(
        id=f"countdown-{settings.seed}-{index}",
        question=wording(numbers, target, lang, rng),
        gold=json.dumps({"numbers": numbers, "target": target}),
        kind="countdown",
        source="countdown",
        lang=lang,
        domain=f"countdown {len(numbers)} numbers",
        columns={"solution": solution},
    )
    return Item(prompt, canonical(numbers, target))


def wording(numbers: Sequence[int], target: int, lang: str, rng: Random) -> str:
    """The question in `lang` (en, zh), in one of the phrasings."""
    listed = ("、" if lang == "zh" else ", ").join(str(number) for number in numbers)
    return rng.choice(WORDING[lang]).replace("{numbers}", listed).replace("{target}", str(target))


def canonical(numbers: Sequence[int], target: int) -> str:
    """Sorted numbers and target: `countdown:2,3,7=42`."""
    return f"countdown:{','.join(str(number) for number in sorted(numbers))}={target}"


def is_heldout(numbers: Sequence[int], target: int) -> bool:
    """Whether the task holds this problem out."""
    return split.is_heldout(canonical(numbers, target))


def _solvable(settings: Settings, rng: Random) -> tuple[list[int], int, str]:
    """Numbers, a target within bounds, and an expression that reaches it.

    Drawn again until the target fits. After 20 misses the numbers are drawn smaller each time, so
    that a tight `max_target` cannot make this endless (all ones reach a target of at most 6).
    """
    miss = 0
    while True:
        largest = max(1, round(settings.largest * 0.9 ** max(0, miss - 20)))
        count = rng.randint(*settings.numbers)
        numbers = [rng.randint(1, largest) for _ in range(count)]
        target, solution = _combined(numbers, settings.ops, rng)
        if 1 <= target <= settings.max_target:
            return numbers, target, solution
        miss += 1


def _combined(numbers: list[int], ops: str, rng: Random) -> tuple[int, str]:
    """Combine all numbers at random: whole numbers of 0 and above at every step."""
    left = [(number, str(number)) for number in numbers]
    while len(left) > 1:
        a, writing_a = left.pop(rng.randrange(len(left)))
        b, writing_b = left.pop(rng.randrange(len(left)))
        if a < b:
            a, writing_a, b, writing_b = b, writing_b, a, writing_a
        fits = [sign for sign in ops if sign != "/" or (b != 0 and a % b == 0)]
        sign = rng.choice(fits)
        result = {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[sign]
        left.append((result, f"({writing_a} {sign} {writing_b})"))
    target, solution = left[0]
    return target, solution[1:-1]


TASK = Task("countdown", Settings, item)
