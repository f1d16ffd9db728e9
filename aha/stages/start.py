"""What a stage starts from: `stage:NAME` in a recipe stands for what another stage made.

    zero.start = "stage:sft"                    the model of that stage
    stage.sft_again.train = "stage:rejection"   the dialogues that a sampling stage wrote
    stage.dpo.train = "stage:rejection"         the pairs that it wrote: right against wrong answers
    stage.rft.train = "stage:zero?correct=true" the stored answers of an RL stage (data/stored.py)
    model.path = "stage:pretrain"               for every stage that does not say otherwise

Every such reference makes that stage a parent. `view` is the recipe as one stage sees it: its own
configuration in the table of its kind, its own data and model, references replaced by paths.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aha.config import KINDS, DataConfig, ModelConfig, Recipe, Section
from aha.errors import ConfigError

STAGE = "stage:"
DIALOGUES = "dialogues.jsonl"
"""What a sampling stage writes."""
PAIRS = "pairs.jsonl"
"""What it writes besides: a right and a wrong answer of each problem that has both."""
OF_PAIRS = ("dpo", "reward_model")
"""Kinds of stages that learn pairs."""
TABLE = {"rl": "zero", "sft": "sft", "pretrain": "pretrain"}
"""Kind of a stage -> the table that its code reads."""


def config_of(recipe: Recipe, stage: str) -> Section:
    """A stage's own table."""
    found: Section = getattr(recipe, stage) if stage in KINDS else recipe.stage[stage]
    return found


def settings(recipe: Recipe, stage: str) -> dict[str, Any]:
    """All that a stage's result depends on, as plain values, references as they are written."""
    config = config_of(recipe, stage)
    own = config.model_dump()
    if stage == "pretrain":
        return {"pretrain": own}
    own_data, own_model = own.pop("data", {}), own.pop("model", {})
    model = ModelConfig.model_validate(recipe.model.model_dump() | own_model).model_dump()
    if own.get("start"):
        model["path"] = own["start"]
    data = DataConfig.model_validate(recipe.data.model_dump() | own_data).model_dump()
    return {"model": model, "data": data, TABLE.get(recipe.kind(stage), stage): own}


def references(value: Any) -> Iterator[str]:
    """Names of the stages that plain values refer to."""
    if isinstance(value, str) and value.startswith(STAGE):
        yield value.removeprefix(STAGE).partition("?")[0]
    elif isinstance(value, dict):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def parents(recipe: Recipe, stage: str) -> list[str]:
    """The stages that a stage needs, each once.

    Raises:
        ConfigError: the recipe has no such stage.
    """
    there = recipe.stages()
    wanted = list(dict.fromkeys(references(settings(recipe, stage))))
    for name in wanted:
        if name not in there:
            raise ConfigError(
                f"{stage} refers to '{STAGE}{name}', which needs a [{name}] table in the recipe, or "
                f"[stage.{name}] (it has: {', '.join(there)})"
            )
    return wanted


def model_parent(recipe: Recipe, stage: str) -> str | None:
    """The stage whose model another one starts from; None for a model from elsewhere."""
    path = settings(recipe, stage)["model"]["path"]
    return next(references(path), None)


def view(recipe: Recipe, stage: str, root: Path) -> Recipe:
    """The recipe as a stage sees it: one stage, in the table of its kind, with paths."""
    known = {name: recipe.kind(name) for name in recipe.stages()}
    sampled = PAIRS if recipe.kind(stage) in OF_PAIRS else DIALOGUES
    found = _placed(settings(recipe, stage), known, root, sampled)
    table = TABLE.get(recipe.kind(stage))
    raw = recipe.model_dump(exclude={"pretrain", "sft", "zero", "stage", "model", "data"})
    raw |= {"model": found["model"], "data": found["data"]} if table != "pretrain" else {}
    if table is None:
        raw["stage"] = {stage: found[stage]}
    else:
        raw[table] = {key: value for key, value in found[table].items() if key != "kind"}
        raw[table].pop("start", None)
    return Recipe.model_validate(raw)


def _placed(value: Any, kinds: dict[str, str], root: Path, sampled: str) -> Any:
    """`value` with paths in place of references; `sampled` is the file taken of a sampling stage."""
    if isinstance(value, str) and value.startswith(STAGE):
        name, sign, keys = value.removeprefix(STAGE).partition("?")
        made = root / name / sampled if kinds[name] == "sample" else root / name
        return f"{made}{sign}{keys}"
    if isinstance(value, dict):
        return {key: _placed(item, kinds, root, sampled) for key, item in value.items()}
    if isinstance(value, list):
        return [_placed(item, kinds, root, sampled) for item in value]
    return value
