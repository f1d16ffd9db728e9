"""A whole recipe: the tables that every recipe has, and stages with names of their own.

A kind of stage is a table of sections.py with `kind`, and with what it says otherwise about data and
model. Holds no defaults of its own but those of a run (seed, threads, memory).

May import: sections, rl, judging. Nothing heavy: `aha --help` loads this.
"""

import os
import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from aha.config.judging import JudgingConfig
from aha.config.rl import ZeroConfig
from aha.config.sections import (
    DataConfig,
    DpoConfig,
    MeasuresConfig,
    ModelConfig,
    PretrainConfig,
    RewardTrainConfig,
    SampleConfig,
    Section,
    SftConfig,
)


class NamedStage(Section):
    """What every named stage may say otherwise."""

    data: dict[str, Any] = Field({})
    """Keys of [data] that are different for this stage."""
    model: dict[str, Any] = Field({})
    """Keys of [model] that are different for this stage."""


class RlStage(NamedStage, ZeroConfig):
    """A stage of reinforcement learning with a name of its own: the keys of [zero]."""

    kind: Literal["rl"]
    """What the stage does."""


class SftStage(NamedStage, SftConfig):
    """A supervised stage with a name of its own: the keys of [sft]."""

    kind: Literal["sft"]
    """What the stage does."""


class RewardStage(NamedStage, RewardTrainConfig):
    """The training of a reward model."""

    kind: Literal["reward_model"]
    """What the stage does."""


class DpoStage(NamedStage, DpoConfig):
    """Training on pairs of answers, against the model it starts from."""

    kind: Literal["dpo"]
    """What the stage does."""


class SampleStage(NamedStage, SampleConfig):
    """Answers of a model as data: cold start, rejection sampling."""

    kind: Literal["sample"]
    """What the stage does."""


JUDGED_BY = ("think_tag", "answer_tag", "template", "max_bad_share")
"""Keys of [data] that a stage of kind judge depends on: how answers are taken apart, and read."""


class JudgeStage(NamedStage, JudgingConfig):
    """Preference pairs: a judge says which of two answers is better."""

    kind: Literal["judge"]
    """What the stage does."""

    @model_validator(mode="after")
    def _asks_its_judge(self) -> "JudgeStage":
        if self.model:
            raise ValueError("model: no model is trained or sampled here; judge says who is asked")
        if others := sorted(self.data.keys() - set(JUDGED_BY)):
            raise ValueError(
                f"data.{others[0]} has no effect here: answers says what is read (of data count "
                f"{', '.join(JUDGED_BY)})"
            )
        return self


def _kind_of(stage: Any) -> Any:
    return stage.get("kind") if isinstance(stage, dict) else getattr(stage, "kind", None)


Stage = Annotated[
    Annotated[RlStage, Tag("rl")]
    | Annotated[SftStage, Tag("sft")]
    | Annotated[RewardStage, Tag("reward_model")]
    | Annotated[DpoStage, Tag("dpo")]
    | Annotated[SampleStage, Tag("sample")]
    | Annotated[JudgeStage, Tag("judge")],
    Discriminator(
        _kind_of,
        custom_error_type="stage_kind",
        custom_error_message=(
            'needs kind = "rl", "sft", "dpo", "sample", "judge" or "reward_model"'
        ),
    ),
]
STAGES: dict[str, type[Section]] = {
    "rl": RlStage,
    "sft": SftStage,
    "dpo": DpoStage,
    "reward_model": RewardStage,
    "sample": SampleStage,
    "judge": JudgeStage,
}
KINDS = {"pretrain": "pretrain", "sft": "sft", "zero": "rl"}
"""Stages that have a table of their own, and what they do."""
FOLDERS = ("logs", "measures", "checkpoints", "model", "hf")
"""Folders of a run that are no stage's."""
TABLES = ("seed", "data")
"""Keys of a recipe that stand beside a stage's table in what its result depends on."""


class Recipe(Section):
    """A whole run."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run's folder."""
    seed: int = Field(0, ge=0)
    """Seeds data order, sampling and initial weights."""
    run_dir: str = "runs"
    """Folder that run folders are made in; `~` is the home folder."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0 takes all cores. The number is stored in the run: it changes rounding."""
    memory_gb: float = Field(0.0, ge=0)
    """Memory to plan with; 0 measures what is free at the start and stores it in the run."""
    price_per_hour: float = Field(0.0, ge=0)
    """What an hour of this machine costs, in your currency, for `aha cost`; 0 shows no price."""
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    pretrain: PretrainConfig | None = None
    sft: SftConfig | None = None
    zero: ZeroConfig | None = None
    measures: MeasuresConfig | None = None
    stage: dict[str, Stage] = Field({})
    """Further stages by name: [stage.NAME] with kind = "rl", "sft", "dpo", "sample", "judge" or
    "reward_model"."""

    def stages(self) -> list[str]:
        """Names of the stages that the recipe has, as it gives them."""
        return [*(name for name in KINDS if getattr(self, name) is not None), *self.stage]

    def kind(self, stage: str) -> str:
        """What a stage does: pretrain, rl, sft, dpo, sample, judge, reward_model."""
        return KINDS[stage] if stage in KINDS else self.stage[stage].kind

    @field_validator("run_dir")
    @classmethod
    def _home(cls, given: str) -> str:
        return os.path.expanduser(given)

    @model_validator(mode="after")
    def _names(self) -> "Recipe":
        for name, stage in self.stage.items():
            taken = (*KINDS, *FOLDERS, *TABLES)
            if name in taken or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(
                    f"stage.{name}: a stage is called by small letters, digits and _, and not "
                    f"{', '.join(taken)}"
                )
            for key, section in (("data", DataConfig), ("model", ModelConfig)):
                given = getattr(stage, key)
                section.model_validate(getattr(self, key).model_dump() | given)
        return self
