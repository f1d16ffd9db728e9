"""The rewards that come with the package, by name.

A reward is a plain function of one answer (`Judged` -> number), or of all answers to one question
(`group=True`); None where it does not apply. To add one: a function here, its name in REWARDS, its row
in docs/rewards.md.
"""

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from aha.data.thinking import Parsed, split
from aha.records import Grade, Prompt, Rollout
from aha.rewards import language as languages
from aha.rewards.format import format_reward
from aha.rewards.lengths import absolute, group_lengths
from aha.rewards.readability import faults
from aha.rewards.repetition import repetition_penalty

Known = float | None
"""A reward's value; None: it does not apply."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One answer and what a reward may look at."""

    prompt: Prompt
    rollout: Rollout
    text: str
    """Prefill + answer: a prefilled tag counts."""
    grade: Grade
    think_tag: str = "think"
    answer_tag: str = "answer"
    low: int = 0
    high: int = 0
    """Band of `length_band`, tokens."""

    @cached_property
    def parsed(self) -> Parsed:
        """The answer in its parts."""
        return split(self.text, self.think_tag, self.answer_tag)

    @cached_property
    def language(self) -> str:
        """Language that the thinking should have: that of the question."""
        return self.prompt.lang or languages.target(self.prompt.question)


def judged_text(kind: str, gold: str, response: str) -> Judged:
    """A text that no model of ours wrote, as rewards see it: without tokens."""
    prompt = Prompt(id="text", question="", gold=gold, kind=kind)
    rollout = Rollout(
        prompt_id="text",
        sample=0,
        token_ids=(),
        logprobs=(),
        text=response,
        policy_version=0,
        stopped="eos",
    )
    unknown_yet = Grade(status="unparsed", score=0.0, reason="not_graded")
    return Judged(prompt=prompt, rollout=rollout, text=response, grade=unknown_yet)


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward function; `group`: it takes all answers to one question and gives a list."""

    function: Callable[..., "Known | Sequence[Known]"]
    group: bool = False


def of_each(reward: Reward, judged: Sequence[Judged]) -> Sequence[Known]:
    """The values of a reward for the answers to one question, in their order."""
    if reward.group:
        values: Sequence[Known] = reward.function(judged)  # type: ignore[assignment]
        return values
    return [reward.function(one) for one in judged]  # type: ignore[misc]


def accuracy(judged: Judged) -> Known:
    """The grader's score, 0..1; None when the grader failed, or nothing can be right (kind open)."""
    return judged.grade.score if judged.grade.graded else None


def format(judged: Judged) -> Known:
    """1 for thinking and answer in their tags, else 0 (format.py)."""
    cut = judged.rollout.stopped == "length"
    return format_reward(judged.text, judged.think_tag, judged.answer_tag, cut=cut)


def language(judged: Judged) -> Known:
    """Share of the thinking's words in the language of the question, 0..1. DeepSeek-R1 v2 Eq. 7.

    Without thinking, that of the whole answer. Formulas without a word are in no other language: 1, else a
    word would be paid for where its neighbours of the group need none, and a foreign one cost nothing there.
    Where all words stand in code, formulas or capitals, those count. Nothing at all, or a question whose
    language is not known: None.
    """
    thinking, target = judged.parsed.think or judged.text, judged.language
    share = languages.consistency(thinking, target)
    if share is None and languages.known(target) and thinking.strip():
        hidden = languages.consistency(languages.unwrapped(thinking), target)
        return 1.0 if hidden is None else hidden
    return share


NO_END = 1 << 40
"""Tokens: no upper end of a band."""


def repetition(judged: Judged) -> Known:
    """0 for none, down to -1 for an answer that only repeats itself (repetition.py)."""
    ids = judged.rollout.token_ids
    return repetition_penalty(ids[:-1] if judged.rollout.stopped == "eos" else ids)


def readable(judged: Judged) -> Known:
    """1 if the filters of rejection sampling find nothing to object to, else 0 (readability.py)."""
    rest = judged.parsed.rest
    return float(not faults(judged.parsed.think, rest, language=judged.language))


def length_band(judged: Judged) -> Known:
    """0 between zero.length_low and length_high tokens, outside linearly down to -1 (lengths.py)."""
    return absolute(len(judged.rollout.token_ids), judged.low, judged.high or NO_END)


def length(judged: Sequence[Judged]) -> list[Known]:
    """Shorter than the others of the group is better, -0.5..0.5; a wrong answer earns at most 0.

    Where no answer can be right (kind open), none is wrong.
    """
    tokens = [len(one.rollout.token_ids) for one in judged]
    return list(group_lengths(tokens, [one.grade.status in ("correct", "open") for one in judged]))


REWARDS: dict[str, Reward] = {
    "accuracy": Reward(accuracy),
    "format": Reward(format),
    "language": Reward(language),
    "repetition": Reward(repetition),
    "readable": Reward(readable),
    "length_band": Reward(length_band),
    "length": Reward(length, group=True),
}


def unknown(name: str, there: Iterable[str]) -> str:
    """What to say about a reward that does not exist."""
    near = difflib.get_close_matches(name, there, n=1, cutoff=0.4)
    known = f"known: {', '.join(sorted(there))}; your own: FILE.py:FUNCTION or MODULE:FUNCTION"
    hint = f"did you mean '{near[0]}'? ({known})" if near else known
    return f"rewards: there is no reward '{name}'; {hint}"
