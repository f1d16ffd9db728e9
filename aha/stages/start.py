"""What a stage starts from: `stage:NAME` in a recipe stands for what another stage made.

    zero.start = "stage:sft"                    the model of that stage
    stage.sft_again.train = "stage:rejection"   the dialogues that a sampling stage wrote
    stage.dpo.train = "stage:rejection"         the pairs that it wrote: right against wrong answers
    stage.liked.answers = "stage:rejection"     all answers that it sampled, for a judge
    stage.helpful.train = "stage:liked"         the pairs that a judge decided
    stage.rft.train = "stage:zero?correct=true" the stored answers of an RL stage (data/stored.py)
    model.path = "stage:pretrain"               for every stage that does not say otherwise

Every such reference makes that stage a parent. `view` is the recipe as one stage sees it: its own
configuration in the table of its kind, its own data and model, references replaced by paths.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aha.config import KINDS, DataConfig, ModelConfig, Recipe, SampleStage, Section
from aha.config.recipe import JUDGED_BY
from aha.config.told import told as said_of
from aha.errors import ConfigError

STAGE = "stage:"
DIALOGUES = "dialogues.jsonl"
"""What a sampling stage writes."""
PAIRS = "pairs.jsonl"
"""What it writes besides: a right and a wrong answer of each problem that has both. What a judge decided
is called the same."""
SAMPLES = "eval/samples.jsonl"
"""All answers of a sampling stage, as they were sampled."""
OF_PAIRS = ("dpo", "reward_model")
"""Kinds of stages that learn pairs."""
ASKED = ("train", "heldout")
"""Keys of [data] that name what a model is asked."""
TABLE = {"rl": "zero", "sft": "sft", "pretrain": "pretrain"}
"""Kind of a stage -> the table that its code reads."""


def config_of(recipe: Recipe, stage: str) -> Section:
    """A stage's own table."""
    found: Section = getattr(recipe, stage) if stage in KINDS else recipe.stage[stage]
    return found


def settings(recipe: Recipe, stage: str) -> dict[str, Any]:
    """All that a stage's result depends on, as plain values, references as they are written."""
    found = {name: table.model_dump() for name, table in _tables(recipe, stage).items()}
    return _relevant(recipe, stage, found)


def told(recipe: Recipe, stage: str) -> dict[str, Any]:
    """The same without what is at its default, so that keys that come with a new version change nothing."""
    found = {name: said_of(table) for name, table in _tables(recipe, stage).items()}
    return _relevant(recipe, stage, found)


def _tables(recipe: Recipe, stage: str) -> dict[str, Section]:
    """The tables that a stage reads, as it sees them; its own last."""
    config, table = config_of(recipe, stage), TABLE.get(recipe.kind(stage), stage)
    if stage == "pretrain":
        return {table: config}
    own = config.model_dump()
    model = recipe.model.model_dump() | own.get("model", {})
    if own.get("start"):
        model["path"] = own["start"]
    return {
        "model": ModelConfig.model_validate(model),
        "data": DataConfig.model_validate(recipe.data.model_dump() | own.get("data", {})),
        table: config,
    }


