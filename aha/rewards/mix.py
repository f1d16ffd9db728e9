"""Rewards by name, weighted and summed; a prompt's domain decides which. DeepSeek-R1 (Methods, §2.3).

    [zero.rewards]              for every prompt
    [zero.rewards_for.code]     instead of it, for prompts whose domain or area (data/areas.py) is "code"

The rewards that come with the package are in named.py, a user's own functions in user_functions.py.
Must stay true:  what is not known is no reward of 0: a failed grader, an opinion (of a reward model, of a
                 judge) that there is none of, or no reward that applies, and the answer is not valid.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field

from aha.data.areas import AREAS, area
from aha.errors import ConfigError, RunError
from aha.records import Grade, Group, Prompt, Rendered, Rollout, Scored
from aha.rewards.named import REWARDS, Judged, Known, Reward, of_each, unknown
from aha.rewards.user_functions import Style, is_user_function, label, load


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """What the rewards about length are measured against, in tokens."""

    cap: int = 0
    """Longest answer that can be."""
    soft: int = 0
    """Tokens before the cap over which the reward falls by 1 (DAPO); 0 is off."""
    low: int = 0
    high: int = 0
    """Band of `length_band`: nothing is taken off inside."""


def overlong_penalty(tokens: int, cap: int, soft: int) -> float:
    """0 up to cap - soft tokens, then linearly down to -1 at the cap. DAPO Eq. 13."""
    return -min(max(tokens - (cap - soft), 0) / soft, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Weights of the rewards: for everything, and for some domains."""

    rewards: Mapping[str, float]
    by_domain: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def of(self, prompt: Prompt) -> Mapping[str, float]:
        """The weights for a prompt: those of its domain, else of its area, else the general ones."""
        named = self.by_domain.get(prompt.domain)
        return self.by_domain.get(area(prompt), self.rewards) if named is None else named

    def names(self) -> list[str]:
        """Every reward that some prompt may earn, each once."""
        tables = (self.rewards, *self.by_domain.values())
        return list(dict.fromkeys(name for table in tables for name in table))

    def without(self, names: Collection[str]) -> "Tables":
        """The same tables, in which these rewards are not paid (nor asked for)."""

        def rest(table: Mapping[str, float]) -> dict[str, float]:
            return {name: weight for name, weight in table.items() if name not in names}

        domains = {domain: rest(table) for domain, table in self.by_domain.items()}
        return Tables(rewards=rest(self.rewards), by_domain=domains)


