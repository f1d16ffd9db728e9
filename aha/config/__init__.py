"""Recipes: typed, with a unit and a sentence for each field, and refused when they cannot work.

Three layers and no more: defaults (sections.py, recipe.py), a recipe file (reading.py), dotted
overrides (`--set zero.steps=20`). The resolved recipe is written into the run (toml.py), so a run can
be repeated from its folder.

May import: errors. Nothing heavy: `aha --help` loads this.
"""

from aha.config.judging import JudgingConfig
from aha.config.reading import load, resolve
from aha.config.recipe import (
    KINDS,
    STAGES,
    DpoStage,
    JudgeStage,
    NamedStage,
    Recipe,
    RewardStage,
    RlStage,
    SampleStage,
    SftStage,
)
from aha.config.rl import RewardModelConfig, ZeroConfig
from aha.config.sections import (
    DataConfig,
    DpoConfig,
    EvalConfig,
    JudgeConfig,
    MeasuresConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    RewardTrainConfig,
    SampleConfig,
    Section,
    SftConfig,
)
from aha.config.toml import dump_toml, to_toml

__all__ = [
    "KINDS",
    "STAGES",
    "DataConfig",
    "DpoConfig",
    "DpoStage",
    "EvalConfig",
    "JudgeConfig",
    "JudgeStage",
    "JudgingConfig",
    "MeasuresConfig",
    "ModelConfig",
    "NamedStage",
    "OptimConfig",
    "PretrainConfig",
    "Recipe",
    "RewardModelConfig",
    "RewardStage",
    "RewardTrainConfig",
    "RlStage",
    "SampleConfig",
    "SampleStage",
    "Section",
    "SftConfig",
    "SftStage",
    "ZeroConfig",
    "dump_toml",
    "load",
    "resolve",
    "to_toml",
]
