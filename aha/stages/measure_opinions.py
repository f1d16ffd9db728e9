"""What a reward model and a judge hold of measured answers that no rule grades.

    RUN/STAGE/measures/NAME/rewarded.json       a reward model: the score of each answer
    RUN/STAGE/measures/NAME/preferred.json      a judge: each answer against that of the model before
    RUN/STAGE/measures/NAME/judgements.jsonl    what the judge replied, as it came

Opinions are of answers that are stored, so they may come later than these: a reward model that a stage of the
recipe makes is waited for, and what was measured before it is scored when it is there. Each file names all
that it depends on and is written whole; what it holds is not asked again.

Holds not:       the answers (measure.py), numbers and intervals (evals/measures_numbers.py).
Must stay true:  a failure of ours is no score; requests for harm are put to nobody.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aha import files
from aha.config import JudgeConfig, MeasuresConfig, Recipe
from aha.errors import ConfigError, RunError
from aha.models.locate import locate
from aha.stages import dag, lineage, start

if TYPE_CHECKING:
    from aha.evals.measures import Opinion
    from aha.evals.measures_numbers import Numbers
    from aha.models.reward_model import RewardModel
    from aha.rewards.judge import Comparison, Judge

VERSION = 1
"""Bump it when the same answers would get other opinions."""
REWARDED, PREFERRED = "rewarded.json", "preferred.json"
BLOCK = 64
"""Pairs that a judge is asked about together; what it said is on the disk after each block."""
MOST_UNREACHED = 0.05
"""Share of the pairs that a judge may leave without an answer; above it there is no number."""
Note = Callable[[str], None]


@dataclass(frozen=True)
class Answers:
    """What one model answered to one source."""

    folder: Path
    """Of samples.jsonl and answers.jsonl."""
    mark: str
    """Fingerprint of these two."""
    think_tag: str

    @cached_property
    def rows(self) -> list[Mapping[str, Any]]:
        """The samples that an opinion is of use about, in their order."""
        from aha.evals.measures import HARM

        samples = files.read_jsonl(self.folder / "samples.jsonl")
        sorts = [row["sort"] for row in files.read_jsonl(self.folder / "answers.jsonl")]
        return [row for row, sort in zip(samples, sorts, strict=True) if sort not in ("", HARM)]


@dataclass(frozen=True)
class Who:
    """A reward model or a judge, as the recipe names it, at this point of the run."""

    name: Literal["reward_model", "judge"]
    config: MeasuresConfig
    path: str
    """What `locate` finds it by; "" for a judge behind an endpoint."""
    mark: str
    """Fingerprint of who it is."""
    waits: str
    """Why it cannot be asked yet; "" if it can."""


def asked(recipe: Recipe, nodes: Sequence[dag.Node], root: Path) -> list[Who]:
    """Whom the recipe asks. `mark` of one that waits differs from that of the same one when it is there."""
    config = recipe.measures
    found: list[Who] = []
    if config is not None and config.reward_model:
        how = ["reward_model", config.reward_model, config.reward_part]
        found.append(_who("reward_model", config, config.reward_model, how, nodes, root))
    if config is not None and config.judge is not None:
        of = config.judge.model_dump(include={"url", "model", "path", "max_tokens"})
        found.append(_who("judge", config, config.judge.path, ["judge", of], nodes, root))
    return found


def _who(
    name: Literal["reward_model", "judge"],
    config: MeasuresConfig,
    path: str,
    how: list[Any],
    nodes: Sequence[dag.Node],
    root: Path,
) -> Who:
    stage = next(start.references(path), None)
    made = [node for node in nodes if node.name == stage]
    done = all(dag.status(node, root) == "done" for node in made)
    by = [[node.fingerprint, lineage.weights_of(node.name, root)] for node in made]
    waits = "" if done else f"stage {stage} is not done"
    return Who(name, config, placed(path, root), _hash([VERSION, how, by, waits]), waits)


def placed(path: str, root: Path) -> str:
    """What `locate` finds a model by: `stage:NAME` is a folder of the run."""
    stage = next(start.references(path), None)
    return path if stage is None else str(root / stage)


def stages(config: MeasuresConfig | None) -> set[str]:
    """The stages whose models are asked."""
    if config is None:
        return set()
    return set(start.references([config.reward_model, config.judge.path if config.judge else ""]))


def check(recipe: Recipe, root: Path) -> None:
    """What can be known of them before a stage begins.

    Raises:
        ConfigError: a stage that is not there or makes no such model, an endpoint that cannot be.
        ModelError: a model that is not there.
    """
    config = recipe.measures
    if config is None:
        return
    judges = ("rl", "sft", "dpo", "pretrain")
    if config.reward_model:
        _check_path(recipe, "reward_model", config.reward_model, ("reward_model",))
    if config.judge is not None and config.judge.path:
        _check_path(recipe, "judge.path", config.judge.path, judges)
    elif config.judge is not None:
        _judge(config.judge, root)  # says what is wrong with an endpoint


def _check_path(recipe: Recipe, key: str, path: str, kinds: Sequence[str]) -> None:
    stage = next(start.references(path), None)
    if stage is None:
        locate(path)
        return
    there = [name for name in recipe.stages() if recipe.kind(name) in kinds]
    if stage not in there:
        raise ConfigError(
            f"measures.{key}='{path}': the recipe has no stage {stage!r} that makes such a model "
            f"(there is: {', '.join(there) or 'none'})"
        )


# -- the reward model --------------------------------------------------------------------------------------


class Scores:
    """A reward model, read when it is first needed."""

    def __init__(self, who: Who, threads: int, note: Note) -> None:
        self.who, self.threads, self.note = who, threads, note

    @cached_property
    def model(self) -> "RewardModel":
        import torch

        from aha.models.reward_model import RewardModel

        torch.set_num_threads(self.threads or os.cpu_count() or 1)
        return RewardModel.load(self.who.path)

    def hear(
        self, ours: Answers, theirs: Answers | None, *, seed: int
    ) -> tuple["Numbers", "Numbers"]:
        """The numbers of a model's answers, and of the comparison with those of the model before it.

        Raises:
            ModelError: the model cannot be used.
        """
        from aha.evals import measures_numbers as numbers

        after, before = self.of(ours), self.of(theirs) if theirs is not None else []
        return numbers.rewarded(after), numbers.compared_rewards(before, after, seed=seed)

    def of(self, answers: Answers) -> list["Opinion"]:
        """The score of each answer; what is stored is not scored again."""
        from aha.evals.measures import Opinion

        mark = _hash([self.who.mark, answers.mark])
        stored = _stored(answers.folder / REWARDED, mark)
        if stored is not None or not answers.rows:
            return stored or []
        self.note(f"{answers.folder}: {len(answers.rows)} answers are scored by {self.who.path}")
        part, model = self.who.config.reward_part, self.model
        model.think_tag = answers.think_tag
        said = [(row["question"], row["prefill"] + row["response"]) for row in answers.rows]
        found = [
            Opinion(
                problem=row["problem"],
                sample=row["sample"],
                score=score,
                why="" if score is not None else model.why_not(*pair, part=part),
            )
            for row, pair, score in zip(
                answers.rows, said, model.score(said, part=part), strict=True
            )
        ]
        _store(answers.folder / REWARDED, mark, found)
        return found


# -- the judge ---------------------------------------------------------------------------------------------


class Preferences:
    """A judge that compares, read when it is first needed."""

    def __init__(self, who: Who, threads: int, note: Note) -> None:
        self.who, self.threads, self.note = who, threads, note
        self._known: Judge | None = None

    def judge(self, folder: Path) -> "Judge":
        """The judge, with what it said before about the answers in a folder."""
        from aha.rewards.judge_cache import VerdictCache
        from aha.stages.opinions import CACHE

        if self._known is None:
            config = self.who.config.judge
            assert config is not None
            if config.path:
                import torch

                torch.set_num_threads(self.threads or os.cpu_count() or 1)
                config = config.model_copy(update={"path": self.who.path})
            self._known = _judge(config, folder)
        return replace(self._known, cache=VerdictCache(folder / CACHE))

    def hear(
        self, ours: Answers, theirs: Answers | None, *, seed: int
    ) -> tuple["Numbers", "Numbers"]:
        """No numbers of a model alone, and those of the comparison with the model before it.

        Raises:
            ModelError: the judge's model cannot be used.
            RunError: the judge does not answer.
        """
        from aha.evals import measures_numbers as numbers

        if theirs is None:
            return {}, {}
        return {}, numbers.compared_by_judge(self.of(ours, theirs), seed=seed)

    def of(self, ours: Answers, theirs: Answers) -> list["Opinion"]:
        """Of each of our answers and theirs to the same prompt with the same number."""
        from aha.rewards.judge import pairwise_all

        mark = _hash([self.who.mark, ours.mark, theirs.mark])
        stored = _stored(ours.folder / PREFERRED, mark)
        if stored is not None:
            return stored
        other = {(row["problem"], row["sample"]): row for row in theirs.rows}
        rows = [row for row in ours.rows if (row["problem"], row["sample"]) in other]
        if not rows:
            return []
        self.note(f"{ours.folder}: the judge compares {len(rows)} answers")
        judge = self.judge(ours.folder)
        pairs = [
            (row["question"], _read(row, ours), _read(other[row["problem"], row["sample"]], theirs))
            for row in rows
        ]
        told: list[Comparison] = []
        for at in range(0, len(pairs), BLOCK):
            told += pairwise_all(judge, pairs[at : at + BLOCK], rounds=1)
            _refuse_silent(
                told, len(pairs)
            )  # at once: one that is down takes minutes for each block
        found = _judged(rows, told)
        _store(ours.folder / PREFERRED, mark, found)
        return found


def _read(row: Mapping[str, Any], answers: Answers) -> str:
    """What a judge reads of an answer; nothing where the thinking was left open."""
    from aha.rewards.judge_screen import summary

    return summary(row["prefill"] + row["response"], answers.think_tag) or ""


def _refuse_silent(told: Sequence["Comparison"], pairs: int) -> None:
    """Those that do not fit into the judge's context are no silence of its.

    Raises:
        RunError: it did not answer about too many of all pairs.
    """
    silent = [one.reason for one in told if one.status in ("timeout", "error")]
    silent = [reason for reason in silent if not reason.startswith("too_long")]
    if len(silent) > MOST_UNREACHED * pairs:
        raise RunError(
            f"the judge did not answer about {len(silent)} of {len(told)} pairs (of {pairs}; first: "
            f"{silent[0]}); its verdicts so far are kept: mend it and run again"
        )


def _judged(rows: Sequence[Mapping[str, Any]], told: Sequence["Comparison"]) -> list["Opinion"]:
    from aha.evals.measures import Opinion

    return [
        Opinion(
            problem=row["problem"],
            sample=row["sample"],
            score=one.score,
            why="" if one.score is not None else one.status,
        )
        for row, one in zip(rows, told, strict=True)
    ]


def _judge(config: JudgeConfig, folder: Path) -> "Judge":
    from aha.stages import opinions

    return opinions.judge_of(config, folder / opinions.CACHE)


def askers(found: Sequence[Who], threads: int, note: Note) -> list[Scores | Preferences]:
    """Those who can be asked now."""
    return [
        Scores(who, threads, note)
        if who.name == "reward_model"
        else Preferences(who, threads, note)
        for who in found
        if not who.waits
    ]


# -- files -------------------------------------------------------------------------------------------------


def _stored(path: Path, mark: str) -> list["Opinion"] | None:
    from aha.evals.measures import Opinion

    try:
        said = json.loads(path.read_text("utf-8"))
        return [Opinion(**row) for row in said["opinions"]] if said["fingerprint"] == mark else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _store(path: Path, mark: str, found: Sequence["Opinion"]) -> None:
    files.write_json(path, {"fingerprint": mark, "opinions": [one.as_dict() for one in found]})


def _hash(what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
