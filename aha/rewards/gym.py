"""The grader of kind "gym": the task's own scorer, from the package reasoning-gym.

A score of 1, the package's full mark, is correct; less is wrong, with the score as the reason: the
package pays small marks for wrong answers (0.01 for anything), which a model would learn to collect.
Some scorers raise on an answer that they cannot read: if the same scorer takes the problem's own
answer for right, the text is "unparsed", else the failure is ours.

Scorers that hand the answer to Python are kept from running it. Four use `eval` to read a list: here
they get `ast.literal_eval`, which reads values and runs nothing. Five use sympy's parser, which
evaluates what it reads: an answer must first be an expression of numbers, single letters, + - * / **
and a few functions, or it is wrong.

Not covered: the time of a scorer (the pool's deadline), its memory (the worker's limit), mistakes
of the package.
"""

import ast
import json
import math
import re
import sys
from typing import Any

from aha.data.tasks import gym
from aha.errors import ConfigError
from aha.records import Grade
from aha.rewards.answer import Extracted

MAX_CHARS = 4096
LITERALS = ("binary_matrix", "n_queens", "spiral_matrix", "string_insertion")
"""Tasks whose scorer calls eval on the answer."""
EXPRESSIONS = (
    "countdown",
    "intermediate_integration",
    "polynomial_multiplication",
    "puzzle24",
    "simple_integration",
)
"""Tasks whose scorer hands the answer to sympy.parse_expr."""
_NAME = (
    r"(?:(?:a?(?:sin|cos|tan)h?|sec|csc|cot|exp|log|ln|sqrt|Abs|erf)(?=\s*\()"
    r"|pi(?![A-Za-z])|[A-Za-z](?![A-Za-z]|\s*\())"
)
_PLAIN = re.compile(rf"(?:\s|\d{{1,15}}(?:\.\d{{1,15}})?(?![\d.A-Za-z])|{_NAME}|\*\*?|[-+/()])+")
_POWERS = re.compile(r"\*\*(?!\s*\(?\s*-?\s*(?:\d{1,3}(?!\d)|[A-Za-z]))|\*\*[^*]*?\d\s*\)*\s*\*\*")


def grade_gym(gold: str, found: Extracted) -> Grade:
    """Verdict of the task's scorer on an answer, taken as it is written.

    wrong: score: 0.3 (what the scorer gave), not_an_expression. unparsed: scorer_refused. error: a
    gold that is not one of data/tasks/gym.py, a score that is no number.

    Raises:
        Exception: the scorer fails, on the problem's own answer too.
    """
    answer = found.text
    if answer is None:
        return Grade(status="unparsed", score=0.0, reason=found.reason)
    if len(answer) > MAX_CHARS:
        return Grade(status="unparsed", score=0.0, reason="too_long", extracted=answer[:200])
    try:
        scorer, entry = gym.read_gold(gold)
        name = json.loads(gold.partition("\n")[0])["task"]
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        return Grade(status="error", score=0.0, reason=f"gold_unparsed: {error}", extracted=answer)
    if name in EXPRESSIONS and not is_expression(answer):
        return Grade(status="wrong", score=0.0, reason="not_an_expression", extracted=answer)
    if name in LITERALS:
        _read_only(scorer)
    try:
        score = float(scorer.score_answer(answer, entry))
    except Exception as error:
        own = entry.get("answer")
        if isinstance(error, MemoryError) or own is None or scorer.score_answer(own, entry) < 1:
            raise
        why = f"scorer_refused: {type(error).__name__}"
        return Grade(status="unparsed", score=0.0, reason=why, extracted=answer)
    if not math.isfinite(score):
        return Grade(status="error", score=0.0, reason=f"score: {score}", extracted=answer)
    if score >= 1:
        return Grade(status="correct", score=1.0, reason="equal", extracted=answer)
    return Grade(status="wrong", score=0.0, reason=f"score: {score:g}", extracted=answer)


def is_expression(text: str) -> bool:
    """Whether a text is made of numbers, letters, signs and known functions only, without towers.

    >>> is_expression("2*x**3 - sin(x)/4 + C"), is_expression("exit()"), is_expression("9**9**9")
    (True, False, False)
    """
    return _PLAIN.fullmatch(text) is not None and _POWERS.search(text) is None


def _read_only(scorer: Any) -> None:
    """In the scorer's module, `eval` reads literals and runs nothing."""
    module: Any = sys.modules[type(scorer).__module__]
    module.eval = ast.literal_eval
