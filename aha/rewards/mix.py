"""Rewards by name, weighted and summed. DeepSeek-R1 (Methods): accuracy and format, same weight.

A reward is a plain function of what is known about one answer (`Judged`) to a number.
To add one: a function here and its name in REWARDS.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aha.errors import ConfigError
from aha.records import Grade, Rollout, Scored
from aha.rewards.format import format_reward


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One answer and what a reward may look at."""

    rollout: Rollout
    text: str
    """Prefill + answer: a prefilled tag counts."""
    grade: Grade
    think_tag: str
    answer_tag: str


def accuracy(judged: Judged) -> float:
    """The grader's score, 0..1."""
    return judged.grade.score


def format(judged: Judged) -> float:
    """1 for thinking and answer in their tags, else 0 (format.py)."""
    return format_reward(judged.text, judged.think_tag, judged.answer_tag)


REWARDS: dict[str, Callable[[Judged], float]] = {"accuracy": accuracy, "format": format}


def overlong_penalty(tokens: int, cap: int, soft: int) -> float:
    """0 up to cap - soft tokens, then linearly down to -1 at the cap. DAPO Eq. 13."""
    return -min(max(tokens - (cap - soft), 0) / soft, 1.0)


class Mix:
    """Weighted rewards of a recipe.

    Raises:
        ConfigError: a reward name that is not known; names the nearest one.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        think_tag: str = "think",
        answer_tag: str = "answer",
        *,
        overlong: tuple[int, int] = (0, 0),
    ):
        """`overlong`: (cap, tokens before it over which the reward falls by 1); tokens 0 is off."""
        for name in weights:
            if name not in REWARDS:
                near = difflib.get_close_matches(name, REWARDS, n=1, cutoff=0.4)
                known = f"known: {', '.join(sorted(REWARDS))}"
                hint = f"did you mean '{near[0]}'? ({known})" if near else known
                raise ConfigError(f"rewards: there is no reward '{name}'; {hint}")
        self.weights = dict(weights)
        self.think_tag = think_tag
        self.answer_tag = answer_tag
        self.cap, self.soft = overlong

    def score(self, rollout: Rollout, prefill: str, grade: Grade) -> Scored:
        """What a rollout earned. When the grader failed no reward is known: valid is False."""
        judged = Judged(
            rollout=rollout,
            text=prefill + rollout.text,
            grade=grade,
            think_tag=self.think_tag,
            answer_tag=self.answer_tag,
        )
        parts = {name: REWARDS[name](judged) for name in self.weights}
        if grade.failed:
            return Scored(rollout=rollout, grade=grade, parts=parts, reward=0.0, valid=False)
        reward = sum(weight * parts[name] for name, weight in self.weights.items())
        if self.soft:
            parts["overlong"] = overlong_penalty(len(rollout.token_ids), self.cap, self.soft)
            reward += parts["overlong"]
        return Scored(rollout=rollout, grade=grade, parts=parts, reward=reward)