class Mix:
    """Weighted rewards of a recipe.

    Raises:
        ConfigError: a reward name that is not known (names the nearest one), a function that cannot
            be loaded.
    """

    def __init__(
        self,
        rewards: Mapping[str, float] | Tables,
        think_tag: str = "think",
        answer_tag: str = "answer",
        *,
        lengths: Lengths = Lengths(),
        style: Style = "text",
        more: Mapping[str, Reward] | None = None,
    ):
        """`style`: whether users' functions get texts or lists of messages. `more`: rewards that hold
        something open, such as a reward model, by name."""
        self.tables = rewards if isinstance(rewards, Tables) else Tables(rewards=rewards)
        self.think_tag = think_tag
        self.answer_tag = answer_tag
        self.lengths = lengths
        there = {**REWARDS, **(more or {})}
        self._opinions = frozenset(more or ())
        self._rewards: dict[str, Reward] = {}
        labels = [label(name) for name in self.tables.names()]
        if twice := {one for one in labels if labels.count(one) > 1}:
            raise ConfigError(
                f"rewards: {', '.join(sorted(twice))}: two rewards of one name; their metrics could not be "
                "told apart"
            )
        for name in self.tables.names():
            if is_user_function(name):
                self._rewards[name] = load(name, style)
            elif name in there:
                self._rewards[name] = there[name]
            else:
                raise ConfigError(unknown(name, there))

    def without(self, names: Collection[str]) -> "Mix":
        """The same mix before preference rewards count: these rewards are not paid."""
        rest = copy(self)
        rest.tables = self.tables.without(names)
        return rest

    def score(
        self, question: Rendered, rollouts: Sequence[Rollout], grades: Sequence[Grade]
    ) -> Group:
        """What the answers to one question earned.

        Raises:
            RunError: a reward function of the user fails, or gives something that is no number.
        """
        judged = [
            Judged(
                prompt=question.prompt,
                rollout=rollout,
                text=question.prefill + rollout.text,
                grade=grade,
                think_tag=self.think_tag,
                answer_tag=self.answer_tag,
                low=self.lengths.low,
                high=self.lengths.high,
            )
            for rollout, grade in zip(rollouts, grades, strict=True)
        ]
        weights = self.tables.of(question.prompt)
        values = {name: self._values(name, judged) for name in weights}
        scored = tuple(
            self._scored(one, {name: values[name][i] for name in weights}, weights)
            for i, one in enumerate(judged)
        )
        return Group(rendered=question, scored=scored)

    def _values(self, name: str, judged: Sequence[Judged]) -> Sequence[Known]:
        values = of_each(self._rewards[name], judged)
        if len(values) != len(judged):
            raise RunError(
                f"reward '{name}' gave {len(values)} values for {len(judged)} answers; it must give one "
                "for each, None where it does not apply"
            )
        for value in values:
            if value is not None and not math.isfinite(value):
                raise RunError(
                    f"reward '{name}' gave {value} for an answer to {judged[0].prompt.id}; a reward is a "
                    "finite number, or None where it does not apply"
                )
        return values

    def _scored(
        self, judged: Judged, values: Mapping[str, Known], weights: Mapping[str, float]
    ) -> Scored:
        known = {name: value for name, value in values.items() if value is not None}
        parts = {label(name): value for name, value in known.items()}
        reward = sum(weights[name] * value for name, value in known.items())
        unknown = (name for name in self._opinions & weights.keys() - known.keys() if weights[name])
        if not parts or any(unknown) or (judged.grade.failed and "accuracy" in weights):
            return Scored(
                rollout=judged.rollout, grade=judged.grade, parts=parts, reward=0.0, valid=False
            )
        if self.lengths.soft:
            tokens = len(judged.rollout.token_ids)
            parts["overlong"] = overlong_penalty(tokens, self.lengths.cap, self.lengths.soft)
            reward += parts["overlong"]
        return Scored(rollout=judged.rollout, grade=judged.grade, parts=parts, reward=reward)


def check_domains(tables: Tables, prompts: Sequence[Prompt]) -> list[str]:
    """Domains of a recipe that no prompt has, in plain words: a table that would never apply."""
    there = {prompt.domain for prompt in prompts} | {area(prompt) for prompt in prompts}
    return [
        f"rewards_for.{name}: no training problem has this domain or area (areas here: "
        f"{', '.join(sorted(there & set(AREAS)))})"
        for name in tables.by_domain
        if name not in there
    ]


FORM = ("accuracy", "format", "language", "repetition", "readable", "length_band", "length")
"""Rewards that say nothing about how good an answer is where nothing can be right."""


def check_open(tables: Tables, prompts: Sequence[Prompt]) -> list[str]:
    """What is to be said about prompts without a right answer, in plain words.

    Raises:
        ConfigError: some of them can earn nothing.
    """
    opened = {area(p): p for p in prompts if p.kind == "open"}
    said = []
    for name, prompt in sorted(opened.items()):
        paid = [reward for reward, weight in tables.of(prompt).items() if weight]
        if not set(paid) - {"accuracy"}:
            raise ConfigError(
                f"prompts of kind open in the area {name} (such as {prompt.id}) have no right answer, and "
                f"only accuracy is paid: give them a reward under rewards_for.{name}"
            )
        if set(paid) <= set(FORM):
            said.append(
                f"prompts of kind open in the area {name} earn only {', '.join(paid)}: nothing says which "
                f"answer is better. Name a reward model, a judge or a function under rewards_for.{name}"
            )
    return said
