"""Verdicts of a judge on sampled answers: what rules cannot decide. DeepSeek-R1 §2.3.3, v2 Listing 4.

    [stage.rejection]
    judge = "v3"                  # answers without a verdict of the rules: kind `open`, golds that our
    judged = ["stem"]             # graders cannot read, and these kinds, areas or domains
    [stage.rejection.judges.v3]
    url = "http://127.0.0.1:8000/v1"
    model = "deepseek-chat"

The judge sees question, gold and summary, and says correct or incorrect (rewards/judge.py). Its verdicts
are kept in RUN/NAME/judgements.jsonl as they come: a killed stage asks for none of them twice.

Must stay true:  a judge's failure is never a verdict; above a share of failures the stage stops, so that
                 a judge that cannot be reached does not make a small file of dialogues.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from aha.config import SampleConfig
from aha.data.areas import area
from aha.data.selecting import Sampled
from aha.errors import ConfigError, RunError
from aha.records import Grade, Prompt, Rendered
from aha.rewards.judge import Judge, against_reference_all

OPEN = "open"
"""The kind whose answers no rule grades."""
BLOCK = 64
"""Answers that a judge is asked about together; what it said is on the disk after each block."""
UNREACHED = ("judge_error", "judge_timeout")
"""Beginnings of the reasons that are nobody's verdict: asked again, there may be one."""
Name = tuple[str, int]
"""Problem and number of a sample: which one it is in a stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruled:
    """Samples with the judge's verdicts in them, and what became of those that it was asked about."""

    samples: list[Sampled]
    asked: int = 0
    correct: int = 0
    wrong: int = 0
    failed: int = 0
    """Without a verdict."""
    unreached: int = 0
    """Of these: the judge did not answer."""
    first: str = ""
    """Why the first one has none."""
    names: frozenset[Name] = frozenset()
    """The samples that it was asked about."""

    def facts(self) -> dict[str, int | str]:
        return {
            "asked": self.asked,
            "correct": self.correct,
            "wrong": self.wrong,
            "failed": self.failed,
            "failed_first": self.first,
        }


def for_judge(prompt: Prompt, config: SampleConfig) -> bool:
    """Whether a judge decides about the answers to this question, whatever the rules would say."""
    names = {prompt.kind, prompt.domain, area(prompt)}
    return bool(config.judge) and (prompt.kind == OPEN or not names.isdisjoint(config.judged))


def left_open(question: Rendered, config: SampleConfig) -> Rendered:
    """The question as the graders get it: nothing is graded that a judge will read."""
    prompt = left_to_judge(question.prompt, config)
    return question if prompt is question.prompt else replace(question, prompt=prompt)


def left_to_judge(prompt: Prompt, config: SampleConfig) -> Prompt:
    """The same of a prompt."""
    if not for_judge(prompt, config):
        return prompt
    domain = prompt.domain or area(prompt)  # the area of a problem may follow from its kind
    return replace(prompt, kind=OPEN, domain=domain)


def undecided(grade: Grade) -> bool:
    """Whether the rules have no verdict."""
    return grade.failed or grade.status == OPEN


def name_of(one: Sampled) -> Name:
    return one.prompt.id, one.sample


def check_prompts(prompts: Sequence[Prompt], config: SampleConfig, stage: str) -> list[str]:
    """What to say about questions that will have no verdict.

    Raises:
        ConfigError: none of them can have one.
    """
    if not config.correct:
        return []
    if not config.judge:
        without = [prompt for prompt in prompts if prompt.kind == OPEN]
        why = f"no rule decides about kind {OPEN}: name a judge, or set stage.{stage}.correct=false"
    else:
        without = [one for one in prompts if for_judge(one, config) and not one.gold.strip()]
        why = "a judge compares with the gold, and they have none"
    if without and len(without) == len(prompts):
        raise ConfigError(f"{stage}: no answer can be judged right; {why}")
    return [f"{len(without)} of {len(prompts)} questions give nothing: {why}"] if without else []


def rule(
    samples: Sequence[Sampled],
    judge: Judge,
    *,
    most_unreached: float,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Ruled:
    """Put every sample that has no verdict to the judge.

    Args:
        most_unreached: share of these that may stay without an answer of the judge.

    Raises:
        RunError: more than that; the verdicts so far are kept.
    """
    made = list(samples)
    left = [at for at, one in enumerate(made) if undecided(one.grade)]
    grades: list[Grade] = []
    for start in range(0, len(left), BLOCK):
        block = [made[at] for at in left[start : start + BLOCK]]
        cases = [(one.prompt.question, one.prompt.gold, one.response) for one in block]
        grades += against_reference_all(judge, cases)
        progress(len(grades), len(left))
    for at, grade in zip(left, grades, strict=True):
        made[at] = replace(made[at], grade=replace(grade, ms=0.0))
    failed = [grade.reason for grade in grades if grade.failed]
    unreached = [reason for reason in failed if reason.startswith(UNREACHED)]
    if len(unreached) > most_unreached * len(left):
        raise RunError(
            f"the judge did not answer for {len(unreached)} of {len(left)} answers, above "
            f"max_judge_failures={most_unreached:g} (first: {unreached[0]}). Samples and verdicts are kept: "
            "mend it and run again"
        )
    return Ruled(
        samples=made,
        asked=len(left),
        correct=sum(grade.status == "correct" for grade in grades),
        wrong=sum(grade.status in ("wrong", "unparsed") for grade in grades),
        failed=len(failed),
        unreached=len(unreached),
        first=failed[0] if failed else "",
        names=frozenset(name_of(made[at]) for at in left),
    )
