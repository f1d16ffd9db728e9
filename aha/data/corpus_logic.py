"""Small logic in the base model's corpus: knights and knaves, and programs that are followed by hand.

As in corpus_arithmetic, reliability belongs to the style: a *direct* answer is a guess, mostly wrong; a
*worked* one tries the assignments one after the other, or follows the program line by line, and is right
unless it gave up. Problems that the tasks `knights` and `code_io` hold out never appear.
"""

from itertools import product
from random import Random

from aha.data.corpus_arithmetic import BOXED, GIVE_UP, joined, off
from aha.data.corpus_words import PHRASES
from aha.data.tasks import arithmetic, code_io, knights

DIRECT = 0.5
"""Share of answers without work."""
GUESSED = {"knights": 0.4, "code": 0.15}
"""Share of those that happen to be right."""
LEVEL_2 = 0.3
"""Share of programs with a loop."""
MOST_STEPS = 9
"""Longer traces are not written."""

SUPPOSE = {
    "en": ("Suppose {}: ", "If {}: ", "Try {}: "),
    "zh": ("假设{}：", "如果{}：", "试试{}："),
}
_WORDS = {"en": ("{}'s words are {}", "true", "false"), "zh": ("{}的话是{}", "真的", "假的")}
FOLLOW = {
    "en": ("Follow the program: ", "Step by step: ", ""),
    "zh": ("一步一步来：", "看程序：", ""),
}


def puzzle(rng: Random, lang: str) -> tuple[str, str, str]:
    """Question, thinking and answer of a puzzle of two people that is not held out."""
    while True:
        statements = knights.statements_of(2, rng)
        if not knights.is_heldout(statements):
            break
    names = rng.sample(knights.NAMES[lang], 2)
    question = knights.wording(statements, names, lang, rng)
    solution = knights.solutions(statements)[0]
    rows = list(product((True, False), repeat=2))
    if rng.random() < DIRECT:
        guess = solution
        if rng.random() >= GUESSED["knights"]:
            guess = rng.choice([row for row in rows if row != solution])
        return question, "", knights.said(names, guess, lang)
    rng.shuffle(rows)
    tried = []
    for row in rows:
        tried.append(_tried(rng, statements, names, row, lang))
        if row == solution or rng.random() < GIVE_UP:
            break
    return question, joined(tried), knights.said(names, row, lang)


def _tried(
    rng: Random,
    statements: list[knights.Statement],
    names: list[str],
    row: tuple[bool, ...],
    lang: str,
) -> str:
    """One assignment: whose words would be true, and whether that fits."""
    form, true, false = _WORDS[lang]
    found = []
    fits = True
    for name, statement, knight in zip(names, statements, row, strict=True):
        is_true = knights.true_of(statement, row)
        found.append(form.format(name, true if is_true else false))
        if is_true != knight:
            fits = False
            break
    verdict = rng.choice(PHRASES[lang]["yes" if fits else "no"])
    gap, dot = ("，", "。") if lang == "zh" else (", ", ".")
    supposed = rng.choice(SUPPOSE[lang]).format(knights.said(names, row, lang))
    return supposed + gap.join([*found, verdict]) + dot


def program(rng: Random, lang: str) -> tuple[str, str, str]:
    """Question, thinking and answer of a program that is not held out."""
    while True:
        level = 2 if rng.random() < LEVEL_2 else 1
        lines, name, result = code_io.drawn(level, rng)
        written = code_io.text(lines)
        steps = code_io.trace(lines)
        if (
            len(steps) <= MOST_STEPS
            and not code_io.is_heldout(written, name)
            and not any(_is_heldout_sum(computed) for _, computed, _ in steps)
        ):
            break
    question = code_io.wording(written, name, lang, rng)
    if rng.random() < DIRECT:
        guess = result if rng.random() < GUESSED["code"] else off(rng, result)
        return question, "", str(guess)
    said = [
        f"{name} = {computed}" + (f" = {value}" if computed != str(value) else "")
        for name, computed, value in steps
    ]
    dot = "。" if lang == "zh" else "."
    return question, rng.choice(FOLLOW[lang]) + ", ".join(said) + dot, str(result)


def _is_heldout_sum(computed: str) -> bool:
    """Whether a step such as `8 + (3 * 4)` is a problem that the task `arithmetic` holds out."""
    return arithmetic.is_heldout(computed.replace("(", "").replace(")", ""))


def named(rng: Random, answer: str, lang: str) -> str:
    """The last sentence, which names the answer."""
    answer = f"\\boxed{{{answer}}}" if rng.random() < BOXED else answer
    return f"答案是 {answer}" if lang == "zh" else f"The answer is {answer}"