def _relevant(recipe: Recipe, stage: str, found: dict[str, Any]) -> dict[str, Any]:
    """Without what a stage says twice or does not read."""
    own = found[TABLE.get(recipe.kind(stage), stage)]
    for key in ("data", "model") if stage != "pretrain" else ():
        own.pop(key, None)
    if recipe.kind(stage) == "judge":  # no model of the recipe, and what is asked stands elsewhere
        del found["model"]
        found["data"] = {key: found["data"][key] for key in JUDGED_BY if key in found["data"]}
    if recipe.kind(stage) in OF_PAIRS:  # these learn their own data and answer no question
        found["data"] = {key: value for key, value in found["data"].items() if key not in ASKED}
    return found


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
        ConfigError: the recipe has no such stage, or it makes nothing of that sort.
    """
    there = recipe.stages()
    wanted = list(dict.fromkeys(references(settings(recipe, stage))))
    for name in wanted:
        if name not in there:
            raise ConfigError(
                f"{stage} refers to '{STAGE}{name}', which needs a [{name}] table in the recipe, or "
                f"[stage.{name}] (it has: {', '.join(there)})"
            )
    _check_pairs(recipe, stage)
    _check_kinds(recipe, stage)
    return wanted


def _check_pairs(recipe: Recipe, stage: str) -> None:
    """Refuse what no judge can compare, and pairs where something else is meant."""
    kind, own = recipe.kind(stage), config_of(recipe, stage).model_dump()
    for name in references(own["answers"] if kind == "judge" else []):
        if why := _not_comparable(recipe, name):
            raise ConfigError(f"{stage}.answers = '{STAGE}{name}': {why}")
    of_pairs = set(references([own["train"], own["heldout"]] if kind in OF_PAIRS else []))
    for name in references(settings(recipe, stage)):
        if recipe.kind(name) == "judge" and name not in of_pairs:
            raise ConfigError(
                f"{stage} refers to '{STAGE}{name}', which makes pairs: they are for train and heldout "
                f"of stages of kind {' and '.join(OF_PAIRS)}"
            )


MODELS = ("pretrain", "sft", "rl", "dpo")
"""Kinds of stages that make a model that writes."""


def _check_kinds(recipe: Recipe, stage: str) -> None:
    """Refuse what is asked of a stage that does not make it."""
    kind, found = recipe.kind(stage), settings(recipe, stage)
    own = found.get(TABLE.get(kind, stage), {})
    a_model = (*MODELS, "reward_model") if kind == "reward_model" else MODELS
    learned = {"sft": ("sample", "rl"), "dpo": ("sample", "rl", "judge")}
    asked = [
        ("start", found.get("model", {}).get("path"), a_model, "a model that writes"),
        ("reward_models", own.get("reward_models"), ("reward_model",), "a reward model"),
        ("judges", own.get("judges"), MODELS, "a model that writes"),
        ("judge", own.get("judge"), MODELS, "a model that writes"),
        ("refiners", own.get("refiners"), MODELS, "a model that writes"),
        ("examples", own.get("examples"), ("sample",), "dialogues"),
        ("train", own.get("train"), learned.get(kind, ("sample", "judge")), "what it learns"),
        ("heldout", own.get("heldout"), learned.get(kind, ("sample", "judge")), "what it learns"),
        ("written", own.get("written"), ("sample",), "dialogues"),
        ("data", found.get("data"), (), "problems"),
    ]
    for key, value, kinds, what in asked:
        for name in references(value):
            if recipe.kind(name) not in kinds:
                there = [one for one in recipe.stages() if recipe.kind(one) in kinds]
                raise ConfigError(
                    f"{stage}: {key} refers to '{STAGE}{name}', a stage of kind {recipe.kind(name)}, which "
                    f"does not make {what}; stages that do: {', '.join(there) or 'none'}"
                )


def _not_comparable(recipe: Recipe, name: str) -> str:
    """Why the answers of a stage cannot be compared; "" if they can."""
    config = config_of(recipe, name)
    if not isinstance(config, SampleStage):
        return f"kind {recipe.kind(name)}; name a stage of kind sample, or a file with answers"
    if config.written:
        return "its dialogues are written, not sampled: there is one answer to each question"
    if config.samples < 2:
        return f"samples={config.samples}: two answers to a question are needed"
    return ""


def model_parent(recipe: Recipe, stage: str) -> str | None:
    """The stage whose model another one starts from; None for a model from elsewhere."""
    asked = settings(recipe, stage).get("model", {})
    return next(references(asked.get("path")), None)


def view(recipe: Recipe, stage: str, root: Path) -> Recipe:
    """The recipe as a stage sees it: one stage, in the table of its kind, with paths."""
    known = {name: recipe.kind(name) for name in recipe.stages()}
    kind = recipe.kind(stage)
    sampled = PAIRS if kind in OF_PAIRS else SAMPLES if kind == "judge" else DIALOGUES
    found = _placed(settings(recipe, stage), known, root, sampled)
    table = TABLE.get(kind)
    raw = recipe.model_dump(exclude={"pretrain", "sft", "zero", "stage", "model", "data"})
    raw |= {key: found[key] for key in ("model", "data") if key in found}
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
        written = {"sample": sampled, "judge": PAIRS}.get(kinds[name], "")
        made = root / name / written
        return f"{made}{sign}{keys}"
    if isinstance(value, dict):
        return {key: _placed(item, kinds, root, sampled) for key, item in value.items()}
    if isinstance(value, list):
        return [_placed(item, kinds, root, sampled) for item in value]
    return value
