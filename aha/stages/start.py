"""Which model a stage starts from: the recipe's, or what another stage of the recipe made.

model.path = "stage:pretrain"       for every stage that does not say otherwise
zero.start = "stage:sft"            for one stage
"""

from pathlib import Path

from aha.config import Recipe
from aha.errors import ConfigError
from aha.models.locate import locate

STAGE = "stage:"


def asked(recipe: Recipe, stage: str) -> str:
    """What the recipe names as the model that a stage starts from."""
    return getattr(getattr(recipe, stage), "start", "") or recipe.model.path


def parent(recipe: Recipe, stage: str) -> str | None:
    """The stage whose model another one starts from; None for a model from elsewhere.

    Raises:
        ConfigError: the recipe has no such stage, or has it after this one.
    """
    name = asked(recipe, stage)
    if not name.startswith(STAGE):
        return None
    wanted, stages = name.removeprefix(STAGE), recipe.stages()
    if wanted not in stages:
        there = ", ".join(stages)
        raise ConfigError(
            f"{stage} starts from '{name}', which needs a [{wanted}] table in the recipe (it has: {there})"
        )
    if stages.index(wanted) >= stages.index(stage):
        raise ConfigError(f"{stage} cannot start from '{name}': that stage does not come before it")
    return wanted


def model_folder(recipe: Recipe, stage: str, root: Path) -> Path:
    """The folder of the model that a stage starts from, in the run folder `root` or elsewhere.

    Raises:
        ModelError: there is no such model, or the stage has made none yet.
    """
    before = parent(recipe, stage)
    return locate(asked(recipe, stage) if before is None else str(root / before))
