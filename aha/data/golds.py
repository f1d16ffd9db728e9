"""The gold self-check: does the grader accept the gold itself, and can it read it?

Two questions are put to the grader for each problem of kind math: the gold in a box must be
"correct", and a different answer must not be an "error" (the same text on both sides is correct
even where nobody can read it). Golds come from outside, so they are graded in processes that can
be killed. Of the other kinds, the gold must be one that their grader reads, and the problem's own
answer, where it has one (`own_answer`), must be right.

Not covered: whether the gold is true.
"""

import re
from collections.abc import Callable
from typing import Any

from aha.records import Grade, Prompt
from aha.rewards.workers import GraderPool

OTHER = "-7391.25"
"""An answer that is hardly ever right."""
AHEAD = 256
"""Cases under way before verdicts are waited for."""
_EXPRESSION = re.compile(r"\s*[-(\d][-+*/×÷·−()\d\s]*(?:=\s*\d+\s*)?")


def own_answer(prompt: Prompt) -> str | None:
    """An answer that the problem itself calls right; None where it names none.

    math, exact: the gold. gym: the package's answer. countdown: the column `solution`, where it is
    one expression and not a tale of how to find it.
    """
    if prompt.kind in ("math", "exact"):
        return prompt.gold
    if prompt.kind == "gym":
        answer = prompt.columns.get("answer")
        return None if answer is None else str(answer)
    solution = prompt.columns.get("solution")
    if isinstance(solution, str) and _EXPRESSION.fullmatch(solution):
        return solution
    return None


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
        self._say, self._tag = say, answer_tag
        self._pool = GraderPool(workers=workers, seconds=seconds)
        self._open: dict[int, tuple[Any, str, list[tuple[str, Grade]]]] = {}

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
        self._open[number] = (where, gold, [])
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
            where, gold, seen = self._open[int(number)]
            seen.append((name, grade))
            if len(seen) == int(count):
                del self._open[int(number)]
                self._judge(where, gold, dict(seen))

    def _judge(self, where: Any, gold: str, seen: dict[str, Grade]) -> None:
        own, other = seen.get("own"), seen.get("other")
        shown = gold if len(gold) <= 60 else f"{gold[:60]}..."
        failed = next((g for g in (other, own) if g is not None and g.failed), None)
        if failed is not None and failed.status == "timeout":
            kind, said = "gold too slow", "the grader needs too long for this gold"
        elif failed is not None:
            kind, said = "gold unreadable", f"the grader cannot read this gold ({failed.reason})"
        elif own is not None and own.status != "correct":
            kind = "gold not accepted"
            said = f"the grader does not accept the problem's own answer ({own.reason})"
        else:
            return
        self.failed += 1
        self._say(where, kind, f"{said}: {shown!r}")
