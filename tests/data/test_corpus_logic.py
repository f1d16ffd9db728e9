"""Puzzles and programs of the corpus: worked answers are right, guesses mostly not, none is held out."""

import json
import re
from random import Random

import pytest

from aha.data import corpus_logic
from aha.data.tasks import code_io
from aha.rewards.grade import grade

N = 300
ASKED = re.compile(r"(?:value of|value does|后，|变量) ?([ab])\b")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_worked_programs_are_right_and_guesses_mostly_not(lang):
    rng = Random(1)
    right = {True: [], False: []}
    for _ in range(N):
        question, thinking, answer = corpus_logic.program(rng, lang)
        code = question.split("```python\n")[1].split("\n```")[0]
        space = {}
        exec(code, {}, space)  # a program of ours, made of assignments and loops over range
        name = ASKED.search(question)[1]
        right[bool(thinking)].append(str(space[name]) == answer)
        assert not code_io.is_heldout(code, name)
    assert all(right[True])
    assert len(right[True]) > N / 4
    assert 0.05 < sum(right[False]) / len(right[False]) < 0.3


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_puzzles_name_an_assignment_and_longer_searches_are_more_often_right(lang):
    rng = Random(2)
    verdicts = {0: [], 1: []}
    for _ in range(N):
        question, thinking, answer = corpus_logic.puzzle(rng, lang)
        assert question
        assert answer
        verdicts[min(1, len(thinking))].append(_is_right(question, answer, lang))
    share = {long: sum(found) / len(found) for long, found in verdicts.items()}
    assert share[1] > 0.55 > share[0]


def _is_right(question, answer, lang):
    """Whether the assignment fits, by the grader, with the solution found from the words."""
    from tests.data.tasks.test_knights_task import solved

    (who,) = solved(question, lang)
    gold = json.dumps({"names": list(who), "solution": list(who.values())}, ensure_ascii=False)
    return grade("knights", gold, f"\\boxed{{{answer}}}").status == "correct"


def test_a_trace_puts_the_values_in():
    program = [("set", "a", 3), ("set", "b", ("*", ("name", "a"), 4)),
               ("for", "i", ("call", "range", 2),
                [("set", "a", ("+", ("name", "a"), ("name", "i")))])]  # fmt: skip
    assert code_io.trace(program) == [
        ("a", "3", 3), ("b", "3 * 4", 12), ("a", "3 + 0", 3), ("a", "3 + 1", 4),
    ]  # fmt: skip
