"""The gold self-check: does the grader accept the gold itself, and can it read it?

Two questions are put to the grader for each problem of kind math: the gold in a box must be
"correct", and a different answer must not be an "error" (the same text on both sides is correct
even where nobody can read it). Golds come from outside, so they are graded in processes that can
be killed. Of the other kinds, the gold must be one that their grader reads, and the problem's own
answer, where it has one (`own_answer`), must be right. Of programs, one that does nothing must fail.

Not covered: whether the gold is true; whether tests are many enough.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from aha.data.code_rows import STUB, fenced
from aha.records import Grade, Prompt
from aha.rewards.workers import GraderPool

OTHER = "-7391.25"
"""An answer that is hardly ever right."""
AHEAD = 256
"""Cases under way before verdicts are waited for."""
SOLUTIONS = ("solution", "canonical_solution", "reference_solution")
"""Columns that may hold a program that passes."""
_EXPRESSION = re.compile(r"\s*[-(\d][-+*/×÷·−()\d\s]*(?:=\s*\d+\s*)?")


def own_answer(prompt: Prompt) -> str | None:
    """An answer that the problem itself calls right; None where it names none.

    math, exact: the gold. choice, numeric, knights, code_io: what it says. gym: the package's answer.
    code: the program of a column `solution`, fenced. countdown: the column `solution`, where it is one
    expression and not a tale of how to find it.
    """
    if prompt.kind == "open":
        return None
    if prompt.kind in ("math", "exact"):
        return prompt.gold
    if prompt.kind in ("choice", "numeric", "knights", "code_io"):
        return _said(prompt)
    if prompt.kind == "code":
        return _program(prompt)
    if prompt.kind == "gym":
        answer = prompt.columns.get("answer")
        return None if answer is None else str(answer)
    solution = prompt.columns.get("solution")
    if isinstance(solution, str) and _EXPRESSION.fullmatch(solution):
        return solution
    return None


def _said(prompt: Prompt) -> str | None:
    """The answer that a gold of a kind of its own names."""
    try:
        gold = json.loads(prompt.gold)
    except ValueError:
        gold = None
    if not isinstance(gold, dict):
        return prompt.gold.partition("±")[0].strip()  # a letter, a number
    if prompt.kind == "choice":
        return str(gold["answer"])
    if prompt.kind == "knights":
        words = {True: "knight", False: "knave"}
        pairs = zip(gold["names"], gold["solution"], strict=True)
        return "\n".join(f"{name} is a {words[knight]}" for name, knight in pairs)
    if gold.get("form") == "input":
        return None
    return str(gold["value"])


def _program(prompt: Prompt) -> str | None:
    """The reference program as a block of code; a body alone completes the stub that was asked about."""
    program = next((prompt.columns[name] for name in SOLUTIONS if name in prompt.columns), None)
    tests = json.loads(prompt.gold)
    if program is None and tests.get("form") == "assert" and "entry" not in tests:
        program = prompt.columns.get("code")  # MBPP
    if not isinstance(program, str) or not program.strip():
        return None
    if "```" in program:
        return program
    stub = str(tests.get("setup", ""))
    if program.lstrip("\r\n")[0].isspace() and stub.endswith(STUB):
        program = stub.removesuffix(STUB) + program
    return fenced(program)


class GoldCheck:
    """Use as a context manager; on leaving, all verdicts are in."""

    def __init__(
        self,
        say: Callable[[Any, str, str], None],
        *,
        answer_tag: str = "answer",
        workers: int = 2,
        seconds: float = 2.0,
    ):
        """`say(where, kind, sentence)` is called for every gold that fails; `where` is the caller's.

        `seconds` of one case, as in a run.
        """
        self.checked = 0
        self.failed = 0
        self._say, self._tag = say, answer_tag or "answer"  # how it is marked does not matter here
        self._pool = GraderPool(workers=workers, seconds=seconds)
        self._open: dict[int, tuple[Any, str, str, list[tuple[str, Grade]]]] = {}

    def __enter__(self) -> "GoldCheck":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._take(self._pool.drain())
        finally:
            self._pool.close()

    def add(self, where: Any, prompt: Prompt) -> None:
        """Put one problem to the grader; verdicts come when they come."""
        gold, own = prompt.gold, own_answer(prompt)
        answers = {"math": {"other": OTHER}, "exact": {}}.get(prompt.kind, {"other": "0"})
        if own is not None:
            answers["own"] = f"\\boxed{{{own}}}" if prompt.kind == "math" else own
        number = self.checked
        self.checked += 1
        self._open[number] = (where, gold, prompt.kind, [])
        for name, answer in answers.items():
            self._pool.submit(
                f"{number} {name} {len(answers)}",
                prompt.kind,
                gold,
                f"<{self._tag}>{answer}</{self._tag}>",
                answer_tag=self._tag,
            )
        self._take(self._pool.poll(5.0 if self._pool.pending() > AHEAD else 0.0))

    def _take(self, verdicts: list[tuple[str, Grade]]) -> None:
        for key, grade in verdicts:
            number, name, count = key.split()
            where, gold, kind, seen = self._open[int(number)]
            seen.append((name, grade))
            if len(seen) == int(count):
                del self._open[int(number)]
                self._judge(where, gold, kind, dict(seen))

    def _judge(self, where: Any, gold: str, of: str, seen: dict[str, Grade]) -> None:
        own, other = seen.get("own"), seen.get("other")
        shown = gold if len(gold) <= 60 else f"{gold[:60]}..."
        failed = next((g for g in (other, own) if g is not None and g.failed), None)
        if failed is not None and failed.status == "timeout":
            kind, said = "gold too slow", "the grader needs too long for this gold"
        elif failed is not None and failed.reason.startswith("no_sandbox"):
            kind, said = "gold not checked", f"programs cannot be run here ({failed.reason})"
        elif failed is not None:
            kind, said = "gold unreadable", f"the grader cannot read this gold ({failed.reason})"
        elif own is not None and own.status != "correct":
            kind = "gold not accepted"
            said = f"the grader does not accept the problem's own answer ({own.reason})"
        elif of == "code" and other is not None and other.status == "correct":
            kind, said = "gold passes all", "the tests pass a program that does nothing"
        else:
            return
        self.failed += 1
        self._say(where, kind, f"{said}: {shown!r}")
