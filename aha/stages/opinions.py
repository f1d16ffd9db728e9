"""Rewards that a model gives: reward models and judges of a recipe, as rewards by name.

    [zero.reward_models.helpful]      a score of a sequence classifier, on the summary or on everything
    [zero.judges.same_as_reference]   1 if a language model finds that an answer agrees with the gold

A failure of ours (an answer too long for the reward model, a judge that cannot be reached or read) is no
reward: None. What a model's own answer lacks is its doing: without a summary it gets the lowest score of
its group. The verdicts of a judge are kept in RUN/zero/judgements.jsonl, so a phase that is repeated after
a kill sees the same ones and nothing is paid for twice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aha.config import JudgeConfig, RewardModelConfig, ZeroConfig
from aha.errors import ConfigError, RunError
from aha.records import Prompt
from aha.report.alerts import OPINIONS
from aha.rewards.judge import Judge, against_reference_all
from aha.rewards.judge_ask import Asker, Sampling
from aha.rewards.judge_cache import VerdictCache
from aha.rewards.judge_http import Endpoint
from aha.rewards.mix import Tables
from aha.rewards.named import REWARDS, Judged, Known, Reward

if TYPE_CHECKING:
    from aha.models.reward_model import RewardModel

CACHE = "judgements.jsonl"
ENOUGH = 32
"""Answers after which a judge that fails is told apart from one that failed once."""


def of_recipe(
    config: ZeroConfig, folder: Path, tags: tuple[str, str] = ("think", "answer")
) -> dict[str, Reward]:
    """The rewards of `reward_models` and `judges` that a weight is given to; their models are loaded.

    Args:
        tags: of thinking and answer, which they take answers apart by.

    Raises:
        ConfigError: a name that is taken or has no weight, an endpoint that cannot be.
        ModelError: a model that cannot be used.
    """
    made: dict[str, Reward] = {}
    for name in names_of(config):
        if name in config.reward_models:
            made[name] = _scored(config.reward_models[name], tags[0])
        else:
            think, answer = tags
            judge = judge_of(
                config.judges[name], folder / CACHE, think_tag=think, answer_tag=answer
            )
            asked = Asked(name, judge, config.max_grader_failures)
            made[name] = Reward(asked, group=True)
    return made


def names_of(config: ZeroConfig) -> list[str]:
    """Names of the reward models and judges of a recipe.

    Raises:
        ConfigError: a name that is taken or has no weight.
    """
    weighted = {n for table in (config.rewards, *config.rewards_for.values()) for n in table}
    names = [*config.reward_models, *config.judges]
    for place, name in enumerate(names):
        if name in REWARDS or name in names[:place]:
            raise ConfigError(f"zero: '{name}' is already the name of a reward; choose another one")
        if name not in weighted:
            raise ConfigError(
                f"zero: '{name}' has no weight; write {name} = 1.0 under zero.rewards"
            )
    return names


def unwatched(config: ZeroConfig, tables: Tables, prompts: Sequence[Prompt]) -> list[str]:
    """Opinions that may be hacked without an alert, in plain words: `flattery` needs the truth."""
    said = []
    paying = config.steps - config.preference_from
    for name in sorted(config.preferences):
        about = [prompt for prompt in prompts if tables.of(prompt).get(name)]
        if about and all(prompt.kind == "open" for prompt in about):
            said.append(
                f"nothing knows what is true of the answers that '{name}' pays for: if it is hacked, no "
                "alert will say so. Add problems of that area that a grader knows "
                "(docs/all_scenarios.md)"
            )
        elif about and paying < OPINIONS:
            said.append(
                f"'{name}' pays in {paying} steps, too few for the alert `flattery`, which looks at "
                f"{OPINIONS}"
            )
    return said


def _scored(asked: RewardModelConfig, think_tag: str) -> Reward:
    from aha.models.reward_model import RewardModel

    return Reward(Scorer(RewardModel.load(asked.path, think_tag=think_tag), asked), group=True)


@dataclass(frozen=True, slots=True)
class Level:
    """What is taken off a score, and what multiplies the rest."""

    center: float
    scale: float


class Scorer:
    """A reward model as a reward of a group."""

    def __init__(self, model: "RewardModel", asked: RewardModelConfig) -> None:
        self.model, self.asked = model, asked
        measured = asked.normalise == "start"
        self.level = None if measured else Level(asked.center, asked.scale)
        """None until it is measured (normalise.py)."""

    def __call__(self, judged: Sequence[Judged]) -> Sequence[Known]:
        assert self.level is not None, "scores are asked for before their level was measured"
        return score(self.model, self.asked, judged, self.level)

    def raw(self, question: str, texts: Sequence[str]) -> list[Known]:
        """Scores as the model gives them; None where there is none."""
        return self.model.score([(question, text) for text in texts], part=self.asked.part)


def score(
    model: "RewardModel", asked: RewardModelConfig, judged: Sequence[Judged], level: Level
) -> Sequence[Known]:
    """Scores of the answers to one question, transformed as the recipe asks."""
    question = judged[0].prompt.question
    pairs = [(question, one.text) for one in judged]
    scores = model.score(pairs, part=asked.part)
    known = [value for value in scores if value is not None]
    lowest = min(known, default=None)
    values: list[Known] = []
    for value, pair in zip(scores, pairs, strict=True):
        if value is None and model.why_not(*pair, part=asked.part) == "no_summary":
            value = lowest
        values.append(None if value is None else transformed(value, level, asked.sigmoid))
    return values


def transformed(value: float, level: Level, sigmoid: bool) -> float:
    """(value - center) x scale, squeezed into 0..1 if asked."""
    value = (value - level.center) * level.scale
    return 1 / (1 + math.exp(-max(min(value, 60.0), -60.0))) if sigmoid else value


class Asked:
    """A judge as a reward of a group."""

    def __init__(self, name: str, judge: Judge, most_failures: float) -> None:
        """`most_failures`: share of the answers that it may fail to judge."""
        self.name, self.judge, self.most_failures = name, judge, most_failures
        self.asked = self.failed = 0

    def __call__(self, judged: Sequence[Judged]) -> list[Known]:
        """Its verdicts; None where there is none.

        Raises:
            RunError: it fails too often to be asked any more.
        """
        prompt = judged[0].prompt
        cases = [(prompt.question, prompt.gold, one.text) for one in judged]
        grades = against_reference_all(self.judge, cases)
        self.asked += len(grades)
        failed = [grade for grade in grades if grade.failed]
        self.failed += len(failed)
        if failed and self.asked >= ENOUGH and self.failed > self.most_failures * self.asked:
            raise RunError(
                f"the judge '{self.name}' gave no verdict on {self.failed} of {self.asked} answers (bound "
                f"zero.max_grader_failures={self.most_failures}); the last: {failed[-1].reason}. See "
                "whether it answers, then go on with `aha resume`: nothing is lost"
            )
        return [None if grade.failed else grade.score for grade in grades]


def judge_of(
    asked: JudgeConfig, cache: Path, *, think_tag: str = "think", answer_tag: str = "answer"
) -> Judge:
    """The judge of a recipe; its verdicts are kept in `cache`.

    Raises:
        ConfigError: an endpoint that cannot be.
        ModelError: a model that cannot be used.
    """
    return Judge(
        asker=_asker(asked),
        sampling=Sampling(max_tokens=asked.max_tokens),
        cache=VerdictCache(cache),
        think_tag=think_tag,
        answer_tag=answer_tag,
    )


def _asker(asked: JudgeConfig) -> Asker:
    if asked.path:
        from aha.evals.judge_local import LocalJudge

        return LocalJudge(asked.path)
    return endpoint(asked)


def endpoint(asked: JudgeConfig) -> Endpoint:
    """What a judge is asked through; nothing is sent yet.

    Raises:
        ConfigError: no address, or a key that is not there.
    """
    return Endpoint(
        base_url=asked.url,
        model=asked.model,
        key_env=asked.key_env,
        total_s=asked.seconds,
        parallel=asked.parallel,
    )
