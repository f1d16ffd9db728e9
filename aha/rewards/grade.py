"""One answer, one verdict: extraction by the contract, then the grader of the problem's kind.

Works in this process, without a deadline; the work of our own graders is bounded, math-verify's is
not, so hostile text goes through workers.GraderPool.

To add a grader: a function (gold, Extracted) -> Grade, its name in GRADERS, its row in
docs/rewards.md, and a higher GRADER_VERSION.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from aha.data.tasks import gym
from aha.records import Grade
from aha.rewards import code_io
from aha.rewards.answer import Extracted, Mode, extract
from aha.rewards.choice import grade_choice
from aha.rewards.code import find_program, grade_code, patience_of, start_sandbox
from aha.rewards.countdown import grade_countdown
from aha.rewards.exact import grade_exact
from aha.rewards.gym import grade_gym
from aha.rewards.knights import grade_knights
from aha.rewards.math_answer import grade_math
from aha.rewards.talk import find_summary, grade_talk
from aha.rewards.tolerance import grade_numeric

GRADER_VERSION = 2
"""Raised whenever a verdict may change: journals and caches of another version are not used."""

OPEN = Grade(status="open", score=0.0, reason="no_right_answer")
"""What every answer to a prompt without a right answer gets: reward models and form decide."""


def _open(gold: str, found: Extracted) -> Grade:
    return OPEN


GRADERS: dict[str, Callable[[str, Extracted], Grade]] = {
    "open": _open,
    "math": grade_math,
    "exact": grade_exact,
    "countdown": grade_countdown,
    "gym": grade_gym,
    "code": grade_code,
    "choice": grade_choice,
    "numeric": grade_numeric,
    "knights": grade_knights,
    "code_io": code_io.grade_code_io,
    "talk": grade_talk,
}


def grade(
    kind: str,
    gold: str,
    response: str,
    *,
    prefill: str = "",
    think_tag: str = "think",
    answer_tag: str = "answer",
    mode: Mode = "rl",
) -> Grade:
    """Judge a response. Never raises on any text; a grader's failure is status "error".

    `prefill` is the tail of the prompt that belongs to the answer. Mode "rl" takes a box or the
    answer tag only; "all" also `####` and "Answer:" (evaluation, `aha grade`).

    >>> grade("math", "1/2", "<think>half</think> \\\\boxed{0.5}").status
    'correct'
    """
    found = find(
        kind, response, prefill=prefill, think_tag=think_tag, answer_tag=answer_tag, mode=mode
    )
    return judge(kind, gold, found)


def find(
    kind: str,
    response: str,
    *,
    prefill: str = "",
    think_tag: str = "think",
    answer_tag: str = "answer",
    mode: Mode = "rl",
) -> Extracted:
    """The answer of prefill + response, cut to just over the size cap (longer is refused)."""
    if kind == "code":
        return find_program(prefill + response, think_tag=think_tag, answer_tag=answer_tag)
    if kind == "talk":
        found = find_summary(prefill + response, think_tag=think_tag, answer_tag=answer_tag)
        return replace(found, text=found.text[:MAX_SENT]) if found.text else found
    found = extract(prefill + response, mode=mode, think_tag=think_tag, answer_tag=answer_tag)
    if found.text is not None and len(found.text) > MAX_SENT:
        return replace(found, text=found.text[:MAX_SENT])
    return found


def preparation(kind: str, gold: str) -> str:
    """What a worker has to load before such a case counts against a deadline; "" for nothing."""
    if kind == "code" or (kind == "code_io" and code_io.needs_sandbox(gold)):
        return "sandbox"
    return gold.partition("\n")[0] if kind == "gym" else ""


def patience(kind: str, gold: str) -> float | None:
    """Seconds that one try of a case may take, where its kind says so; None: the pool's."""
    if kind == "code_io":
        return code_io.patience_of(gold)
    return patience_of(gold) if kind == "code" else None


def prepare(kind: str, what: str) -> None:
    """Load it. A failure is left to the cases, whose verdicts will say it."""
    with contextlib.suppress(Exception):
        if kind == "gym":
            gym.prepare(what)
        elif kind in ("code", "code_io"):
            start_sandbox()


FAILED = "grader_failed"
"""How the reason begins when a grader raised."""
MAX_SENT = 4100
"""Characters of an answer that are handed on: above every grader's cap."""


def judge(kind: str, gold: str, found: Extracted) -> Grade:
    """Verdict of the grader of `kind` on an extracted answer."""
    start = time.perf_counter()
    grader = GRADERS.get(kind)
    if grader is None:
        known = ", ".join(sorted(GRADERS))
        return Grade(status="error", score=0.0, reason=f"unknown_kind: {kind!r}; known: {known}")
    try:
        verdict = grader(gold, found)
    except Exception as error:  # any text may come in; a surprise is our failure, not the model's
        verdict = Grade(
            status="error",
            score=0.0,
            reason=f"{FAILED}: {type(error).__name__}",
            extracted=found.text,
        )
    return replace(verdict, ms=(time.perf_counter() - start) * 1000)
