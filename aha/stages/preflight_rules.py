"""What the preflight's numbers mean: can learn, can learn slowly, cannot learn; and how it is said.

Holds:     the numbers' types, the rules (pure), the lines that are printed.
Holds not: measuring (preflight.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aha.config import ZeroConfig
from aha.report.console import duration
from aha.report.lines import fold

GOLD_REFUSED = 0.05
"""Share of refused gold answers above which nothing is learned reliably."""
CUT = 0.9
"""Share of cut answers that explains why none is right."""
FEW = 0.10
"""Share of informative groups below which learning is slow."""
REFUSED = {
    "math": "The gold column is not an answer that the grader reads: choose it with "
    "?gold=COLUMN, its grader with ?kind=KIND (docs/data.md, docs/rewards.md).",
    "countdown": "The column 'solution' does not solve its row: mend or remove it; "
    "`aha data check` names the rows.",
    "gym": "The task's scorer does not take the task's own answers in time: raise "
    "zero.grader_seconds, or take another task.",
}
"""Kind of the refused answers -> what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gold:
    """The grader on gold answers."""

    tried: int
    refused: int
    first: tuple[str, ...]
    """The first refused ones: id, gold, verdict."""
    untried: int = 0
    """Problems that name no answer of their own: there is nothing to try."""
    kind: str = ""
    """Kind of the first refused one."""

    @property
    def sentence(self) -> str:
        if not self.tried:
            return "none to try: these problems name no answer of their own"
        said = f"{self.tried - self.refused} of {self.tried} graded right"
        return f"{said}; {self.untried} without one to try" if self.untried else said


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What the answers of the untrained model say. Counts are of answers unless they say groups."""

    questions: int
    group_size: int
    answers: int
    failed: int
    """Our grader gave no verdict."""
    parsed: int
    """An answer part was found."""
    formatted: int
    """The whole text has the form of the template: thinking and answer in their tags."""
    cut: int
    right: int
    right_low: float
    right_high: float
    """95 % interval of the share of right answers, over questions."""
    informative: int
    """Groups with right and with other answers."""
    informative_low: float
    informative_high: float
    """95 % interval (Wilson) of their share."""
    all_right: int
    all_wrong: int
    varied: int
    """Groups whose rewards differ: they are what GRPO learns from."""
    varying: tuple[str, ...]
    """Names of the rewards that differ within a group."""
    tokens_mean: float
    tokens_p95: int
    open_answers: int = 0
    """Answers to prompts without a right answer; they are in no number of right ones."""
    open_questions: int = 0
    open_varied: int = 0
    """Groups of such answers whose rewards differ."""

    @property
    def closed(self) -> int:
        """Groups of questions with a right answer."""
        return self.questions - self.open_questions


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    state: Literal["can", "slowly", "cannot"]
    reason: str = ""
    todo: str = ""

    @property
    def sentence(self) -> str:
        head = {"can": "can learn", "slowly": "can learn, but slowly", "cannot": "cannot learn"}
        return f"preflight: {head[self.state]}" + (f": {self.reason}" if self.reason else "")


def refused(gold: Gold) -> bool:
    return gold.refused > GOLD_REFUSED * gold.tried


def judge(gold: Gold, sampled: Sampled | None, config: ZeroConfig) -> Verdict:
    """The rules, most certain first. Pure."""
    if refused(gold):
        return Verdict(
            state="cannot",
            reason=f"the grader refuses {gold.refused} of {gold.tried} gold answers",
            todo=REFUSED.get(gold.kind, REFUSED["math"]),
        )
    assert sampled is not None
    it, asked = sampled, f"{sampled.answers} answers to {sampled.questions} questions"
    if it.failed > config.max_grader_failures * it.answers:
        return Verdict(
            state="cannot",
            reason=f"our graders gave no verdict on {it.failed} of {asked}",
            todo="Raise zero.grader_seconds, or look at the golds with `aha grade`.",
        )
    if not any(w.get("accuracy") for w in (config.rewards, *config.rewards_for.values())):
        return _without_accuracy(it, asked, "right answers are not rewarded by this recipe")
    if it.closed == 0:
        return _without_accuracy(it, asked, "none of these questions has a right answer")
    graded = it.answers - it.failed - it.open_answers
    if it.open_varied and it.right in (0, graded):
        which = "none is" if it.right == 0 else "all are"
        return Verdict(
            state="slowly",
            reason=f"of {graded} answers to questions with a right answer {which} right, so only what is "
            "paid for the others is learned",
            todo="Take other problems, or expect nothing of the reasoning part.",
        )
    if it.right == 0:
        return _none_right(it, asked, config)
    if it.right == graded:
        return Verdict(
            state="cannot",
            reason=f"all of {asked} are right: nothing is left to learn",
            todo="Take harder problems.",
        )
    share = it.informative / it.closed
    if share < FEW:
        step = config.prompts_per_step
        at_most = f" (at most about {it.informative_high * step:.1f})"
        return Verdict(
            state="slowly",
            reason=f"{it.informative} of {it.closed} groups hold both right and other answers, so "
            f"about {share * step:.1f} of the {step} groups of a step carry a signal"
            + (at_most if not it.informative else ""),
            todo="Take problems that are right now and then, raise zero.group_size, or set "
            "zero.dynamic_sampling.",
        )
    return Verdict(state="can")


def _without_accuracy(it: Sampled, asked: str, why: str) -> Verdict:
    if it.varied:
        return Verdict(state="can", reason=why)
    return Verdict(
        state="cannot",
        reason=f"within each group all rewards are equal ({asked})",
        todo="Reward something that the answers of one question differ in.",
    )


def _none_right(it: Sampled, asked: str, config: ZeroConfig) -> Verdict:
    """Why is no answer right? The nearest cause first."""
    if "accuracy" in it.varying:
        return Verdict(state="can", reason=f"none of {asked} is wholly right, but scores differ")
    if it.cut >= CUT * it.answers:
        cap = config.max_answer_tokens
        return Verdict(
            state="cannot",
            reason=f"none of {asked} is right, and {it.cut} were cut at the cap of {cap} tokens",
            todo=f"Raise zero.max_answer_tokens (now {cap}).",
        )
    if it.parsed == 0:
        return Verdict(
            state="cannot",
            reason=f"none of {asked} has an answer part that the grader can find",
            todo="Read some with `aha sample`; then change data.template, data.think_tag or "
            "data.answer_tag, ask for a box with data.suffix, or take a stronger base.",
        )
    easier = "Take easier problems or a stronger base, or raise zero.group_size."
    if it.varied:
        names = " and ".join(it.varying)
        return Verdict(
            state="cannot",
            reason=f"it would learn only the form: none of {asked} is right, and only {names} differs "
            f"(in {it.varied} of {it.questions} groups)",
            todo=easier,
        )
    return Verdict(
        state="cannot",
        reason=f"none of {asked} is right",
        todo=easier,
    )


def lines(facts: Mapping[str, Any], config: ZeroConfig, rate: float | None) -> list[str]:
    """What was measured, in lines of at most 80 columns; `rate` is None when it was stored."""
    verdict, gold, it = Verdict(**facts["verdict"]), Gold(**facts["gold"]), facts["sampled"]
    said = [("gold answers", gold.sentence)]
    said += [("", example) for example in gold.first]
    said += [("template", warning) for warning in facts["template"]]
    if it:
        n, groups = it["answers"], it["questions"]
        said += [
            ("asked", f"{groups} questions x {it['group_size']} answers, as the run will ask them"),
            (
                "answers",
                f"{it['parsed'] / n:.0%} have an answer part, {it['formatted'] / n:.0%} the asked form; "
                f"{it['cut'] / n:.0%} were cut",
            ),
            *_rightness(it),
            ("length", f"mean {it['tokens_mean']:.0f} tokens, 95% within {it['tokens_p95']}"),
            ("cost", _cost(it["tokens_mean"], config, rate)),
        ]
        if it["failed"]:
            said.append(("graders", f"no verdict on {it['failed']} answers"))
    shown = fold(verdict.sentence, "  ", first="")
    if verdict.todo:
        shown += fold(f"-> {verdict.todo}", "     ", first="  ")
    for label, text in said:
        shown += fold(text, " " * 16, first=f"  {label:<14}")
    return shown


def _rightness(it: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lines about right answers, where there can be any; stored facts may be older than open prompts."""
    opened, groups = it.get("open_answers", 0), it["questions"] - it.get("open_questions", 0)
    said = []
    if groups:
        graded = max(1, it["answers"] - it["failed"] - opened)
        said = [
            (
                "right",
                f"{it['right'] / graded:.0%} [{it['right_low']:.0%}, {it['right_high']:.0%}]",
            ),
            (
                "signal",
                f"{it['informative']} of {groups} groups hold both right and other answers: "
                f"{it['informative'] / groups:.0%} "
                f"[{it['informative_low']:.0%}, {it['informative_high']:.0%}]",
            ),
        ]
    if opened:
        said.append(
            (
                "open",
                f"{it['open_questions']} questions have no right answer; rewards differ in "
                f"{it['open_varied']} of their groups",
            )
        )
    return said


def _cost(mean: float, config: ZeroConfig, rate: float | None) -> str:
    """Tokens and time of a step at the measured length and speed."""
    tokens = mean * config.prompts_per_step * config.group_size
    text = f"about {tokens:,.0f} tokens a step"
    if rate is None:
        return f"{text} (measured at the first start)"
    whole = duration(tokens / rate * config.steps)
    return (
        f"{text}, sampled in about {duration(tokens / rate)}; about {whole} of sampling for "
        f"{config.steps} steps, updates and evaluations not counted"
    )
